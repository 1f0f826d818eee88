"""Reads UCI HAR (Anguita et al. 2013) as it is published: smartphones of thirty people.

    UCI HAR Dataset/    train/ and test/: y_*.txt, subject_*.txt, Inertial Signals/*.txt

Channels stay channels here; HtFL-OnDevice's folders of the same data interleave them with time
(the layout `signal` of such a folder undoes that).

Shape suffixes: N windows, C channels, T steps.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeloop.data.samples import Pool
from edgeloop.errors import DataError

FOLDER = "UCI HAR Dataset"
CLASS_NAMES = (
    *("walking", "walking upstairs", "walking downstairs"),
    *("sitting", "standing", "lying"),
)
CHANNELS = tuple(
    f"{kind}_{axis}" for kind in ("body_acc", "body_gyro", "total_acc") for axis in "xyz"
)
_PARTS = ("train", "test")


def matches(source: Path) -> bool:
    """Return whether this folder, or one in it, has the windows; also within the archive's name."""
    return _folder(source) is not None


def read(source: Path) -> Pool:
    """Pool train and test, float32 (N, 9, 1, 128); every subject is a natural client.

    Args:
        source: the folder of `train` and `test`, or the one it lies in.

    Raises:
        DataError: a file that is missing or malformed, or files of different lengths.
    """
    folder = _folder(source) or source
    signals_NCT = np.concatenate([_signals(folder / part) for part in _PARTS])
    labels = np.concatenate([_labels(folder / part / f"y_{part}.txt") for part in _PARTS])
    subjects = [_column(folder / part / f"subject_{part}.txt") for part in _PARTS]
    return Pool(signals_NCT[:, :, np.newaxis], labels, CLASS_NAMES, np.concatenate(subjects))


def _folder(source: Path) -> Path | None:
    places = [source, source / FOLDER, *sorted(source.glob(f"*/{FOLDER}"))]
    return next((each for each in places if (each / "train" / "y_train.txt").is_file()), None)


def _signals(part: Path) -> NDArray[np.float32]:
    files = [part / "Inertial Signals" / f"{name}_{part.name}.txt" for name in CHANNELS]
    channels = [_numbers(path) for path in files]
    for path, channel in zip(files, channels, strict=True):
        if not np.isfinite(channel).all():
            line = int(np.argmin(np.isfinite(channel).all(axis=1)))
            problem = "holds a value that is not finite"
            raise DataError(f"{path}: row {line}", problem, "remove or repair that window")
        if channel.shape != channels[0].shape:
            problem = f"{channel.shape} numbers, where {files[0].name} has {channels[0].shape}"
            raise DataError(str(path), problem, "unpack the set again")
    return np.stack(channels, axis=1)


def _labels(path: Path) -> NDArray[np.int64]:
    """Return labels from 0; the files count the six activities from 1."""
    labels = _column(path)
    wrong = np.flatnonzero((labels < 1) | (labels > len(CLASS_NAMES)))
    if len(wrong):
        problem = f"is {labels[wrong[0]]}, and the labels of UCI HAR are 1 to {len(CLASS_NAMES)}"
        remedy = "add 1 to all of them" if labels.min() == 0 else "unpack the set again"
        raise DataError(f"{path}: row {wrong[0]}", problem, remedy)
    return labels - 1


def _column(path: Path) -> NDArray[np.int64]:
    return _numbers(path).ravel().astype(np.int64)


def _numbers(path: Path) -> NDArray[np.float32]:
    if not path.is_file():
        features = any(path.parents[1].glob("X_*.txt"))
        problem = "no such file; the 561 features in X_*.txt are not read" if features else ""
        remedy = "unpack the whole set: the windows are in `Inertial Signals`"
        raise DataError(str(path), problem or "no such file", remedy)
    try:
        return np.loadtxt(path, np.float32, ndmin=2)
    except (ValueError, OSError) as error:
        raise DataError(str(path), f"no numbers ({error})", "unpack the set again") from error
