"""Parquet files as the Hugging Face hub has them: folders, columns, labels."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edgeloop.data import Partition, load, read
from edgeloop.data.columns import Columns
from edgeloop.data.parquet import read_parquet
from edgeloop.data.parts import part_in
from edgeloop.errors import ConfigError, DataError
from tests.data.layouts import picture


def cells(values: list[int]) -> list[dict[str, Any]]:
    return [{"bytes": picture(value), "path": None} for value in values]


def write(path: Path, numbers: Any, features: Any = None, **more: Any) -> Path:
    """One picture a label; picture k of a file is k."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"image": cells(list(range(len(numbers)))), "label": numbers, **more}
    table = pa.table({name: column for name, column in columns.items() if column is not None})
    if features is not None:
        info = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": info})
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
        ("plain_text/train-00000-of-00001.parquet", "plain_text/test-00000-of-00001.parquet"),
        ("default/train/0000.parquet", "default/test/0000.parquet"),
        ("train/0.parquet", "testing/0.parquet"),
        ("cifar10-train.parquet", "cifar10-test.parquet"),
    ],
)
def test_a_repository_as_it_is_downloaded(tmp_path: Path, train: str, test: str) -> None:
    write(tmp_path / test, [1])
    write(tmp_path / train, [0, 1])
    (tmp_path / "README.md").write_text("")
    (tmp_path / ".git").mkdir()
    pool = read(tmp_path)
    assert pool.labels.tolist() == [0, 1, 1]
    assert pool.tested is not None
    assert pool.tested.tolist() == [False, False, True]


def test_what_a_repository_has_beside_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "data" / "train.parquet", [0, 1])
    (tmp_path / "README.md").write_text("")
    (tmp_path / "data" / "more.txt").write_text("")
    read(tmp_path)
    assert [each.getMessage() for each in caplog.records] == [
        f"{tmp_path}: left out: 1 .md, 1 .txt"
    ]


def test_several_sets_are_named(tmp_path: Path) -> None:
    for name in ("partial", "full"):
        write(tmp_path / name / "train-0.parquet", [0, 1])
    with pytest.raises(DataError, match=r"several sets of parquet files: full, partial; name one"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        *(("train-00000-of-00002", "train"), ("train2", "train"), ("Training_a", "train")),
        *(("validation-0", "val"), ("valid", "val"), ("dev-0", "val"), ("val_b", "val")),
        *(("my-test", "test"), ("TEST", "test"), ("contest", ""), ("latest", ""), ("0000", "")),
    ],
)
def test_parts_by_their_names(name: str, part: str) -> None:
    assert part_in(name) == part


@pytest.mark.parametrize("name", ["labels", "class", "Target", "character"])
def test_other_names_of_the_label(tmp_path: Path, name: str) -> None:
    more: dict[str, Any] = {name: [1, 0]}
    write(tmp_path / "a.parquet", [1, 0], label=None, **more)
    assert read(tmp_path).labels.tolist() == [1, 0]


def test_the_metadata_tell_which_column_is_which(tmp_path: Path) -> None:
    features = {
        "scan": {"_type": "Image"},
        "finding": {"_type": "ClassLabel", "names": ["well", "ill"]},
        "category": {"_type": "Value"},
    }
    more: dict[str, Any] = {"scan": cells([4, 5]), "finding": [1, 0], "category": ["x", "y"]}
    write(tmp_path / "a.parquet", [1, 0], features, image=None, label=None, **more)
    pool = read(tmp_path)
    assert (pool.labels.tolist(), pool.class_names) == ([1, 0], ("well", "ill"))
    assert pool.inputs[:, 0, 0, 0].tolist() == [4, 5]


def test_columns_that_somebody_names(tmp_path: Path) -> None:
    more: dict[str, Any] = {"scan": cells([4, 5]), "finding": ["ill", "well"], "ward": ["b", "a"]}
    write(tmp_path / "a.parquet", [1, 0], **more)
    pool = read_parquet(tmp_path, asked=Columns("finding", "scan", "ward"))
    assert (pool.labels.tolist(), pool.class_names) == ([0, 1], ("ill", "well"))
    assert pool.inputs[:, 0, 0, 0].tolist() == [4, 5]
    assert pool.clients is not None
    assert pool.clients.tolist() == [1, 0]
    with pytest.raises(ConfigError, match=r"there is no 'wart' in .*ward"):
        read_parquet(tmp_path, asked=Columns(client="wart"))


def test_columns_are_listed_where_none_tells(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [1, 0], label=None, finding=[1, 0])
    with pytest.raises(DataError, match=r"no column `label`; name it with --label-column.*finding"):
        read(tmp_path)


def test_writers_are_natural_clients(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [1, 0], label=None, character=[1, 0], writer_id=["w2", "w1"])
    pool = read(tmp_path)
    assert pool.clients is not None
    assert pool.clients.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("labels", "names", "numbers"),
    [
        (["dog", "cat", "dog"], ("cat", "dog"), [1, 0, 1]),
        (["10", "9", "10"], ("9", "10"), [1, 0, 1]),
        ([2.0, 0.0, 1.0], ("0", "1", "2"), [2, 0, 1]),
        ([True, False, True], ("0", "1"), [1, 0, 1]),
        ([1, 2, 1], ("1", "2"), [0, 1, 0]),
        ([7, 3, 1000], ("3", "7", "1000"), [1, 0, 2]),
    ],
    ids=str,
)
def test_labels_without_a_list_of_names(
    tmp_path: Path, labels: Any, names: tuple[str, ...], numbers: list[int]
) -> None:
    write(tmp_path / "a.parquet", labels)
    pool = read(tmp_path)
    assert (pool.class_names, pool.labels.tolist()) == (names, numbers)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 1], None),
        ([1, 2], "`label` starts at 1: its 2 classes are called 1 to 2"),
        ([0, 4, 9], "`label` leaves out numbers up to 9: its 3 classes are called 0, 4, 9"),
    ],
)
def test_numbers_that_do_not_count_from_0_are_said(
    tmp_path: Path, labels: list[int], said: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "a.parquet", labels)
    read(tmp_path)
    expected = [] if said is None else [f"{tmp_path}: {said}"]
    assert [each.getMessage() for each in caplog.records] == expected


@pytest.mark.parametrize("label", [100_000, 2**62, -3])
def test_ids_are_no_classes(tmp_path: Path, label: int) -> None:
    write(tmp_path / "a.parquet", [0, label])
    with pytest.raises(DataError, match=r"`label` goes (to|down to) "):
        read(tmp_path)


def test_words_are_found_among_the_names(tmp_path: Path) -> None:
    features = {"label": {"_type": "ClassLabel", "names": ["dog", "cat", "bee"]}}
    write(tmp_path / "a.parquet", ["cat", "dog"], features)
    pool = read(tmp_path)
    assert (pool.labels.tolist(), pool.class_names) == ([1, 0], ("dog", "cat", "bee"))
    write(tmp_path / "a.parquet", ["cat", "cow"], features)
    with pytest.raises(DataError, match=r"row 1: label cow, out of range for 3 classes; use dog"):
        read(tmp_path)


@pytest.mark.parametrize("missing", [-1, None])
def test_a_part_without_labels_is_left_out(
    tmp_path: Path, missing: Any, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "train.parquet", [0, 1])
    write(tmp_path / "test.parquet", pa.array([missing, missing], pa.int64()))
    pool = read(tmp_path)
    assert (pool.labels.tolist(), pool.inputs.shape[0], pool.tested) == ([0, 1], 2, None)
    said = f"{tmp_path}: left out: 2 rows without labels (test)"
    assert [each.getMessage() for each in caplog.records] == [said]


def test_a_file_without_any_label_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [-1, -1])
    with pytest.raises(DataError, match=r"train\.parquet: row 0: `label` holds something else"):
        read(tmp_path)


def test_the_named_columns_come_with_load(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [0] * 16, finding=["a", "b"] * 8, ward=["x"] * 8 + ["y"] * 8)
    columns = Columns(label="finding", client="ward")
    found = load(tmp_path, Partition("natural"), columns=columns)
    assert found.label_counts().tolist() == [[4, 4], [4, 4]]
