"""One file of arrays by part: MedMNIST's and Keras'."""

from pathlib import Path

import numpy as np
import pytest

from edgeloop.data import layout_of, read
from edgeloop.errors import ConfigError, DataError

GREY = np.arange(2 * 6 * 5, dtype=np.uint8).reshape(2, 6, 5)
COLOURS = np.arange(2 * 6 * 5 * 3, dtype=np.uint8).reshape(2, 6, 5, 3)


def test_medmnist(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "bloodmnist.npz"
    parts = {
        f"{part}_{name}": array + number if name == "images" else array
        for number, part in enumerate(("train", "val", "test"))
        for name, array in (("images", COLOURS), ("labels", np.array([[1], [0]], np.uint8)))
    }
    np.savez(path, **parts, info=np.zeros(1))  # type: ignore[arg-type]
    pool = read(path)
    assert layout_of(path).layout == "npz of parts"
    assert (pool.shape, pool.pixels, pool.labels.tolist()) == ((3, 6, 5), True, [1, 0] * 3)
    assert np.array_equal(pool.inputs[2], COLOURS[0].transpose(2, 0, 1) + 1)
    assert pool.tested is not None
    assert pool.tested.tolist() == [False] * 4 + [True] * 2
    assert [each.getMessage() for each in caplog.records] == [f"{path}: left out: the arrays info"]


def test_keras(tmp_path: Path) -> None:
    path = tmp_path / "mnist.npz"
    y = np.array([3, 5])
    np.savez(path, x_train=GREY, y_train=y, x_test=GREY + 1, y_test=y)
    pool = read(path)
    assert (pool.shape, pool.class_names, len(pool)) == ((1, 6, 5), ("3", "5"), 4)
    assert np.array_equal(pool.inputs[2, 0], GREY[0] + 1)


def test_one_part_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=np.zeros((2, 9, 64), np.float32), y=np.array([0.0, 1.0]))
    pool = read(path)
    assert (pool.shape, pool.tested) == ((9, 1, 64), None)


def test_lengths_that_differ_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, train_images=GREY, train_labels=np.array([0]))
    with pytest.raises(
        DataError, match=r"a\.npz: `train_images` has 2 samples, and `train_labels` 1"
    ):
        read(path)


def test_other_files_of_arrays_are_unknown(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, weights=GREY)
    with pytest.raises(DataError, match=r"a\.npz: unknown layout"):
        read(path)
    np.savez(path, x=GREY, y=np.array([0, 1]))
    with pytest.raises(ConfigError, match="image_size: is of image files"):
        read(path, image_size=8)
