"""Kuzushiji-MNIST's four files of NumPy, made by hand."""

from pathlib import Path

import numpy as np
import pytest

from edgeloop.data import layout_of, read
from edgeloop.errors import DataError


def write(folder: Path, name: str = "kmnist", labels: tuple[int, ...] = (0, 9)) -> Path:
    folder.mkdir(exist_ok=True)
    for number, part in enumerate(("train", "test")):
        images = np.full((len(labels), 28, 28), 10 * number, np.uint8)
        np.savez_compressed(folder / f"{name}-{part}-imgs.npz", images)
        np.savez_compressed(folder / f"{name}-{part}-labels.npz", np.array(labels, np.uint8))
    return folder


def test_training_before_tests(tmp_path: Path) -> None:
    pool = read(write(tmp_path / "k"))
    assert layout_of(tmp_path / "k").layout == "KMNIST"
    assert (pool.shape, pool.pixels, pool.labels.tolist()) == ((1, 28, 28), True, [0, 9, 0, 9])
    assert pool.inputs[:, 0, 0, 0].tolist() == [0, 0, 10, 10]
    assert (pool.class_names[0], pool.class_names[9]) == ("o", "wo")
    assert pool.tested is not None
    assert pool.tested.tolist() == [False, False, True, True]


def test_of_several_sets_one_is_named(tmp_path: Path) -> None:
    write(write(tmp_path / "k"), "k49", (0, 48))
    with pytest.raises(DataError, match=r"several sets: k49-train-imgs\.npz, kmnist-train"):
        read(tmp_path / "k")
    pool = read(tmp_path / "k" / "k49-train-imgs.npz")
    assert (len(pool), pool.classes, pool.class_names[48]) == (4, 49, "48")


@pytest.mark.parametrize(
    ("name", "array", "problem"),
    [
        ("train-imgs", np.zeros((2, 28, 28), np.float32), "is float32 of shape"),
        ("train-imgs", np.zeros((2, 784), np.uint8), r"is uint8 of shape \(2, 784\)"),
        ("test-imgs", np.zeros((3, 28, 28), np.uint8), "3 images, and 2 labels in kmnist-test-l"),
        ("test-imgs", np.zeros((2, 9, 9), np.uint8), r"images of \(9, 9\), and \(28, 28\)"),
        ("train-labels", np.array([0.5, 1.0]), "label 0.5, which is no number of a class"),
        ("train-labels", None, "no such file"),
    ],
)
def test_what_is_wrong_names_the_file(
    tmp_path: Path, name: str, array: np.ndarray | None, problem: str
) -> None:
    path = write(tmp_path / "k") / f"kmnist-{name}.npz"
    path.unlink()
    if array is not None:
        np.savez(path, array)
    with pytest.raises(DataError, match=problem) as found:
        read(tmp_path / "k")
    assert str(tmp_path / "k" / "kmnist-") in str(found.value)
