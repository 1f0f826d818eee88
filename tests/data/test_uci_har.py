"""UCI HAR as it is published."""

from pathlib import Path

import numpy as np
import pytest

from edgeloop.data import Partition, layout_of, load, read
from edgeloop.data.uci_har import CHANNELS
from edgeloop.errors import DataError


def phones(folder: Path) -> None:
    """Window n, channel c, step t has the value 100 n + 10 c + t; four to train, two to test."""
    for part, first, subjects, labels in (
        ("train", 0, [3, 1, 3, 1], [1, 2, 6, 5]),
        ("test", 4, [2, 2], [4, 3]),
    ):
        signals = folder / part / "Inertial Signals"
        signals.mkdir(parents=True)
        windows = 100.0 * np.arange(first, first + len(labels))[:, np.newaxis] + np.arange(5)
        for channel, name in enumerate(CHANNELS):
            np.savetxt(signals / f"{name}_{part}.txt", windows + 10 * channel)
        np.savetxt(folder / part / f"y_{part}.txt", labels, fmt="%d")
        np.savetxt(folder / part / f"subject_{part}.txt", subjects, fmt="%d")


@pytest.mark.parametrize("inside", ["UCI HAR Dataset", "."])
def test_channels_are_channels_and_subjects_clients(tmp_path: Path, inside: str) -> None:
    phones(tmp_path / inside)
    pool = read(tmp_path)
    assert layout_of(tmp_path).layout == "UCI HAR"
    assert pool.inputs.shape == (6, 9, 1, 5)
    assert pool.inputs[1, 4, 0].tolist() == [140, 141, 142, 143, 144]
    assert pool.labels.tolist() == [0, 1, 5, 4, 3, 2]
    federation = load(tmp_path, Partition("natural"))
    assert federation.label_counts().tolist() == [
        [0, 1, 0, 0, 1, 0],
        [0, 0, 1, 1, 0, 0],
        [1, 0, 0, 0, 0, 1],
    ]


def test_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    phones(tmp_path)
    path = tmp_path / "test" / "Inertial Signals" / "total_acc_z_test.txt"
    path.write_text("1 2 3 4 5\n")
    with pytest.raises(DataError, match=r"total_acc_z_test\.txt: \(1, 5\) numbers, where body"):
        read(tmp_path)
    path.write_text("a b\n")
    with pytest.raises(DataError, match=r"total_acc_z_test\.txt: no numbers"):
        read(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r"total_acc_z_test\.txt: no such file; unpack the whole"):
        read(tmp_path)
    (tmp_path / "test" / "X_test.txt").write_text("")
    with pytest.raises(
        DataError, match=r"no such file; the 561 features in X_\*\.txt are not read"
    ):
        read(tmp_path)


def test_a_value_that_is_not_finite_is_named(tmp_path: Path) -> None:
    phones(tmp_path)
    path = tmp_path / "train" / "Inertial Signals" / "body_gyro_y_train.txt"
    lines = path.read_text().splitlines()
    lines[2] = lines[2].replace(lines[2].split()[1], "nan")
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"body_gyro_y_train\.txt: row 2: .* not finite"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ([0, 1, 5, 2], r"row 0: is 0, and the labels of UCI HAR are 1 to 6; add 1"),
        ([1, 2, 7, 3], r"row 2: is 7, and the labels of UCI HAR are 1 to 6; unpack"),
    ],
)
def test_labels_that_are_none_are_named(tmp_path: Path, labels: list[int], problem: str) -> None:
    phones(tmp_path)
    np.savetxt(tmp_path / "train" / "y_train.txt", labels, fmt="%d")
    with pytest.raises(DataError, match=rf"y_train\.txt: {problem}"):
        read(tmp_path)
