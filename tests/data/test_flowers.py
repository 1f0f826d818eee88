"""Flowers102 as its authors publish it, and the MATLAB files that say which image is what."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeloop.data import layout_of, read
from edgeloop.data.matlab import read_matlab
from edgeloop.errors import DataError
from tests.data.layouts import flowers, matlab, place

ARRAYS: dict[str, NDArray[Any]] = {
    "labels": np.array([[1, 2, 102]], np.uint8),
    "n": np.array([[1, 2, 3], [4, 5, 6]], np.float64),
    "identity": np.arange(1000, 1009, dtype=np.uint16).reshape(1, 9),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_matlab_arrays_come_back_exactly(tmp_path: Path, packed: bool, order: str) -> None:
    found = read_matlab(place(tmp_path / "a.mat", matlab(ARRAYS, packed, order)))
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert np.array_equal(found[name], array)


@pytest.mark.parametrize("packed", [False, True])
def test_images_follow_the_parts_and_are_resized(tmp_path: Path, packed: bool) -> None:
    flowers(tmp_path / "flowers-102", packed)
    pool = read(tmp_path)
    assert layout_of(tmp_path).layout == "Flowers102"
    assert pool.inputs.shape == (5, 3, 64, 64)
    reds = pool.inputs[:, 0, 5, 5].astype(int)
    assert np.abs(reds - [50, 20, 10, 30, 40]).max() <= 2  # JPEG is not exact
    assert pool.labels.tolist() == [101, 101, 100, 99, 100]
    assert pool.classes == 102
    assert read(tmp_path / "flowers-102", 8).shape == (3, 8, 8)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (b"", "no MATLAB 5 file"),
        (b"MATLAB 7.3 MAT-file".ljust(128), "no MATLAB 5 file"),
        (matlab(ARRAYS)[:-30], "cut short"),
        (matlab(ARRAYS)[:-30] + bytes(30), "no MATLAB 5 file"),
        (matlab({"other": ARRAYS["n"]}), "has no array `labels`"),
    ],
    ids=["empty", "version", "cut", "damaged", "name"],
)
def test_labels_that_cannot_be_read_are_named(tmp_path: Path, change: bytes, problem: str) -> None:
    flowers(tmp_path)
    place(tmp_path / "imagelabels.mat", change)
    with pytest.raises(DataError, match=rf"imagelabels\.mat: .*{problem}"):
        read(tmp_path)


def test_an_array_of_another_shape_than_it_says_is_named(tmp_path: Path) -> None:
    content = bytearray(matlab({"n": ARRAYS["n"]}, packed=False))
    at = content.index(b"\x02\0\0\0\x03\0\0\0")
    content[at] = 9
    with pytest.raises(DataError, match=r"6 numbers for an array of shape \(9, 3\)"):
        read_matlab(place(tmp_path / "a.mat", bytes(content)))


def test_a_file_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeloop.data.matlab._LIMIT", 1000)
    path = place(tmp_path / "a.mat", matlab({"n": np.zeros((1, 5000))}))
    with pytest.raises(DataError, match="an element of 1000 bytes or more"):
        read_matlab(path)


@pytest.mark.parametrize("numbers", [[[6]], [[0]], []])
def test_images_that_are_none_are_named(tmp_path: Path, numbers: Any) -> None:
    flowers(tmp_path)
    ids = np.array(numbers, np.uint16).reshape(1, -1)
    parts = dict.fromkeys(("trnid", "valid", "tstid"), ids)
    place(tmp_path / "setid.mat", matlab(parts))
    with pytest.raises(DataError, match="names images that are none of 1 to 5"):
        read(tmp_path)


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    flowers(tmp_path)
    (tmp_path / "jpg" / "image_00003.jpg").unlink()
    with pytest.raises(DataError, match=r"image_00003\.jpg: no such file; unpack"):
        read(tmp_path)
