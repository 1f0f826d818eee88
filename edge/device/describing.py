"""Says what a device's data are: their layout, classes, samples and shape, as readers see them."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.device.recordings import has_time
from edgeloop import data as data_sets
from edgeloop.data import Pool, sensor_windows
from edgeloop.data.class_layout import ClassLayout
from edgeloop.data.layouts import FOLDERS
from edgeloop.data.settings import WindowSettings
from edgeloop.data.source import readable
from edgeloop.errors import ConfigError, DataError, NoSamplesError
from edgeloop.protocol.task import Contract
from edgeloop.runtime import config, modules

PHOTO_SHAPE = (3, 32, 32)
"""What models are measured on where the task decides the size of photos."""

SMALLEST_MODEL = {1: "mlp", 2: "harcnn-s1", 3: "cnn"}
"""What is proposed where nothing is measured, by the number of an input's dimensions."""


@dataclass(frozen=True)
class Brought:
    """What a device brings.

    Attributes:
        lines: for a person.
        class_names: its own.
        shape: of one input.
        samples: how many.
    """

    lines: tuple[str, ...]
    class_names: tuple[str, ...]
    shape: tuple[int, ...]
    samples: int

    def choose(self, group: str, seconds: float) -> str:
        """Return the architecture to propose: the largest of a group that trains in time.

        Args:
            group: of the task; empty to measure nothing.
            seconds: that a round may take.

        Raises:
            ConfigError: if torch, which measures, is not installed.
            ModelError: if none of the group is fast enough.
        """
        if not group:
            return SMALLEST_MODEL.get(len(self.shape), "cnn")
        if modules.find("torch") is None:
            problem = "is measured by torch, which is not installed"
            raise ConfigError(
                "--group", problem, "name an --architecture, or install edgeloop[edge]"
            )
        from edge.device.measuring import largest_within

        return largest_within(group, self._trial(), self.samples, seconds)

    def _trial(self) -> Contract:
        """Return a contract of these samples, to measure with."""
        names = self.class_names if len(self.class_names) > 1 else ("0", "1")
        return Contract(
            task="measured",
            run="measured",
            algorithm="fedproto",
            options={},
            class_names=names,
            shape=self.shape,
            rounds=1,
            devices=("measured",),
        )


def describe(source: str) -> Brought:
    """Look at data as a device's agent will, and say what they are.

    Raises:
        DataError: a source that is missing, unknown or malformed.
        NoSamplesError: one without a sample.
    """
    if data_sets.is_divided(source):
        return _divided(source)
    layout = data_sets.layout_of(source)
    if layout is FOLDERS:
        return _photos(source)
    with _heard() as said:
        pool = data_sets.read(source)
    return _of_pool(source, layout.layout, pool, said)


def _of_pool(source: str, layout: str, pool: Pool, said: list[str]) -> Brought:
    names, count = tuple(pool.class_names), len(pool.labels)
    each = np.bincount(pool.labels, minlength=len(names)).tolist()
    shape = tuple(pool.inputs.shape[1:])
    first = f"{source}: {layout}, {count} samples of shape {list(shape)}"
    return Brought(
        (first, _classes(dict(zip(names, each, strict=True))), *said), names, shape, count
    )


def _photos(source: str) -> Brought:
    with readable(), _heard() as said:
        layout = ClassLayout(Path(source))
        photos, left = layout.photos, str(layout.left)
    counts: dict[str, int] = {}
    for photo in photos:
        counts[photo.label] = counts.get(photo.label, 0) + 1
    if not photos:
        remedy = "put some there, one subfolder for each class, or name another folder"
        raise NoSamplesError("--data", f"{source} has no photo in a class folder", remedy)
    first = f"{source}: class folders, {len(photos)} photos, fitted to the task's size"
    left_out = (f"left out: {left}",) if left else ()
    lines = (first, _classes(counts), *left_out, *said)
    return Brought(lines, tuple(counts), PHOTO_SHAPE, len(photos))


def are_recordings(source: str) -> bool:
    """Return whether data are recordings of sensors, of which windows are cut.

    A folder that has such files and no photo; a file that is nothing else, or has a column of time.
    """
    path = Path(source)
    if path.is_dir():
        with readable():
            if data_sets.is_divided(source) or ClassLayout(path).photos:
                return False
        files = [each for each in path.rglob("*") if each.suffix.lower() in sensor_windows.KINDS]
        return bool(files) and (data_sets.layout_of(source) is FOLDERS or has_time(min(files)))
    if path.suffix.lower() not in sensor_windows.KINDS or not path.is_file():
        return False
    try:
        data_sets.layout_of(source)
    except DataError:
        return True
    return has_time(path)


def describe_windows(source: str, windows: Mapping[str, Any]) -> Brought:
    """Cut recordings as a device's agent will, and say what comes of it.

    Args:
        source: a file or a folder.
        windows: the `[data.windows]` table.

    Raises:
        ConfigError: if they cannot be cut so.
        DataError: a file that is no recording with these columns, or none with one window.
    """
    cut = config.parse(dict(windows), WindowSettings, "data.windows").windowing()
    pool = sensor_windows.read(Path(source), cut)
    return _of_pool(source, f"windows of {cut.steps} steps, {cut.step} apart", pool, [])


def _divided(source: str) -> Brought:
    federation = data_sets.load(source)
    mine = federation.client(0)
    count = len(mine.train) + len(mine.test)
    first = f"{source}: one file per client, {len(federation)} clients"
    second = f"client 0 has {count} samples of shape {list(federation.shape)}"
    return Brought((first, second), federation.class_names, federation.shape, count)


def _classes(counts: dict[str, int]) -> str:
    named = ", ".join(f"{name} ({count})" for name, count in list(counts.items())[:20])
    more = f" and {len(counts) - 20} more" if len(counts) > 20 else ""
    return f"{len(counts)} classes: {named}{more}"


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Collect what readers warn of, such as what they leave out."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    listener, room = Listener(logging.WARNING), logging.getLogger("edgeloop.data")
    room.addHandler(listener)
    try:
        yield said
    finally:
        room.removeHandler(listener)
