"""IDX files: MNIST, Fashion-MNIST and EMNIST as torchvision keeps them."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from edgeloop.data import Partition, layout_of, load, read
from edgeloop.data.idx import read_idx
from edgeloop.errors import DataError
from tests.data.layouts import idx, idx_pair, place


def mnist(folder: Path, packed: bool = False) -> None:
    idx_pair(folder, "train", [1, 2, 3], [0, 2, 1], packed)
    idx_pair(folder, "t10k", [4, 5], [2, 0], packed)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("inside", ["MNIST/raw", "raw", "."])
def test_training_comes_before_test(tmp_path: Path, inside: str, packed: bool) -> None:
    mnist(tmp_path / inside, packed)
    pool = read(tmp_path)
    assert layout_of(tmp_path).layout == "IDX"
    assert pool.inputs.shape == (5, 1, 2, 3)
    assert pool.inputs[:, 0, 1, 2].tolist() == [1, 2, 3, 4, 5]
    assert pool.labels.tolist() == [0, 2, 1, 2, 0]
    assert pool.class_names == ("0", "1", "2")
    assert load(tmp_path, Partition("iid", clients=1, balanced=True)).sizes() == [(3, 2)]


def test_torchvision_leaves_both_forms_of_a_file_beside_each_other(tmp_path: Path) -> None:
    mnist(tmp_path)
    mnist(tmp_path, packed=True)
    assert len(read(tmp_path)) == 5


def test_fashion_has_the_names_of_clothes(tmp_path: Path) -> None:
    mnist(tmp_path / "FashionMNIST" / "raw")
    assert read(tmp_path).class_names[:2] == ("T-shirt/top", "Trouser")


def test_letters_are_counted_from_0(tmp_path: Path) -> None:
    folder = tmp_path / "EMNIST" / "raw"
    idx_pair(folder, "emnist-letters-train", [1, 2], [1, 26], packed=False)
    idx_pair(folder, "emnist-letters-test", [3], [2], packed=False)
    pool = read(tmp_path)
    assert pool.labels.tolist() == [0, 25, 1]
    assert (pool.class_names[0], pool.class_names[25], pool.classes) == ("a", "z", 26)


@pytest.mark.parametrize(
    ("split", "classes", "last"),
    [("byclass", 62, "z"), ("bymerge", 47, "t"), ("balanced", 47, "t"), ("digits", 10, "9")],
)
def test_splits_of_emnist_know_their_classes(
    tmp_path: Path, split: str, classes: int, last: str
) -> None:
    idx_pair(tmp_path, f"emnist-{split}-train", [1], [9], packed=True)
    idx_pair(tmp_path, f"emnist-{split}-test", [2], [0], packed=True)
    names = read(tmp_path).class_names
    assert (len(names), len(set(names)), names[9], names[-1]) == (classes, classes, "9", last)


def test_one_of_several_sets_is_named_by_its_file(tmp_path: Path) -> None:
    for split, value in (("digits", 1), ("letters", 2)):
        idx_pair(tmp_path, f"emnist-{split}-train", [value], [1], packed=False)
        idx_pair(tmp_path, f"emnist-{split}-test", [value], [1], packed=False)
    with pytest.raises(DataError, match=r"several sets: emnist-digits-train.*name the file"):
        read(tmp_path)
    pool = read(tmp_path / "emnist-letters-train-images-idx3-ubyte")
    assert (pool.inputs[:, 0, 0, 0].tolist(), pool.labels.tolist()) == ([2, 2], [0, 0])


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    idx_pair(tmp_path, "train", [1], [0], packed=False)
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte: no such file"):
        read(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="train-labels-idx1-ubyte: no such file"):
        read(tmp_path)


def test_arrays_of_another_rank_are_named(tmp_path: Path) -> None:
    mnist(tmp_path)
    place(tmp_path / "train-images-idx3-ubyte", idx(np.zeros((3, 2), np.uint8)))
    with pytest.raises(DataError, match=r"images of shape \(3, 2\) and labels of shape \(3,\)"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no IDX file of bytes"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "no IDX file of bytes"),
        (b"\0\0\x08\x03\0\0\0\x01", "no IDX file of bytes"),
        (b"\0\0\x08\x01\0\0\0\x03ab", r"2 bytes for an array of shape \(3,\)"),
        (b"\0\0\x08\x02\xff\xff\xff\xff\xff\xff\xff\xffab", "2 bytes for an array of shape"),
    ],
    ids=["empty", "floats", "head", "short", "huge"],
)
def test_a_malformed_file_is_named(tmp_path: Path, content: bytes, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        read_idx(place(tmp_path / "a", content))


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    whole = gzip.compress(idx(np.arange(200, dtype=np.uint8)))
    for content in (b"no gzip", whole[:-20], whole[:30] + bytes(9) + whole[39:]):
        with pytest.raises(DataError, match=r"a\.gz: cannot be read"):
            read_idx(place(tmp_path / "a.gz", content))


def test_a_file_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeloop.data.idx._LIMIT", 100)
    path = place(tmp_path / "a.gz", gzip.compress(idx(np.zeros(200, np.uint8))))
    with pytest.raises(DataError, match="holds more than 100 bytes"):
        read_idx(path)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", ["dot", "no ubyte", "folders", "capitals"])
def test_names_as_others_write_them(tmp_path: Path, form: str, packed: bool) -> None:
    idx_pair(tmp_path, "train", [1, 2], [0, 1], packed)
    idx_pair(tmp_path, "t10k", [3], [1], packed)
    for path in sorted(tmp_path.iterdir()):
        dotted = path.with_name(path.name.replace("-idx", ".idx"))
        if form == "folders":
            content = path.read_bytes()
            path.unlink()
            place(dotted / path.name, content)
            place(dotted / ".DS_Store", b"")
        else:
            names = {"dot": dotted.name, "no ubyte": path.name.replace("-ubyte", "")}
            path.rename(path.with_name(names.get(form, path.name.upper())))
    pool = read(tmp_path)
    assert layout_of(tmp_path).layout == "IDX"
    assert pool.labels.tolist() == [0, 1, 1]
    assert pool.inputs[:, 0, 0, 0].tolist() == [1, 2, 3]


def test_images_and_labels_of_different_sets_are_named(tmp_path: Path) -> None:
    idx_pair(tmp_path, "train", [1, 2], [0, 1], packed=False)
    idx_pair(tmp_path, "t10k", [3], [1, 0], packed=False)
    with pytest.raises(
        DataError, match=r"t10k-images-idx3-ubyte: 1 images, and 2 labels in t10k-labels-idx1-ubyte"
    ):
        read(tmp_path)
