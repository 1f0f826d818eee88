"""A data set as its clients hold it: a share is read when it is asked for, not before."""

import hashlib
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from edgeloop.data.dirichlet import Indices
from edgeloop.data.partitions import Division, Partition, divide
from edgeloop.data.samples import ClientData, ClientShards, Labels, Pool, Shard
from edgeloop.errors import DataError

log = logging.getLogger(__name__)

_NAMED = 5  # classes, in a sentence


class Federation(ABC):
    """The clients of one data set, numbered from 0.

    Attributes:
        partition: how the data was divided; None where a source came divided and does not say.
    """

    partition: Partition | None

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """The name of each class."""

    @property
    def classes(self) -> int:
        """The number of classes, C."""
        return len(self.class_names)

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of one input, channels first."""

    @property
    @abstractmethod
    def pixels(self) -> bool:
        """Whether inputs are pixels mapped to [-1, 1]; an exported model then reads bytes."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of clients."""

    @abstractmethod
    def shards(self, client: int) -> ClientShards:
        """Return a client's samples as they are stored; images may still be bytes.

        Raises:
            DataError: there is no such client, or its share cannot be read.
        """

    @abstractmethod
    def labels(self, client: int) -> tuple[Labels, Labels]:
        """Return a client's train and test labels without its inputs where the source allows."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a SHA-256, in hex, that tells this division of this data set from any other."""

    def check(self) -> None:
        """Read every share, so that one that does not fit is found now.

        Raises:
            DataError: a share that cannot be read, or does not fit.
        """
        for client in range(len(self)):
            self.shards(client)

    def client(self, client: int) -> ClientData:
        """Return what one client's model reads; float32 from here on.

        Raises:
            DataError: there is no such client, or its share cannot be read.
        """
        shards = self.shards(client)
        return ClientData(shards.train.samples(), shards.test.samples())

    def sizes(self) -> list[tuple[int, int]]:
        """Return the numbers of train and test samples of each client."""
        counts = [self.label_counts(part).sum(axis=1) for part in ("train", "test")]
        return [(int(train), int(test)) for train, test in zip(*counts, strict=True)]

    def label_counts(self, part: Literal["train", "test", "all"] = "all") -> NDArray[np.int64]:
        """Return how many samples of each class each client has, (clients, C)."""
        train, test = self._counts
        return {"train": train, "test": test, "all": train + test}[part]

    @property
    def absent_classes(self) -> tuple[int, ...]:
        """Classes of which no client has a sample (Flowers102, pathological: 100 and 101)."""
        return tuple(np.flatnonzero(self.label_counts().sum(axis=0) == 0).tolist())

    def absent_sentence(self) -> str:
        """Return which classes no client has a sample of; empty where each has its clients."""
        absent = [self.class_names[label] for label in self.absent_classes]
        if not absent:
            return ""
        listed = ", ".join(absent[:_NAMED]) + (", ..." if len(absent) > _NAMED else "")
        return f"no client has a sample of {len(absent)} of {self.classes} classes: {listed}"

    @cached_property
    def _counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        pairs = [self.labels(client) for client in range(len(self))]
        train, test = zip(*pairs, strict=True)
        return self._count(train), self._count(test)

    def _count(self, labels: Sequence[Labels]) -> NDArray[np.int64]:
        return np.stack([np.bincount(each, minlength=self.classes) for each in labels])

    def _check(self, client: int) -> None:
        if not 0 <= client < len(self):
            problem = f"does not exist: this data set has {len(self)} clients"
            raise DataError(f"client {client}", problem, f"use 0 to {len(self) - 1}")


@dataclass(frozen=True, eq=False)
class PooledFederation(Federation):
    """Clients that hold indices into one pool.

    Attributes:
        pool: the samples.
        partition: how they were divided.
        train: each client's indices of training samples, in training order.
        test: each client's indices of test samples.
    """

    pool: Pool
    partition: Partition
    train: tuple[Indices, ...]
    test: tuple[Indices, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class."""
        return self.pool.class_names

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input, channels first."""
        return self.pool.shape

    @property
    def pixels(self) -> bool:
        """Whether inputs are pixels mapped to [-1, 1]."""
        return self.pool.pixels

    def __len__(self) -> int:
        return len(self.train)

    def shards(self, client: int) -> ClientShards:
        """Return a copy of a client's samples.

        Raises:
            DataError: there is no such client.
        """
        self._check(client)
        return ClientShards(self._shard(self.train[client]), self._shard(self.test[client]))

    def labels(self, client: int) -> tuple[Labels, Labels]:
        """Return a client's train and test labels."""
        self._check(client)
        return self.pool.labels[self.train[client]], self.pool.labels[self.test[client]]

    def only(self, client: int) -> "PooledFederation":
        """Return one client alone, with the data it has.

        Raises:
            DataError: there is no such client.
        """
        self._check(client)
        return replace(self, train=(self.train[client],), test=(self.test[client],))

    def tested_on_all(self, samples: int, seed: int) -> "PooledFederation":
        """Return the same clients, each tested on so many of all clients' test samples.

        Raises:
            DataError: all clients together have fewer.
        """
        everyone = np.concatenate(self.test)
        if samples > len(everyone):
            problem = f"{samples} of only {len(everyone)} that all clients have"
            raise DataError("test samples", problem, "ask for fewer")
        drawn = np.random.default_rng(seed).choice(everyone, samples, replace=False)
        return replace(self, test=(np.sort(drawn),) * len(self))

    def fingerprint(self) -> str:
        """Return the SHA-256 of every client's indices and labels, in order, as little-endian."""
        digest = hashlib.sha256()
        for indices in (part for pair in zip(self.train, self.test, strict=True) for part in pair):
            digest.update(len(indices).to_bytes(8, "little"))
            digest.update(indices.astype("<i8").tobytes())
            digest.update(self.pool.labels[indices].astype("<i8").tobytes())
        return digest.hexdigest()

    def _shard(self, indices: Indices) -> Shard:
        return Shard(self.pool.inputs[indices], self.pool.labels[indices])


def single_client(pool: Pool) -> PooledFederation:
    """Return the one client that has all of a pool.

    It tests on what the source has set aside for that; else on the usual share, drawn at random.
    """
    usual, every = Partition("iid", clients=1), np.arange(len(pool))
    if pool.tested is not None:
        train, test = every[~pool.tested], every[pool.tested]
    elif len(pool) < 2:
        train, test = every, every[:0]
    else:
        train, test = divide(every, usual.train_fraction, RandomState(usual.seed))
    return PooledFederation(pool, usual, (train,), (test,))


def split(pool: Pool, partition: Partition) -> PooledFederation:
    """Divide a pool among clients, and every client's samples into train and test.

    Classes that end with no client are legal (pathological does that), and are logged.

    Raises:
        ConfigError: more classes per client than there are classes.
        DataError: a partition that this pool does not allow.
    """
    if partition.kind == "natural" and pool.unclear is not None:
        raise pool.unclear
    draw = RandomState(partition.seed)
    shares = Division(partition, pool, draw).shares()
    for client, share in enumerate(shares):
        if math.floor(partition.train_fraction * len(share)) < 1:
            problem = f"gets {len(share)} samples, too few for a train and a test set"
            raise DataError(f"client {client}", problem, "use fewer clients or more data")
    train, test = zip(
        *(divide(each, partition.train_fraction, draw) for each in shares), strict=True
    )
    federation = PooledFederation(pool, partition, train, test)
    if sentence := federation.absent_sentence():
        log.warning("%s", sentence)
    return federation
