"""How a data set is divided among clients (PFLlib's partitions, draw for draw).

Every draw comes from one NumPy `RandomState(seed)`: first the partition, then each client's
train/test permutation in client order, so that a seed gives exactly PFLlib's clients.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from edgeloop.data.dirichlet import DirichletDraw, Indices, dirichlet, exdir
from edgeloop.data.samples import Labels
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


def assign(
    partition: Partition, labels: Labels, classes: int, natural: Indices | None, draw: RandomState
) -> list[Indices]:
    """Return each client's sample indices, in the order in which the client keeps them.

    Args:
        partition: how to divide.
        labels: int64 (N,).
        classes: C.
        natural: int64 (N,), the natural client of each sample, or None.
        draw: the source of randomness; it moves on.

    Raises:
        ConfigError: more classes per client than there are classes.
        DataError: a partition that this data set does not allow.
    """
    if partition.kind == "natural":
        return _natural(natural)
    if partition.clients > len(labels):
        problem = f"{partition.clients} clients cannot share {len(labels)} samples"
        raise DataError("clients", problem, "use fewer clients")
    if partition.kind in ("dirichlet", "exdir"):
        return _drawn_shares(partition, labels, classes, draw)
    point = PARTITIONS.find(partition.kind, KINDS)
    if point is not None:
        return _of_others(point, partition, labels, draw)
    return _pathological(partition, labels, classes, draw)


def draw_indices(partition: Partition, total: int) -> Indices:
    """Return the indices of the samples to divide, ascending; a stream of its own draws them.

    Raises:
        DataError: more samples than there are.
    """
    if partition.samples is None:
        return np.arange(total)
    if partition.samples > total:
        problem = f"{partition.samples} of only {total}"
        raise DataError("samples", problem, f"use at most {total}")
    random = np.random.default_rng(partition.seed)
    return np.sort(random.choice(total, partition.samples, replace=False))


def divide(indices: Indices, train_fraction: float, draw: RandomState) -> tuple[Indices, Indices]:
    """Divide one client's indices at random, not stratified, into train and test."""
    test_size = len(indices) - math.floor(train_fraction * len(indices))
    order = draw.permutation(len(indices))
    return indices[order[test_size:]], indices[order[:test_size]]


def _natural(natural: Indices | None) -> list[Indices]:
    """One client for each client id of the source, in ascending order."""
    if natural is None:
        remedy = "name a column `client` or `subject`, or use iid, pathological, dirichlet or exdir"
        raise DataError("partition", "natural, but this source names no clients", remedy)
    return [np.flatnonzero(natural == name) for name in np.unique(natural)]


def _of_others(
    point: Point, partition: Partition, labels: Labels, draw: RandomState
) -> list[Indices]:
    """Return the shares that a function of others makes, checked.

    Raises:
        ConfigError: if it fails, or makes something else than one share of indices a client.
    """
    with PARTITIONS.asked(point):
        made = point.load()(labels, partition, draw)
        shares = [np.asarray(share, np.int64).reshape(-1) for share in made]
        if len(shares) != partition.clients:
            raise ValueError(f"it made {len(shares)} shares for {partition.clients} clients")
        every = np.concatenate(shares)
        if len(every) and not 0 <= every.min() <= every.max() < len(labels):
            raise ValueError(f"it gave samples that are not among the {len(labels)}")
        if len(np.unique(every)) < len(every):
            raise ValueError("it gave a sample to two clients")
    return shares


def _drawn_shares(
    partition: Partition, labels: Labels, classes: int, draw: RandomState
) -> list[Indices]:
    clients, alpha, tries = partition.clients, partition.alpha, partition.max_tries
    drawing = DirichletDraw(clients, alpha, labels, classes, draw, tries)
    if partition.kind == "exdir":
        return exdir(drawing, partition.classes_per_client)
    return dirichlet(drawing, partition.least(len(labels)))


def _pathological(
    partition: Partition, labels: Labels, classes: int, draw: RandomState
) -> list[Indices]:
    """Give every client a quota of classes; iid is the quota of all."""
    per_client = classes if partition.kind == "iid" else partition.classes_per_client
    if per_client > classes:
        problem = f"{per_client} of only {classes} classes"
        raise ConfigError("classes_per_client", problem, f"use at most {classes}")
    quota = np.full(partition.clients, per_client)
    sharers = math.ceil(partition.clients / classes * per_client)
    shares: list[list[Indices]] = [[] for _ in range(partition.clients)]
    for label in range(classes):
        chosen = np.flatnonzero(quota)[:sharers]
        if not len(chosen):
            break
        sizes = _share_sizes(partition, labels, label, len(chosen), classes, draw)
        slices = np.split(np.flatnonzero(labels == label), np.cumsum(sizes))
        for client, share in zip(chosen, slices, strict=True):
            shares[client].append(share)
        quota[chosen] -= 1
    return [np.concatenate(share) for share in shares]


def _share_sizes(
    partition: Partition, labels: Labels, label: int, sharers: int, classes: int, draw: RandomState
) -> NDArray[np.int64]:
    """Draw what every sharer of a class but the last gets; the last takes the remainder."""
    held = np.count_nonzero(labels == label)
    mean = held / sharers
    if partition.balanced or sharers == 1 or not held:
        return np.full(sharers - 1, int(mean))
    low = int(max(mean / 10, partition.least(len(labels)) / classes))
    if low >= int(mean):
        problem = (
            f"class {label} has too few samples ({held}) for {sharers} clients: shares are drawn"
        )
        remedy = "use fewer clients, fewer classes per client, or balanced shares"
        raise DataError("clients", f"{problem} from more than {low} for each", remedy)
    return np.asarray(draw.randint(low, int(mean), sharers - 1), np.int64)
