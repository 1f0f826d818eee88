"""What one device brings to a task: its samples, in the task's shape and with its numbers."""

import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeloop.data.classes import class_numbers
from edgeloop.data.columns import BY_NAME, Columns
from edgeloop.data.federation import Federation, single_client
from edgeloop.data.images import Size, class_files, read_class_folders
from edgeloop.data.partitions import Partition
from edgeloop.data.pfllib import Layout
from edgeloop.data.samples import ClientData, Pool, Samples
from edgeloop.data.sources import is_divided, layout_of, load, read, readable
from edgeloop.errors import ConfigError, MisfitError

log = logging.getLogger(__name__)

DEEPEST = 8
"""Folders within folders in which a change is looked for."""

LARGEST_SIDE = 4096
"""Pixels of an image that is resized to a task's size."""


@dataclass(frozen=True)
class SampleSelection:
    """Which samples are a device's; see `edgeloop.data.load`.

    Attributes:
        source: a name, a file or a folder.
        client: whose share of it.
        partition: how it is dealt out; None for all of it, or for a source that is divided.
        layout: of a folder with one file per client.
        image_size: pixels of a side; None for the size of the task.
        columns: names of columns of a table, where their own names do not tell.
    """

    source: str
    client: int = 0
    partition: Partition | None = None
    layout: Layout = "files"
    image_size: int | None = None
    columns: Columns = BY_NAME


@dataclass(frozen=True, eq=False)
class DeviceSamples:
    """A device's samples as its task has them.

    Attributes:
        data: the samples.
        pixels: whether inputs are pixels mapped to [-1, 1].
    """

    data: ClientData
    pixels: bool


class DeviceData:
    """One device's samples, of whatever layout.

    Images whose size nobody has named are read when the task's is known; all else is read at once.

    Args:
        choice: which samples.

    Raises:
        ConfigError: settings that the source cannot have.
        DataError: a source that is missing, unknown or malformed.
    """

    def __init__(self, choice: SampleSelection) -> None:
        self._choice = choice
        self._seen = _traces(choice.source)
        self._read: tuple[Federation, ClientData] | None = None
        self._load()

    def _load(self) -> None:
        if self._size_decided_by_task():
            self._inspect()
        else:
            self._read = self._opened(self._choice.image_size)

    def anew(self) -> bool:
        """Read again, if a file of the source has changed since; tell whether one has.

        Raises:
            DataError: a source that can be used no more; it is read again once it changes.
        """
        seen = _traces(self._choice.source)
        if seen == self._seen:
            return False
        self._seen = seen
        self._load()
        return True

    def samples_for(self, class_names: tuple[str, ...], shape: tuple[int, ...]) -> DeviceSamples:
        """Return the samples in a task's terms.

        Args:
            class_names: the task's, in the order of their numbers.
            shape: of one of the task's inputs.

        Raises:
            DataError: a source that cannot be read.
            MisfitError: samples of another shape, or of a class that the task does not have.
        """
        federation, data = self._read or self._opened(self._size(shape))
        if federation.shape != shape:
            problem = f"its inputs have the shape {federation.shape}, the task's {shape}"
            raise MisfitError("data.source", problem, "name the task's kind of data")
        held = np.unique(np.concatenate([data.train.labels, data.test.labels])).tolist()
        numbers = class_numbers(federation.class_names, class_names, held)
        train, test = (Samples(part.inputs, numbers[part.labels]) for part in _parts(data))
        _tell(train, test, class_names)
        return DeviceSamples(ClientData(train, test), federation.pixels)

    def _size_decided_by_task(self) -> bool:
        """Return whether the task decides the images' size."""
        choice = self._choice
        if choice.image_size is not None or is_divided(choice.source):
            return False
        return layout_of(choice.source, choice.columns).resizes

    def _inspect(self) -> None:
        """Look at what can be seen before the task is known."""
        self._check()
        if layout_of(self._choice.source, self._choice.columns).read is read_class_folders:
            with readable():
                class_files(Path(self._choice.source))

    def _check(self) -> None:
        choice = self._choice
        if choice.partition is None and not is_divided(choice.source):
            if choice.client:
                problem = f"{choice.client}, and without a partition there is one client, 0"
                raise ConfigError("data.client", problem, "leave it out, or name a partition")
            if choice.layout != "files":
                problem = f"{choice.layout!r}, but this source has no config.json"
                raise ConfigError("data.layout", problem, "use 'files'")

    def _opened(self, size: Size) -> tuple[Federation, ClientData]:
        self._check()
        choice = self._choice
        if choice.partition is None and not is_divided(choice.source):
            federation: Federation = single_client(self._all(size))
        else:
            federation = load(choice.source, choice.partition, choice.layout, size, choice.columns)
        return federation, federation.client(choice.client)

    def _all(self, size: Size) -> Pool:
        """Read the source whole; one photo that cannot be read does not keep a device away."""
        if layout_of(self._choice.source, self._choice.columns).read is read_class_folders:
            with readable():
                return read_class_folders(Path(self._choice.source), size, sparing=True)
        return read(self._choice.source, size, columns=self._choice.columns)

    def _size(self, shape: tuple[int, ...]) -> Size:
        if len(shape) != 3 or shape[0] not in (1, 3):
            problem = f"holds pictures, and the task's inputs have the shape {shape}"
            raise MisfitError("data.source", problem, "name the task's kind of data")
        if max(shape) > LARGEST_SIDE:
            problem = f"{max(shape)} pixels of a side, and {LARGEST_SIDE} are the most"
            raise MisfitError("shape", problem, "give the task smaller images")
        return shape[0], shape[1], shape[2]


def _traces(source: str) -> frozenset[tuple[str, int, int, int]]:
    """Return what tells whether a file of a source has changed: names, sizes and times of all."""
    if not source:
        return frozenset()
    paths = [Path(source)]
    for folder, within, names in os.walk(source, followlinks=True):
        paths += [Path(folder, name) for name in names]
        if len(Path(folder).parts) - len(Path(source).parts) >= DEEPEST:
            within.clear()  # a link to itself, perhaps
    found = set()
    for path in paths:
        with suppress(OSError):
            facts = path.stat()
            if not path.is_dir():
                found.add((str(path), facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns))
    return frozenset(found)


def _parts(data: ClientData) -> tuple[Samples, Samples]:
    return data.train, data.test


def _tell(train: Samples, test: Samples, class_names: tuple[str, ...]) -> None:
    counts = np.bincount(train.labels, minlength=len(class_names))
    held = int(np.count_nonzero(counts))
    told = "brings %d training and %d test samples, of %d of the task's %d classes"
    log.info(told, len(train), len(test), held, len(class_names))
    if not len(test):
        log.warning("no test samples: the accuracy of this device will not be known")
