"""A part of a federation: some of its clients, few samples of each class."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeloop.data.dirichlet import Indices
from edgeloop.data.federation import Federation
from edgeloop.data.partitions import Partition
from edgeloop.data.samples import ClientShards, Labels, Shard
from edgeloop.errors import DataError


@dataclass(eq=False)
class DerivedFederation(Federation):
    """A federation that another one's clients and samples are in.

    Attributes:
        source: the other one.
    """

    source: Federation

    def __post_init__(self) -> None:
        self.partition: Partition | None = self.source.partition

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class."""
        return self.source.class_names

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input, channels first."""
        return self.source.shape

    @property
    def pixels(self) -> bool:
        """Whether inputs are pixels mapped to [-1, 1]."""
        return self.source.pixels


@dataclass(eq=False)
class View(DerivedFederation):
    """Some clients of a source, numbered again from 0.

    Attributes:
        source: whose clients these are.
        selected: their numbers there.
        shots: training samples of a class that each keeps, the first ones; None for all.

    Raises:
        DataError: if the source has no such client.
    """

    selected: tuple[int, ...]
    shots: int | None = None

    def __post_init__(self) -> None:
        for client in self.selected:
            if not 0 <= client < len(self.source):
                problem = f"does not exist: the clients are 0 to {len(self.source) - 1}"
                raise DataError(f"client {client}", problem, "choose one of them")
        super().__post_init__()

    def __len__(self) -> int:
        return len(self.selected)

    def shards(self, client: int) -> ClientShards:
        """Return a client's samples as they are stored.

        Raises:
            DataError: there is no such client, or its share cannot be read.
        """
        self._check(client)
        shards = self.source.shards(self.selected[client])
        kept = self._kept(shards.train.labels)
        return ClientShards(
            Shard(shards.train.inputs[kept], shards.train.labels[kept]), shards.test
        )

    def labels(self, client: int) -> tuple[Labels, Labels]:
        """Return a client's train and test labels."""
        self._check(client)
        train, test = self.source.labels(self.selected[client])
        return train[self._kept(train)], test

    def fingerprint(self) -> str:
        """Return the SHA-256 of the source's, the chosen clients and the shots."""
        text = f"{self.source.fingerprint()} {list(self.selected)} {self.shots}"
        return hashlib.sha256(text.encode()).hexdigest()

    def _kept(self, labels: Labels) -> Indices:
        return first_of_each(labels, len(labels) if self.shots is None else self.shots)


def first_of_each(labels: Labels, shots: int) -> Indices:
    """Return where the first so many samples of each class are, in their order.

    Source: the `few_shot` option of HtFLlib.
    """
    by_class = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[by_class], labels[by_class])
    places = np.arange(len(labels)) - starts
    return np.sort(by_class[places < shots])


def select_clients(
    source: Federation, chosen: Sequence[int], shots: int | None = None
) -> Federation:
    """Return some clients of a federation; the federation itself where that is all of it.

    Raises:
        DataError: if there is no such client.
    """
    if shots is None and list(chosen) == list(range(len(source))):
        return source
    return View(source, tuple(chosen), shots)
