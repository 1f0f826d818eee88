"""`hf:PATH`: what the `datasets` library reads."""

import sys
from pathlib import Path
from typing import Any

import pytest

from edgeloop.data import Columns, Partition, layout_of, load, read
from edgeloop.errors import DataError
from tests.data.layouts import picture, place


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The library, with a cache of its own and no network."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return pytest.importorskip("datasets", reason="datasets is not installed: edgeloop[hf]")


def test_a_missing_library_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert layout_of("hf:somewhere").layout == "datasets"
    with pytest.raises(DataError, match=r"datasets: is needed.*pip install 'edgeloop\[hf\]'"):
        read("hf:somewhere")


def test_a_set_that_was_saved(library: Any, tmp_path: Path) -> None:
    rows = {"image": [picture(value) for value in range(4)], "label": [0, 1, 0, 1]}
    kinds = {"image": library.Image(), "label": library.ClassLabel(names=["cat", "dog"])}
    train = library.Dataset.from_dict(rows, features=library.Features(kinds))
    parts = library.DatasetDict({"train": train, "test": train.select([1])})
    parts.save_to_disk(str(tmp_path / "saved"))
    pool = read(f"hf:{tmp_path / 'saved'}")
    assert pool.inputs[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 1]
    assert (pool.class_names, pool.labels.tolist()) == (("cat", "dog"), [0, 1, 0, 1, 1])
    assert pool.tested is not None
    assert pool.tested.tolist() == [False] * 4 + [True]


def test_a_folder_of_images(library: Any, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for number in range(4):
            place(tmp_path / "photos" / name / f"{number}.png", picture(number))
    found = load(f"hf:{tmp_path / 'photos'}", Partition("iid", clients=1, balanced=True))
    assert found.label_counts().tolist() == [[4, 4]]


def test_what_it_cannot_read_is_named(library: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"hf:{tmp_path}/none: cannot be read by datasets"):
        read(f"hf:{tmp_path}/none")
    table = library.Dataset.from_dict({"x": [{"a": 1}], "finding": ["a"]})
    table.save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(DataError, match=r"hf:.*saved/train\.parquet: has no column `image`"):
        read(f"hf:{tmp_path}/saved", columns=Columns(label="finding"))
