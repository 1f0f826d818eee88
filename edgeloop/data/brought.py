"""What one device brings to a task: its samples, in the task's shape and with its numbers."""

import logging
import os
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np

from edgeloop.data import sensor_windows
from edgeloop.data.class_layout import Photo
from edgeloop.data.classes import class_numbers
from edgeloop.data.columns import BY_NAME, Columns
from edgeloop.data.federation import Federation, single_client
from edgeloop.data.images import Size, class_files, read_class_folders
from edgeloop.data.partitions import Partition
from edgeloop.data.pfllib import Layout
from edgeloop.data.samples import ClientData, Pool, Samples
from edgeloop.data.sensor_windows import Windowing
from edgeloop.data.source import readable
from edgeloop.data.sources import is_divided, layout_of, load, read
from edgeloop.errors import ConfigError, MisfitError, NoSamplesError

log = logging.getLogger(__name__)

DEEPEST = 8
"""Folders within folders in which a change is looked for."""

DAY_SECONDS = 86_400.0
TESTED_BYTE = 64
"""Of 256: a quarter of what is new is kept for testing, by its own bytes."""

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
        most_samples: of a folder of photos, so many of the newest; None for all.
        max_age_days: of a folder of photos, those written within so many days; None for all.
        windows: how recordings of sensors are cut; None where the source has none.
    """

    source: str
    client: int = 0
    partition: Partition | None = None
    layout: Layout = "files"
    image_size: int | None = None
    columns: Columns = BY_NAME
    most_samples: int | None = None
    max_age_days: float | None = None
    windows: Windowing | None = None

    @property
    def oldest(self) -> float:
        """When the oldest photo that counts was written, in seconds since 1970."""
        days = self.max_age_days
        return float("-inf") if days is None else time.time() - days * DAY_SECONDS


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
        self._seen = _traces(choice.source, choice.oldest)
        self._read: tuple[Federation, ClientData] | None = None
        self._split: dict[bytes, bool] = {}  # which samples are for testing, where that was drawn
        self._keeps_split = False
        self._is_empty = False
        self._load()

    def _load(self) -> None:
        self._read = None
        self._is_empty = not self._seen and _is_open_folder(self._choice.source)
        if self._is_empty:
            log.warning("%s has no samples yet", self._choice.source)
        elif self._size_decided_by_task():
            self._inspect()
        else:
            self._read = self._opened(self._choice.image_size)

    def anew(self, keeps_split: bool = False) -> bool:
        """Read again, if a file of the source has changed since; tell whether one has.

        Args:
            keeps_split: what was for testing stays that, and so does what was for training; else
                all is drawn again.

        Raises:
            DataError: a source that can be used no more; it is read again once it changes.
        """
        self._keeps_split = keeps_split
        seen = _traces(self._choice.source, self._choice.oldest)
        if seen == self._seen:
            return False
        self._seen = seen
        self._load()
        return True

    def samples_for(self, class_names: tuple[str, ...], shape: tuple[int, ...]) -> DeviceSamples:
        """Return the samples in a task's terms.

        Args:
            class_names: of the task, in the order of their numbers.
            shape: of one of the task's inputs.

        Raises:
            DataError: a source that cannot be read.
            MisfitError: samples of another shape, or of a class that the task does not have.
            NoSamplesError: no sample that can be read, or none yet.
        """
        if self._is_empty:
            remedy = "put some there: the agent keeps looking"
            raise NoSamplesError("data.source", "has no samples yet", remedy)
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
        if choice.windows or choice.image_size is not None or is_divided(choice.source):
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
        if choice.windows is not None and (choice.partition is not None or choice.client):
            problem = "belongs to recordings of this device, and a divided source has none"
            raise ConfigError("data.windows", problem, "leave out partition and client")
        bounded = choice.most_samples is not None or choice.max_age_days is not None
        if bounded and not self._is_photos():
            name = "max_age_days" if choice.most_samples is None else "most_samples"
            problem = "applies to a folder of photos by class, and this source is something else"
            raise ConfigError(f"data.{name}", problem, "leave it out")
        if choice.partition is None and not is_divided(choice.source):
            if choice.client:
                problem = f"{choice.client}, but without a partition the only client is 0"
                raise ConfigError("data.client", problem, "leave it out, or name a partition")
            if choice.layout != "files":
                problem = f"{choice.layout!r}, but this source has no config.json"
                raise ConfigError("data.layout", problem, "use 'files'")

    def _opened(self, size: Size) -> tuple[Federation, ClientData]:
        self._check()
        choice = self._choice
        if choice.windows is not None or (
            choice.partition is None and not is_divided(choice.source)
        ):
            federation: Federation = self._divided(self._all(size))
        else:
            federation = load(choice.source, choice.partition, choice.layout, size, choice.columns)
        return federation, federation.client(choice.client)

    def _all(self, size: Size) -> Pool:
        """Read the source whole; one photo that cannot be read does not keep a device away."""
        if self._choice.windows is not None:
            return sensor_windows.read(Path(self._choice.source), self._choice.windows)
        if self._is_photos():
            folder = Path(self._choice.source)
            with readable():
                return read_class_folders(folder, size, sparing=True, choose=self._within_bounds)
        return read(self._choice.source, size, columns=self._choice.columns)

    def _is_photos(self) -> bool:
        """Return whether the source is a folder of photos that is not divided."""
        choice = self._choice
        if choice.windows or choice.partition is not None or is_divided(choice.source):
            return False
        return layout_of(choice.source, choice.columns).read is read_class_folders

    def _within_bounds(self, photos: list[Photo]) -> list[Photo]:
        """Return the newest photos, as many as count, in their order; say how many do not.

        Raises:
            NoSamplesError: if none counts.
        """
        choice, written = self._choice, [_written(each.path) for each in photos]
        newest = sorted(range(len(photos)), key=lambda number: (written[number], number))
        newest = [number for number in newest if written[number] >= choice.oldest]
        kept = set(newest[-choice.most_samples :] if choice.most_samples else newest)
        if len(kept) < len(photos):
            log.info("%s: using %d of %d photos", choice.source, len(kept), len(photos))
        if not kept:
            problem = f"has no photo of the last {choice.max_age_days:g} days"
            raise NoSamplesError("data.source", problem, "put some there, or raise max_age_days")
        return [each for number, each in enumerate(photos) if number in kept]

    def _divided(self, pool: Pool) -> Federation:
        """Return the one client of a pool, in which no sample changes sides where that is asked."""
        if pool.tested is not None:
            return single_client(pool)
        digests = [blake2b(each.tobytes(), digest_size=16).digest() for each in pool.inputs]
        if self._keeps_split and self._split:
            sides = [self._split.get(each, each[0] < TESTED_BYTE) for each in digests]
            pool = replace(pool, tested=np.array(sides, np.bool_))
        federation = single_client(pool)
        self._split = dict.fromkeys(digests, False)
        self._split.update((digests[number], True) for number in federation.test[0].tolist())
        return federation

    def _size(self, shape: tuple[int, ...]) -> Size:
        if len(shape) != 3 or shape[0] not in (1, 3):
            problem = f"holds pictures, and the task's inputs have the shape {shape}"
            raise MisfitError("data.source", problem, "name the task's kind of data")
        if max(shape) > LARGEST_SIDE:
            problem = f"{max(shape)} pixels of a side, and {LARGEST_SIDE} are the most"
            raise MisfitError("shape", problem, "give the task smaller images")
        return shape[0], shape[1], shape[2]


def _written(path: Path) -> float:
    """Return when a file was written; of one that is gone, never."""
    try:
        return path.stat().st_mtime
    except OSError:
        return float("-inf")


def _traces(source: str, oldest: float) -> frozenset[tuple[str, int, int, int]]:
    """Return what tells whether a file of a source has changed: names, sizes and times of all.

    Args:
        source: a name, a file or a folder.
        oldest: what was written before does not count.
    """
    if not source:
        return frozenset()
    paths = [Path(source)]
    for folder, within, names in os.walk(source, followlinks=True):
        paths += [Path(folder, name) for name in names if not name.startswith(".")]
        if len(Path(folder).parts) - len(Path(source).parts) >= DEEPEST:
            within.clear()  # a link to itself, perhaps
    found = set()
    for path in paths:
        with suppress(OSError):
            facts = path.stat()
            if not path.is_dir() and facts.st_mtime >= oldest:
                found.add((str(path), facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns))
    return frozenset(found)


def _is_open_folder(source: str) -> bool:
    """Return whether a source is a folder that can be looked into, with all that is in it."""
    if not source or not os.path.isdir(source):
        return False
    shut: list[OSError] = []
    for _ in os.walk(source, onerror=shut.append):
        pass
    return not shut


def _parts(data: ClientData) -> tuple[Samples, Samples]:
    return data.train, data.test


def _tell(train: Samples, test: Samples, class_names: tuple[str, ...]) -> None:
    counts = np.bincount(train.labels, minlength=len(class_names))
    held = int(np.count_nonzero(counts))
    text = "has %d training and %d test samples, of %d of the task's %d classes"
    log.info(text, len(train), len(test), held, len(class_names))
    if not len(test):
        log.warning("no test samples: the accuracy of this device will not be known")
