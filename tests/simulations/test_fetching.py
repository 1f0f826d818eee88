"""`edgeloop data fetch`: what it gets through torchvision, and what it says where it cannot."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeloop.data.catalogue import find
from edgeloop.errors import InputError
from simulations.datasets.command import main
from simulations.datasets.fetching import fetch
from tests.vision import interpreter, told


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What torchvision fetched from a web server on this machine, with hand-made files."""
    said = told(interpreter(), "tests/simulations/fetching_program.py")
    answer: dict[str, Any] = json.loads(said.splitlines()[-1])
    return answer


@pytest.mark.vision
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_idx_files_come_from_the_first_mirror_that_has_them(
    found: dict[str, Any], name: str
) -> None:
    assert found[name]["labels"] == [0, 2, 1, 2, 0]
    assert found[name]["first"] == [1, 2, 3, 4, 5]
    assert found[name]["shape"] == [1, 2, 3]
    assert found[name]["said"] == [f"downloading {find(name).title}, from {find(name).source}"]


@pytest.mark.vision
def test_of_emnist_one_split_is_kept(found: dict[str, Any]) -> None:
    letters = found["emnist-letters"]
    assert (letters["labels"], letters["first"]) == ([0, 0], [1, 2])
    assert letters["files"] == [
        f"emnist-letters-{part}-{what}-ubyte"
        for part in ("test", "train")
        for what in ("images-idx3", "labels-idx1")
    ]


@pytest.mark.vision
def test_batches_and_flowers_are_fetched(found: dict[str, Any]) -> None:
    assert found["cifar10"]["labels"] == [0, 1, 2, 0, 1, 2]
    assert found["cifar10"]["shape"] == [3, 32, 32]
    assert found["cifar100"]["labels"] == [1, 0, 1, 0]
    assert found["flowers102"]["labels"] == [101, 101, 100, 99, 100]
    assert found["flowers102"]["shape"] == [3, 64, 64]


@pytest.mark.vision
def test_what_goes_wrong_is_said_and_nothing_is_left(found: dict[str, Any]) -> None:
    refused = found["refusals"]
    assert refused["checksum"].startswith("mnist: could not be fetched (Error downloading train")
    assert "corrupted" in refused["checksum"]
    assert refused["absent"].startswith("cifar10: could not be fetched (HTTP Error 404")
    assert "Connection refused" in refused["network"]
    assert refused["archive"].startswith("cifar100: could not be fetched (")
    for kind in ("checksum", "absent", "network", "archive"):
        assert "; check the network, or get it from http" in refused[kind]
    assert refused["left"] == []


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("har", "name: har is not fetched by edgeloop: no checksum of it is known; get it from"),
        ("fashion-sample", "fashion-sample is in the package; write --data fashion-sample"),
        ("cifar", "there is no 'cifar'; did you mean cifar10"),
        ("Cifar100", "there is no 'Cifar100'; use cifar100"),
    ],
)
def test_what_is_not_fetched_says_where_it_is(tmp_path: Path, name: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        main(["fetch", name, "--into", str(tmp_path / "new")])
    assert not (tmp_path / "new").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("here first")
    for place in (tmp_path, tmp_path / "precious"):
        with pytest.raises(InputError, match="exists and is not empty; name a new"):
            fetch(find("mnist"), place, print)
    assert [each.name for each in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize("broken", [None, "operator torchvision::nms does not exist"])
def test_without_torchvision_the_error_names_the_extra(
    broken: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is not there, or it is of another version of torch: what it raises then."""
    for name in [each for each in sys.modules if each.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    if broken is None:
        monkeypatch.setitem(sys.modules, "torchvision", None)
    else:
        (tmp_path / "torchvision").mkdir()
        (tmp_path / "torchvision" / "__init__.py").write_text(f"raise RuntimeError('{broken}')\n")
        monkeypatch.syspath_prepend(tmp_path)
    reason = f"fails beside this torch: {broken}" if broken else "is needed to fetch data sets"
    expected = rf"torchvision: {reason}; pip install 'edgeloop\[vision\]'"
    with pytest.raises(InputError, match=expected):
        fetch(find("mnist"), tmp_path / "new", print)
    assert not (tmp_path / "new").exists()
