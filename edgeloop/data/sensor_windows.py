"""Cuts recordings of sensors into windows: CSV files with a heading, or npz files of columns.

A window counts as its label where one label holds for all of it; others are left out. Which windows
are for testing depends on a recording's name and on the time within it alone, so that a recording
that grows moves none from one side to the other, and no window shares a step with one of the other
side: time is divided into blocks, every fourth of which is for testing, and a window lies within
one block.

Shape suffixes: T steps of a recording, C columns, N windows, S steps of a window.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeloop.data import tables
from edgeloop.data.samples import Pool
from edgeloop.errors import ConfigError, DataError

BLOCK = 4
"""Windows, one after the other, that a block of time is long."""

TESTED_BLOCKS = 4
"""One block of so many is for testing."""

KINDS = (".csv", ".tsv", ".npz")


@dataclass(frozen=True)
class Windowing:
    """How recordings are cut.

    Attributes:
        columns: names of the sensors' columns, C of them, in the order of the input's channels.
        rate: steps a second.
        window: seconds.
        stride: seconds from one window's begin to the next one's.
        label: the column of the labels; None where the folder that a file lies in has its name.
        scale: what each column is divided by; one for all, or one a column.
    """

    columns: tuple[str, ...]
    rate: float
    window: float
    stride: float
    label: str | None = None
    scale: tuple[float, ...] = (1.0,)

    @property
    def steps(self) -> int:
        """S."""
        return round(self.rate * self.window)

    @property
    def step(self) -> int:
        """How many steps after a window's begin the next one begins."""
        return round(self.rate * self.stride)

    def check(self) -> None:
        """Find what cannot be.

        Raises:
            ConfigError: naming it.
        """
        if not self.columns:
            problem = "names none"
            raise ConfigError("data.windows.columns", problem, "name the sensors' columns")
        if len(set(self.columns)) < len(self.columns):
            raise ConfigError("data.windows.columns", "names one twice", "name each once")
        if len(self.scale) not in (1, len(self.columns)):
            problem = f"has {len(self.scale)} numbers for {len(self.columns)} columns"
            raise ConfigError("data.windows.scale", problem, "give one, or one a column")
        if self.steps < 2 or self.step < 1:
            problem = f"of {self.steps} steps, {self.step} apart, is none"
            raise ConfigError("data.windows", problem, "raise window, stride or rate")


def read(source: Path, cut: Windowing) -> Pool:
    """Cut all recordings of a folder, or one file, into windows: float32 (N, C, 1, S).

    Args:
        source: a file, or a folder whose files, and whose folders' files, are recordings.
        cut: how.

    Raises:
        ConfigError: if that cannot be.
        DataError: a file that is no recording with these columns, or none with one window.
    """
    cut.check()
    windows, names, tested = [], [], []
    for path in _recordings(source):
        values_TC, labels = _read(path, cut)
        for begin in range(0, len(labels) - cut.steps + 1, cut.step):
            part = labels[begin : begin + cut.steps]
            block, last = (each // (BLOCK * cut.steps) for each in (begin, begin + cut.steps - 1))
            if block != last or not part[0] or any(each != part[0] for each in part):
                continue
            windows.append(values_TC[begin : begin + cut.steps].T[:, np.newaxis])
            names.append(part[0])
            turn = block + zlib.crc32(path.relative_to(source.parent).as_posix().encode())
            tested.append(turn % TESTED_BLOCKS == TESTED_BLOCKS - 1)
    if not windows:
        problem = f"has no window of {cut.window:g} s ({cut.steps} steps) with one label"
        raise DataError(str(source), problem, "record longer, or lower data.windows.window")
    classes = tuple(sorted(set(names)))
    number = {name: place for place, name in enumerate(classes)}
    labels_N = np.array([number[name] for name in names], np.int64)
    return Pool(np.stack(windows), labels_N, classes, tested=np.array(tested, np.bool_))


def _recordings(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    if not source.exists():
        raise DataError(str(source), "no such file or folder", "correct data.source")
    found = sorted(
        path
        for path in source.rglob("*")
        if path.suffix.lower() in KINDS and path.is_file() and not path.name.startswith(".")
    )
    if not found:
        problem = "has no recording"
        raise DataError(str(source), problem, f"put {', '.join(KINDS)} files there")
    return found


def _read(path: Path, cut: Windowing) -> tuple[NDArray[np.float32], list[str]]:
    """Return a recording's values (T, C), scaled, and the label of each step; empty for none."""
    of_columns = _npz(path, cut) if path.suffix.lower() == ".npz" else _table(path, cut)
    try:
        values_TC = np.stack([np.asarray(of_columns[name], np.float32) for name in cut.columns], 1)
    except ValueError as error:
        problem = f"holds what is no number, or columns of several lengths ({error})"
        raise DataError(str(path), problem, "write numbers alone below the heading") from error
    if cut.label is None:
        labels = [path.parent.name] * len(values_TC)
    else:
        labels = [str(each).strip() for each in of_columns[cut.label]]
    if len(labels) != len(values_TC) or not np.isfinite(values_TC).all():
        problem = "has a step without a number, or labels for another number of steps"
        raise DataError(str(path), problem, "leave such steps out")
    return (values_TC / np.asarray(cut.scale, np.float32)).astype(np.float32), labels


def _wanted(cut: Windowing) -> list[str]:
    return [*cut.columns, *([] if cut.label is None else [cut.label])]


def _table(path: Path, cut: Windowing) -> dict[str, list[str]]:
    content = tables.cells(path)
    heading = [name.strip() for name in next(content, [])]
    _check_columns(path, heading, cut)
    places = {name: heading.index(name) for name in _wanted(cut)}
    rows = list(content)
    if rows and len(rows[-1]) < len(heading):
        rows.pop()  # it is being written
    if any(len(row) < len(heading) for row in rows):
        raise DataError(str(path), "has a row that is too short", "write all columns of each row")
    return {name: [row[place] for row in rows] for name, place in places.items()}


def _npz(path: Path, cut: Windowing) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            _check_columns(path, list(file.files), cut)
            found = {name: file[name] for name in _wanted(cut)}
    except (OSError, ValueError, zlib.error) as error:
        raise DataError(str(path), f"no npz of columns ({error})", "write it again") from error
    if any(each.ndim != 1 for each in found.values()):
        problem = "has a column that is no row of numbers"
        raise DataError(str(path), problem, "write each column as an array of its own")
    return found


def _check_columns(path: Path, there: list[str], cut: Windowing) -> None:
    missing = [name for name in _wanted(cut) if name not in there]
    if missing:
        problem = f"has no column {missing[0]!r}; it has {', '.join(there[:20])}"
        raise DataError(str(path), problem, "correct data.windows, or the file's heading")
