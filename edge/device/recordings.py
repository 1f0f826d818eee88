"""Looks at recordings of sensors, and proposes how they are cut into windows: `[data.windows]`.

Shape suffix: T steps of a recording.
"""

import math
import statistics
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeloop.data import tables
from edgeloop.data.sensor_windows import KINDS
from edgeloop.errors import ConfigError, DataError

STEPS = 128
"""Of a window, if nothing is said and recordings are long enough: UCI HAR's."""

MOST_FILES = 20
"""That are looked at; all are read as the windows are cut."""

_TIMES = {"t", "time", "timestamp", "seconds", "sec", "ts", "elapsed", "unix", "epoch"}
_LABELS = {"label", "activity", "class", "state", "y", "target"}
_UNITS = (("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3))
_EPOCHS = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3))
"""From so large a time on it counts from 1970, in such seconds."""

Column = NDArray[Any]


@dataclass(frozen=True)
class Asked:
    """What is asked of the windows; what is None is found, or proposed.

    Attributes:
        columns: names of the sensors' columns.
        rate: steps a second.
        window: seconds.
        stride: seconds.
        label: the column of the labels.
    """

    columns: tuple[str, ...] | None = None
    rate: float | None = None
    window: float | None = None
    stride: float | None = None
    label: str | None = None

    @property
    def is_any(self) -> bool:
        """Whether anything is asked."""
        return any(each is not None for each in vars(self).values())


@dataclass(frozen=True)
class Recordings:
    """What recordings have in common.

    Attributes:
        lines: for a person.
        columns: of numbers, in the files' order; those that were asked for.
        label: the column of the labels; None where folders have their names.
        time: the column of the time, if there is one.
        rate: steps a second; None if nothing tells.
        shortest: steps of the shortest one that was looked at.
    """

    lines: tuple[str, ...]
    columns: tuple[str, ...]
    label: str | None
    time: str | None
    rate: float | None
    shortest: int

    def windows(self, rate: float, asked: Asked) -> dict[str, Any]:
        """Return a `[data.windows]` table: what is asked for, and proposals for the rest."""
        steps = min(STEPS, max(2, self.shortest // 4))
        window = asked.window or _rounded(steps / rate)
        found: dict[str, Any] = {
            "columns": list(self.columns),
            "rate": rate,
            "window": window,
            "stride": asked.stride or _rounded(window / 2),
        }
        return {**found, "label": self.label} if self.label else found


def has_time(source: Path) -> bool:
    """Return whether a table has a column of time, which a table of samples has not."""
    return source.suffix.lower() != ".npz" and _time(_columns(source)) is not None


def look(source: Path, asked: Asked) -> Recordings | None:
    """Look at recordings; None if there are none.

    Raises:
        ConfigError: if a column that is asked for is not there, or nothing has a label.
        DataError: a file that cannot be read.
    """
    files = _files(source)
    if not files:
        return None
    read = [_columns(path) for path in files[:MOST_FILES]]
    common = [name for name in read[0] if all(name in each for each in read)]
    time = next((name for name in common if all(_time(each) == name for each in read)), None)
    label = _label(asked, common, read, source, files)
    columns = asked.columns or tuple(
        name for name in common if name not in (time, label) and all(map(_is_of(name), read))
    )
    _check(source, columns, common)
    rate = asked.rate or (None if time is None else _rate(time, [each[time] for each in read]))
    lengths = [len(next(iter(each.values()))) for each in read]
    shortest = min(lengths)
    lines = (
        f"{source}: recordings of sensors, {len(files)} {'file' if len(files) == 1 else 'files'},"
        f" the shortest of {shortest} steps",
        f"columns: {', '.join(columns)} ({_range(columns, read)})",
        f"steps a second: {'not known' if rate is None else f'{rate:g}'}"
        + ("" if time is None or asked.rate else f", by the column {time}"),
        f"labels: {'the names of the folders' if label is None else f'the column {label}'}",
    )
    return Recordings(lines, columns, label, time, rate, shortest)


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source] if source.suffix.lower() in KINDS else []
    found = (path for path in source.rglob("*") if path.suffix.lower() in KINDS and path.is_file())
    return sorted(path for path in found if not path.name.startswith("."))


def _columns(path: Path) -> dict[str, Column]:
    """Return the columns of a recording, numbers where all of it is one."""
    if path.suffix.lower() == ".npz":
        try:
            with np.load(path, allow_pickle=False) as file:
                found = {name: file[name] for name in file.files}
        except (OSError, ValueError, zlib.error) as error:
            raise DataError(str(path), f"no npz of columns ({error})", "write it again") from error
        return {name: each for name, each in found.items() if each.ndim == 1}
    rows = tables.rows(path)
    names = [name for name in (rows[0] if rows else tables.heading(path)) if name]
    return {name: _numbers([row[name].strip() for row in rows]) for name in names}


def _numbers(cells: Sequence[str]) -> Column:
    try:
        return np.asarray(cells, np.float64)
    except ValueError:
        return np.asarray(cells)


def _is_number(column: Column) -> bool:
    return column.dtype.kind in "iuf" and bool(np.isfinite(column).all())


def _is_of(name: str) -> Any:
    return lambda columns: _is_number(columns[name])


def _time(columns: Mapping[str, Column]) -> str | None:
    """Return the column whose name and values are those of a time."""
    for name, column in columns.items():
        words = name.lower().replace("(", "_").replace(")", "").replace(" ", "_").split("_")
        if words[0] in _TIMES and _is_number(column) and len(column) > 1:
            return name if bool((np.diff(column) >= 0).all() and column[-1] > column[0]) else None
    return None


def _rate(name: str, times: Sequence[Column]) -> float | None:
    """Return steps a second: the median of the steps' lengths, in the unit that is told or seen."""
    gaps = [float(gap) for times_T in times for gap in np.diff(times_T) if gap > 0]
    last = max(float(times_T[-1]) for times_T in times)
    words = name.lower().replace("(", "_").replace(")", "").split("_")
    unit = next((seconds for text, seconds in _UNITS if text in words[1:]), None)
    unit = unit or next((seconds for size, seconds in _EPOCHS if last > size), 1.0)
    rate = 1.0 / (statistics.median(gaps) * unit)
    return float(round(rate)) if math.isclose(rate, round(rate), rel_tol=0.02) else _rounded(rate)


def _label(
    asked: Asked,
    common: Sequence[str],
    read: Sequence[Mapping[str, Column]],
    source: Path,
    files: Sequence[Path],
) -> str | None:
    """Return the column of the labels; None where the folders' names are theirs."""
    if asked.label is not None:
        if asked.label not in common:
            problem = f"not every recording has {asked.label!r}; all have {', '.join(common[:20])}"
            raise ConfigError("--label-column", problem, "name a column that all have")
        return asked.label
    if source.is_dir() and all(path.parent != source for path in files):
        return None
    texts = [name for name in common if not any(map(_is_of(name), read))]
    named = [name for name in common if name.lower() in _LABELS]
    found = named or texts
    if not found:
        problem = f"{source} has no labels for its recordings"
        remedy = "put them into folders, one for each class, or name a column with --label-column"
        raise ConfigError("--data", problem, remedy)
    return found[0]


def _check(source: Path, columns: Sequence[str], common: Sequence[str]) -> None:
    if missing := [name for name in columns if name not in common]:
        problem = f"not every recording has {missing[0]!r}; all have {', '.join(common[:20])}"
        raise ConfigError("--columns", problem, "name columns that all have")
    if not columns:
        problem = f"{source} has no numeric column that all its recordings have"
        raise ConfigError("--data", problem, "write a header line, and numbers below it")


def _range(columns: Sequence[str], read: Sequence[Mapping[str, Column]]) -> str:
    values = [each[name] for each in read for name in columns if _is_number(each[name])]
    filled = [each for each in values if len(each)]
    if not filled:
        return "no values yet"
    low, high = (min(float(e.min()) for e in filled), max(float(e.max()) for e in filled))
    return f"{low:.3g} to {high:.3g}; data.windows.scale divides them"


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
