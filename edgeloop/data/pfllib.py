"""Folders with one file per client, as PFLlib and HtFLlib lay them out: ours and theirs.

    config.json         num_clients, num_classes; ours also names classes, pixels and the partition
    train/{client}.npz  `x`, `y` (ours), or one pickled dict of both under `data` (theirs)
    test/{client}.npz

Shape suffixes: N windows, C channels, T steps.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from edgeloop.data.archives import read_labels, read_shard
from edgeloop.data.federation import Federation
from edgeloop.data.partitions import Partition
from edgeloop.data.samples import MOST_CLASSES, ClientShards, Labels, Pool, Shard, are_pixels
from edgeloop.errors import ConfigError, DataError, choose

log = logging.getLogger(__name__)

CONFIG = "config.json"
FORMAT = "edgeloop 1"
_STATISTIC = "Size of samples for labels in clients"
Layout = Literal["files", "signal"]


@dataclass(frozen=True)
class FolderConfig:
    """What `config.json` says.

    Attributes:
        clients: the number of clients.
        class_names: the given names, or the numbers of the classes.
        pixels: whether inputs are pixels; None where the file does not say.
        ours: whether `write` made the folder; its signals are as they were loaded.
        partition: how the data was divided; None where the file does not say.
    """

    clients: int
    class_names: tuple[str, ...]
    pixels: bool | None = None
    ours: bool = False
    partition: Partition | None = None


@dataclass(eq=False)
class FolderFederation(Federation):
    """Clients whose files are read when asked for, and only theirs.

    So a device needs no file but its own. `shape` and `pixels` come from the first file that was
    read; every later one must have the same shape.

    Attributes:
        folder: the folder of `config.json`.
        config: what it says.
        layout: `signal` undoes HtFL-OnDevice's plain reshape of (N, T, C) to (N, C, 1, T), which
            interleaves channels and time; `files` leaves inputs as they are stored.
    """

    folder: Path
    config: FolderConfig
    layout: Layout = "files"
    _seen: tuple[tuple[int, ...], bool] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.partition = self.config.partition

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class."""
        return self.config.class_names

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input, channels first."""
        return self._look()[0]

    @property
    def pixels(self) -> bool:
        """Whether inputs are pixels mapped to [-1, 1]."""
        return self._look()[1] if self.config.pixels is None else self.config.pixels

    def __len__(self) -> int:
        return self.config.clients

    def shards(self, client: int) -> ClientShards:
        """Read one client's two files.

        Raises:
            DataError: no such client, or a file that is missing, malformed or does not fit.
        """
        return ClientShards(self._read("train", client), self._read("test", client))

    def labels(self, client: int) -> tuple[Labels, Labels]:
        """Read one client's labels; from files with members `x` and `y` no inputs."""
        self._check(client)
        train, test = (self._path(part, client) for part in ("train", "test"))
        return read_labels(train, self.classes), read_labels(test, self.classes)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the SHA-256 of every file, train then test, client by client."""
        digest = hashlib.sha256(self.layout.encode())
        for client in range(len(self)):
            for part in ("train", "test"):
                digest.update(_digest(self._path(part, client)))
        return digest.hexdigest()

    def _path(self, part: str, client: int) -> Path:
        return self.folder / part / f"{client}.npz"

    def _read(self, part: str, client: int) -> Shard:
        self._check(client)
        path = self._path(part, client)
        shard = read_shard(path, self.classes)
        if self.layout == "signal":
            shard = _as_signal(path, shard)
        shape = tuple(shard.inputs.shape[1:])
        if self._seen is None:
            self._seen = _traits(shard)
        if shape != self._seen[0]:
            problem = f"inputs of shape {shape}, where another file has {self._seen[0]}"
            raise DataError(str(path), problem, "give all clients inputs of one shape")
        return shard

    def _look(self) -> tuple[tuple[int, ...], bool]:
        """Read the first file there is, unless one has been read."""
        if self._seen is None:
            held = (each for each in range(len(self)) if self._path("train", each).is_file())
            self._seen = _traits(self._read("train", next(held, 0)))
        return self._seen


def open_folder(folder: Path, layout: Layout) -> FolderFederation:
    """Open a folder with a `config.json`; no client's file is read yet.

    Raises:
        ConfigError: a layout that is unknown, or that these files cannot be in.
        DataError: a `config.json` that does not say what it must.
    """
    if layout not in get_args(Layout):
        raise ConfigError("layout", f"there is no {layout!r}", choose(layout, get_args(Layout)))
    config = _read_config(folder / CONFIG)
    if layout == "signal" and config.ours:
        problem = "edgeloop wrote this folder, so its signals are as they were loaded"
        raise ConfigError(
            "layout", problem, "use 'files', and 'signal' where the original is loaded"
        )
    return FolderFederation(folder, config, layout)


def merge(federation: Federation) -> Pool:
    """Pool all clients' samples, train then test, client 0 first, and keep whose each one was.

    Raises:
        DataError: a file that is missing, malformed or does not fit.
    """
    parts: list[Shard] = []
    owners: list[int] = []
    for client in range(len(federation)):
        shards = federation.shards(client)
        parts += [shards.train, shards.test]
        owners += [client] * (len(shards.train.labels) + len(shards.test.labels))
    stored = all(part.inputs.dtype == np.uint8 for part in parts)
    inputs = [part.inputs if stored else part.samples().inputs for part in parts]
    labels = np.concatenate([part.labels for part in parts])
    pooled = np.concatenate(inputs)
    return Pool(pooled, labels, federation.class_names, np.array(owners, np.int64))


def _traits(shard: Shard) -> tuple[tuple[int, ...], bool]:
    return tuple(shard.inputs.shape[1:]), are_pixels(shard.inputs)


def _as_signal(path: Path, shard: Shard) -> Shard:
    """Return windows (N, C, 1, T) whose channels are channels again."""
    if shard.inputs.ndim != 4 or shard.inputs.shape[2] != 1:
        problem = f"inputs {shard.inputs.shape[1:]} are no signals of shape (channels, 1, steps)"
        raise DataError(str(path), problem, "use layout 'files'")
    n, c, _, t = shard.inputs.shape
    signals_NCT = shard.inputs.reshape(n, t, c).transpose(0, 2, 1)
    return Shard(np.ascontiguousarray(signals_NCT)[:, :, np.newaxis], shard.labels)


def _digest(path: Path) -> bytes:
    if not path.is_file():
        raise DataError(str(path), "no such file", "restore it, or write the folder again")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _read_config(path: Path) -> FolderConfig:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataError(str(path), f"not JSON ({error})", "write the folder again") from error
    if not isinstance(content, dict):
        raise DataError(str(path), "not a JSON object", "write the folder again")
    classes = _classes(path, content)
    names = content.get("class_names") or [str(label) for label in range(classes)]
    if not isinstance(names, list) or len(names) != classes:
        problem = f"is not a list of {classes} names (num_classes)"
        raise DataError(f"{path}: class_names", problem, "name every class once")
    return FolderConfig(
        clients=_positive(path, content, "num_clients"),
        class_names=tuple(str(name) for name in names),
        pixels=_flag(path, content, "pixels"),
        ours=content.get("format") == FORMAT,
        partition=_partition(path, content.get("partition")),
    )


def _classes(path: Path, content: Mapping[str, Any]) -> int:
    """Return the number of classes; PFLlib's own files may lack it, and count the labels instead.

    Raises:
        DataError: a number that is none, or none where no file has a label either.
    """
    if content.get("num_classes") is not None:
        classes = _positive(path, content, "num_classes")
        if classes > MOST_CLASSES:
            problem = f"{classes:,} classes, and {MOST_CLASSES:,} are the most"
            raise DataError(f"{path}: num_classes", problem, "correct it")
        return classes
    classes = _counted(content.get(_STATISTIC)) or _labelled(path.parent)
    if not classes:
        raise DataError(f"{path}: num_classes", "is missing, and no file has a label", "add it")
    log.info("%s: has no num_classes: %d, as the labels say", path, classes)
    return classes


def _counted(statistic: object) -> int:
    """Return one more than the largest label of PFLlib's statistic; 0 where there is none."""
    try:
        pairs = [pair for client in statistic for pair in client]  # type: ignore[attr-defined]
        labels = [int(label) for label, _ in pairs]
    except (TypeError, ValueError):
        return 0
    return max(labels, default=-1) + 1 if max(labels, default=0) < MOST_CLASSES else 0


def _labelled(folder: Path) -> int:
    """Return one more than the largest label of the files that are there."""
    files = sorted([*folder.glob("train/*.npz"), *folder.glob("test/*.npz")])
    largest = [int(read_labels(each, MOST_CLASSES).max(initial=-1)) for each in files]
    return max(largest, default=-1) + 1


def _positive(path: Path, content: Mapping[str, Any], key: str) -> int:
    value = content.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise DataError(f"{path}: {key}", f"{value!r} is no whole number above 0", "correct it")
    return value


def _flag(path: Path, content: Mapping[str, Any], key: str) -> bool | None:
    value = content.get(key)
    if value is not None and not isinstance(value, bool):
        raise DataError(f"{path}: {key}", f"{value!r} is not true or false", "correct it")
    return value


def _partition(path: Path, settings: object) -> Partition | None:
    """Read our own settings; PFLlib writes a bare word there, and natural data nothing."""
    if not isinstance(settings, dict):
        return None
    try:
        return Partition(**settings)
    except TypeError as error:
        raise DataError(f"{path}: partition", str(error), "write the folder again") from error
