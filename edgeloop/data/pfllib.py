"""Folders with one file per client, as PFLlib and HtFLlib lay them out: ours and theirs.

    config.json         num_clients, num_classes; ours also names classes, pixels and the partition;
                        where it is missing, or one of the two, the files tell
    train/{client}.npz  `x`, `y` (ours), or one pickled dict of both under `data` (theirs)
    test/{client}.npz
    train/train{client}_.npz, test/test{client}_.npz    PFLlib's first versions

Shape suffixes: N windows, C channels, T steps.
"""

import hashlib
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from edgeloop.data.archives import read_labels, read_shard
from edgeloop.data.client_files import FolderConfig, file_of, read_config
from edgeloop.data.federation import Federation, split
from edgeloop.data.looks import log_looks
from edgeloop.data.partitions import Partition
from edgeloop.data.samples import ClientShards, Labels, Pool, Shard, are_pixels
from edgeloop.errors import ConfigError, DataError, choose

log = logging.getLogger(__name__)

Layout = Literal["files", "signal"]


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

    def check(self) -> None:
        """Read every client's files, and say which classes nobody has.

        Raises:
            DataError: a file that is missing, malformed or does not fit.
        """
        super().check()
        if sentence := self.absent_sentence():
            log.warning("%s: %s", self.folder, sentence)

    def divided(self, partition: Partition | None) -> Federation:
        """Return these clients; or all their samples, divided among other ones.

        Args:
            partition: how to divide; None or `natural` keeps these clients.

        Raises:
            ConfigError: a number of samples, where the clients keep their own.
            DataError: a file that is missing or malformed, or samples that cannot be divided so.
        """
        if partition is not None and partition.kind != "natural":
            return split(self._pooled(), partition)
        if partition is not None and partition.samples is not None:
            problem = "cannot be drawn from clients that keep their own"
            raise ConfigError("samples", problem, "choose iid, pathological, dirichlet or exdir")
        return self

    def _pooled(self) -> Pool:
        """Pool all clients' samples, train then test, client 0 first, and keep whose each one was.

        Raises:
            DataError: a file that is missing, malformed or does not fit.
        """
        parts: list[Shard] = []
        owners: list[int] = []
        for client in range(len(self)):
            shards = self.shards(client)
            parts += [shards.train, shards.test]
            owners += [client] * (len(shards.train.labels) + len(shards.test.labels))
        stored = all(part.inputs.dtype == np.uint8 for part in parts)
        inputs = [part.inputs if stored else part.samples().inputs for part in parts]
        labels = np.concatenate([part.labels for part in parts])
        pooled = np.concatenate(inputs)
        return Pool(pooled, labels, self.class_names, np.array(owners, np.int64))

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
        return file_of(self.folder, part, client)

    def _read(self, part: str, client: int) -> Shard:
        self._check(client)
        path = self._path(part, client)
        shard = self._stored(path)
        if not len(shard.labels):
            return Shard(np.zeros((0, *self._look()[0]), np.float32), shard.labels)
        shape = tuple(shard.inputs.shape[1:])
        if self._seen is None:
            log_looks(str(path), shard.inputs)
            self._seen = _traits(shard)
        if shape != self._seen[0]:
            problem = f"inputs of shape {shape}, where another file has {self._seen[0]}"
            raise DataError(str(path), problem, "give all clients inputs of one shape")
        return shard

    def _stored(self, path: Path) -> Shard:
        """Read a file; one without samples has whatever shape."""
        shard = read_shard(path, self.classes)
        return _as_signal(path, shard) if self.layout == "signal" and len(shard.labels) else shard

    def _look(self) -> tuple[tuple[int, ...], bool]:
        """Read files until one has a sample, unless one has been read."""
        if self._seen is None:
            self._seen = self._first_traits()
        return self._seen

    def _first_traits(self) -> tuple[tuple[int, ...], bool]:
        paths = [self._path(part, each) for part in ("train", "test") for each in range(len(self))]
        for path in [each for each in paths if each.is_file()] or paths[:1]:
            shard = self._stored(path)
            if len(shard.labels):
                log_looks(str(path), shard.inputs)
                return _traits(shard)
        raise DataError(str(self.folder), "no client has a sample", "write the folder again")


def open_folder(folder: Path, layout: Layout) -> FolderFederation:
    """Open a folder with one file per client; none is read yet where `config.json` says all.

    Raises:
        ConfigError: a layout that is unknown, or that these files cannot be in.
        DataError: a `config.json` that does not say what it must.
    """
    if layout not in get_args(Layout):
        raise ConfigError("layout", f"there is no {layout!r}", choose(layout, get_args(Layout)))
    config = read_config(folder)
    if layout == "signal" and config.ours:
        problem = "edgeloop wrote this folder, so its signals are as they were loaded"
        raise ConfigError(
            "layout", problem, "use 'files', and 'signal' where the original is loaded"
        )
    return FolderFederation(folder, config, layout)


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
