"""How a data set is divided among clients (PFLlib's partitions, draw for draw).

Every draw comes from one NumPy `RandomState(seed)`: first the partition, then each client's
train/test permutation in client order, so that a seed gives exactly PFLlib's clients.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from edgeloop.data.dirichlet import DirichletDraw, Indices, dirichlet, exdir
from edgeloop.data.samples import Labels, Pool
from edgeloop.errors import ConfigError, DataError, choose
from edgeloop.runtime.plugins import PARTITIONS, Point

Kind = Literal["iid", "pathological", "dirichlet", "natural", "exdir"]
KINDS: tuple[str, ...] = get_args(Kind)


def kinds() -> list[str]:
    """Return the names of the partitions: this package's, then others'."""
    return [*KINDS, *(name for name in PARTITIONS.names() if name not in KINDS)]


@dataclass(frozen=True)
class Partition:
    """How to divide a data set; the defaults are PFLlib's.

    Attributes:
        kind: `iid`: every client sees every class; `pathological`: `classes_per_client` of them;
            `dirichlet`: shares drawn from Dir(alpha); `natural`: the clients of the source;
            `exdir`: `classes_per_client` drawn classes, and shares of them from Dir(alpha); or the
            name of a function that another package brings, or a person by its import path.
        clients: the number of clients; `natural` ignores it.
        alpha: the Dirichlet concentration; the smaller, the more skewed.
        classes_per_client: of `pathological` and `exdir`.
        balanced: `iid` and `pathological`: equal shares of a class instead of random ones.
        seed: of the `RandomState`, 0 to 2**32 - 1.
        train_fraction: the share of a client's samples it trains on.
        batch_size: clients should fill at least one such batch of test samples (see `least`).
        samples: divide only so many, drawn at random before anything else; None for all.
        max_tries: how often `dirichlet` and `exdir` may draw before they give up.

    Raises:
        ConfigError: a field out of range.
    """

    kind: str
    clients: int = 20
    alpha: float = 0.1
    classes_per_client: int = 2
    balanced: bool = False
    seed: int = 1
    train_fraction: float = 0.75
    batch_size: int = 10
    samples: int | None = None
    max_tries: int = 1000

    def __post_init__(self) -> None:
        if self.kind not in kinds():
            raise ConfigError("partition", f"there is no {self.kind!r}", choose(self.kind, kinds()))
        for field in ("clients", "classes_per_client", "batch_size", "samples", "max_tries"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise ConfigError(field, f"{value} is below 1", "use 1 or more")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ConfigError(
                "alpha", f"{self.alpha} is not above 0", "use 0.1 or 1.0, for example"
            )
        if not 0 < self.train_fraction < 1:
            problem = f"{self.train_fraction} is not between 0 and 1"
            raise ConfigError("train_fraction", problem, "use 0.75, for example")
        if not 0 <= self.seed < 2**32:
            raise ConfigError("seed", f"{self.seed} is out of range", "use 0 to 2**32 - 1")

    def least(self, samples: int) -> int:
        """Return how many samples each client must get at least, of so many."""
        batches = self.batch_size / (1 - self.train_fraction)
        return int(min(batches, samples / self.clients / 2))

    def indices(self, samples: int) -> Indices:
        """Return which of so many samples are divided, ascending; a stream of its own draws them.

        Raises:
            DataError: more samples than there are.
        """
        if self.samples is None:
            return np.arange(samples)
        if self.samples > samples:
            problem = f"{self.samples} of only {samples}"
            raise DataError("samples", problem, f"use at most {samples}")
        random = np.random.default_rng(self.seed)
        return np.sort(random.choice(samples, self.samples, replace=False))


def divide(indices: Indices, train_fraction: float, draw: RandomState) -> tuple[Indices, Indices]:
    """Divide one client's indices at random, not stratified, into train and test."""
    test_size = len(indices) - math.floor(train_fraction * len(indices))
    order = draw.permutation(len(indices))
    return indices[order[test_size:]], indices[order[:test_size]]


@dataclass(frozen=True, eq=False)
class Division:
    """A pool that is being divided.

    Attributes:
        partition: how to divide.
        pool: N samples, or more: `Partition.indices` are those that are divided.
        draw: the source of randomness; it moves on.
    """

    partition: Partition
    pool: Pool
    draw: RandomState

    def shares(self) -> list[Indices]:
        """Return each client's indices into the pool, in the order in which the client keeps them.

        Raises:
            ConfigError: more classes per client than there are classes.
            DataError: a partition that this data set does not allow.
        """
        indices = self.indices
        return [indices[share] for share in self._assigned()]

    @cached_property
    def indices(self) -> Indices:
        """Which samples of the pool are divided, (N,)."""
        return self.partition.indices(len(self.pool))

    @cached_property
    def labels(self) -> Labels:
        """Their labels, int64 (N,)."""
        return self.pool.labels[self.indices]

    def _assigned(self) -> list[Indices]:
        kind, clients = self.partition.kind, self.partition.clients
        if kind == "natural":
            return self._natural()
        if clients > len(self.labels):
            problem = f"{clients} clients cannot share {len(self.labels)} samples"
            raise DataError("clients", problem, "use fewer clients")
        if kind in ("dirichlet", "exdir"):
            return self._drawn()
        point = PARTITIONS.find(kind, KINDS)
        return self._pathological() if point is None else self._of_others(point)

    def _natural(self) -> list[Indices]:
        """One client for each client id of the source, in ascending order."""
        if self.pool.clients is None:
            problem = "natural, but this source names no clients"
            kinds = "iid, pathological, dirichlet or exdir"
            remedy = f"name a column `client` or `subject`, or use {kinds}"
            raise DataError("partition", problem, remedy)
        natural = self.pool.clients[self.indices]
        return [np.flatnonzero(natural == name) for name in np.unique(natural)]

    def _of_others(self, point: Point) -> list[Indices]:
        """Return the shares that a function of others makes, checked.

        Raises:
            ConfigError: if it fails, or makes something else than one share of indices a client.
        """
        clients, samples = self.partition.clients, len(self.labels)
        with PARTITIONS.asked(point):
            made = point.load()(self.labels, self.partition, self.draw)
            shares = [_indices(share) for share in made]
            if len(shares) != clients:
                raise ValueError(f"it made {len(shares)} shares for {clients} clients")
            every = np.concatenate(shares)
            if len(every) and not 0 <= every.min() <= every.max() < samples:
                raise ValueError(f"it gave samples that are not among the {samples}")
            if len(np.unique(every)) < len(every):
                raise ValueError("it gave a sample to two clients")
        return shares

    def _drawn(self) -> list[Indices]:
        asked = self.partition
        about = asked.clients, asked.alpha, self.labels, self.pool.classes
        drawing = DirichletDraw(*about, self.draw, asked.max_tries)
        if asked.kind == "exdir":
            return exdir(drawing, asked.classes_per_client)
        return dirichlet(drawing, asked.least(len(self.labels)))

    def _pathological(self) -> list[Indices]:
        """Give every client a quota of classes; iid is the quota of all."""
        asked, classes = self.partition, self.pool.classes
        per_client = classes if asked.kind == "iid" else asked.classes_per_client
        if per_client > classes:
            problem = f"{per_client} of only {classes} classes"
            raise ConfigError("classes_per_client", problem, f"use at most {classes}")
        quota = np.full(asked.clients, per_client)
        sharers = math.ceil(asked.clients / classes * per_client)
        shares: list[list[Indices]] = [[] for _ in range(asked.clients)]
        for label in range(classes):
            chosen = np.flatnonzero(quota)[:sharers]
            if not len(chosen):
                break
            held = np.flatnonzero(self.labels == label)
            slices = np.split(held, np.cumsum(self._sizes(label, len(held), len(chosen))))
            for client, share in zip(chosen, slices, strict=True):
                shares[client].append(share)
            quota[chosen] -= 1
        return [np.concatenate(share) for share in shares]

    def _sizes(self, label: int, held: int, sharers: int) -> NDArray[np.int64]:
        """Draw what every sharer of a class but the last gets; the last takes the remainder."""
        mean = held / sharers
        if self.partition.balanced or sharers == 1 or not held:
            return np.full(sharers - 1, int(mean))
        least = self.partition.least(len(self.labels))
        low = int(max(mean / 10, least / self.pool.classes))
        if low >= int(mean):
            problem = f"class {label} has too few samples ({held}) for {sharers} clients"
            remedy = "use fewer clients, fewer classes per client, or balanced shares"
            problem += f": shares are drawn from more than {low} for each"
            raise DataError("clients", problem, remedy)
        return np.asarray(self.draw.randint(low, int(mean), sharers - 1), np.int64)


def _indices(share: object) -> NDArray[np.int64]:
    """Return one client's share as a person's function gives it: indices (M,).

    Raises:
        ValueError: if it holds something else than whole numbers.
    """
    given = np.asarray(share)
    if given.dtype.kind == "b":
        raise ValueError("it gave true and false; np.flatnonzero makes indices of them")
    found = given.astype(np.int64).reshape(-1)
    if given.size and (given.reshape(-1) != found).any():
        raise ValueError("it gave indices that are no whole numbers")
    return found
