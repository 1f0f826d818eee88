"""Reads PAMAP2 (Reiss and Stricker 2012): nine people, twelve activities, three motion sensors.

    PAMAP2_Dataset/    Protocol/subject101.dat ... subject109.dat, Optional/ likewise

Source of the preprocessing: FL-IoT and PFLlib. A subject's recordings follow each other; every
channel is divided by its largest absolute value; a window has 256 steps (2.56 s) and overlaps the
next one by half; it counts as the smallest activity number in it, and is left out where that is a
break (0) or an activity that few people did. Missing values are zeros.

Shape suffixes: T steps, L columns, S sensors, C channels of a sensor, N windows.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeloop.data.samples import Pool
from edgeloop.errors import DataError

FOLDER = "PAMAP2_Dataset"
STEPS = 256
ACTIVITIES = {
    24: "rope jumping", 1: "lying", 2: "sitting", 3: "standing", 4: "walking", 5: "running",
    6: "cycling", 7: "Nordic walking", 12: "ascending stairs", 13: "descending stairs",
    16: "vacuum cleaning", 17: "ironing",
}  # fmt: skip
"""The activities by their number in the files, in the order of our labels."""
_ACTIVITY, _COLUMNS = 1, 54
_SENSORS = (3, 20, 37)  # the first column of hand, chest and ankle
# Of a sensor: the accelerometer of 16 g, the gyroscope, the magnetometer, three axes each.
_CHANNELS = (1, 2, 3, 7, 8, 9, 10, 11, 12)
_USED = (_ACTIVITY, *(first + channel for first in _SENSORS for channel in _CHANNELS))


def matches(source: Path) -> bool:
    """Return whether this folder, or one in it, has recordings."""
    return bool(_recordings(source))


def read(source: Path) -> Pool:
    """Pool all subjects' windows, float32 (N, 9, 3, 256); every subject is a natural client.

    Args:
        source: the folder of `Protocol`, or the one it lies in.

    Raises:
        DataError: a file that is malformed, or a subject without one window.
    """
    windows, labels, clients = [], [], []
    for client, files in enumerate(_recordings(source)):
        recorded_TL = np.concatenate([_read_file(path) for path in files])
        windows_NCST, activities = _windows(files[0], np.nan_to_num(recorded_TL, copy=False))
        kept = np.isin(activities, list(ACTIVITIES))
        windows.append(windows_NCST[kept])
        labels.append(_labels(activities[kept]))
        clients.append(np.full(int(kept.sum()), client, np.int64))
    names = tuple(ACTIVITIES.values())
    return Pool(np.concatenate(windows), np.concatenate(labels), names, np.concatenate(clients))


def _recordings(source: Path) -> list[list[Path]]:
    """Return each subject's files, Protocol before Optional."""
    for folder in (source, source / FOLDER):
        for first, second in (("Protocol", "Optional"), ("protocol", "optional")):
            files = sorted((folder / first).glob("subject1??.dat"))
            if files:
                more = [folder / second / each.name for each in files]
                return [
                    [one, *([two] if two.is_file() else [])]
                    for one, two in zip(files, more, strict=True)
                ]
    return []


def _read_file(path: Path) -> NDArray[np.float32]:
    """Read the activity and the 27 channels (T, 28)."""
    try:
        with path.open(encoding="ascii") as file:
            _check_columns(path, len(file.readline().split()))
        return np.loadtxt(path, np.float32, usecols=_USED, ndmin=2)
    except DataError:
        raise
    except (ValueError, OSError) as error:
        problem = f"no recording of PAMAP2 ({error})"
        raise DataError(str(path), problem, "unpack the set again") from error


def _check_columns(path: Path, columns: int) -> None:
    if columns != _COLUMNS:
        problem = f"has {columns} columns instead of {_COLUMNS}"
        raise DataError(str(path), problem, "unpack the set again")


def _windows(
    path: Path, recorded_TL: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Cut a recording into windows (N, C, S, T), and tell the smallest activity (N,) in each."""
    starts = np.arange(0, len(recorded_TL) - STEPS, STEPS // 2)
    if not len(starts):
        problem = f"{len(recorded_TL)} steps are less than one window of {STEPS}"
        raise DataError(str(path), problem, "unpack the set again")
    largest = np.abs(recorded_TL[:, 1:]).max(axis=0)
    scaled_TL = recorded_TL[:, 1:] / np.where(largest > 0, largest, 1)
    at_NT = starts[:, np.newaxis] + np.arange(STEPS)
    windows_NTSC = scaled_TL[at_NT].reshape(len(starts), STEPS, len(_SENSORS), len(_CHANNELS))
    activities = recorded_TL[:, 0].astype(np.int64)[at_NT].min(axis=1)
    return np.ascontiguousarray(windows_NTSC.transpose(0, 3, 2, 1)), activities


def _labels(activities: NDArray[np.int64]) -> NDArray[np.int64]:
    numbers = list(ACTIVITIES)
    return np.array([numbers.index(each) for each in activities.tolist()], np.int64)
