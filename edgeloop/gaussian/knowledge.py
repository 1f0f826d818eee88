"""What the server keeps and sends of class statistics: every client's share, and their exact sum.

Shape suffixes: J clients, R classes that a client has, of all clients one after the other, C
classes, D dimensions, T entries of an upper triangle, B bytes.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgeloop.gaussian import statistics
from edgeloop.gaussian.options import Config
from edgeloop.gaussian.statistics import (
    ClassStatistics,
    HalfClassStatistics,
    Statistics,
    Sums,
)
from edgeloop.protocol import wire
from edgeloop.protocol.wire import Counts


@dataclass(frozen=True)
class Shares:
    """Every client's last upload, in the order of their names, in single precision.

    Attributes:
        names_B: the clients' names, UTF-8, a line each.
        counts_JC: each client's samples of each class.
        means_RD: each client's means, of the classes that it has.
        second_JT: each client's second moment.
    """

    names_B: NDArray[np.uint8]
    counts_JC: Counts
    means_RD: NDArray[np.float32]
    second_JT: NDArray[np.float32]


@dataclass(frozen=True)
class HalfShares:
    """As `Shares`, in half precision."""

    names_B: NDArray[np.uint8]
    counts_JC: Counts
    means_RD: NDArray[np.float16]
    second_JT: NDArray[np.float16]


@dataclass(frozen=True)
class GlobalStatistics:
    """What all clients' samples have in common.

    Attributes:
        counts_C: samples of each class.
        means_CD: mean feature of each class; zeros where there is no sample.
        second_T: mean of z z^T over all samples, the upper triangle row by row; empty where only
            sums are asked for.
        digests_J: of the shares in it, ascending, so that a client can tell whether its own is.
    """

    counts_C: Counts
    means_CD: NDArray[np.float32]
    second_T: NDArray[np.float32]
    digests_J: NDArray[np.int64]

    @cached_property
    def holds(self) -> frozenset[int]:
        """The digests of the shares in it."""
        return frozenset(self.digests_J.tolist())

    def sums(self, classes: int, dims: int) -> Sums:
        """Return the sums over all samples."""
        labels_R = np.flatnonzero(self.counts_C)
        whole = ClassStatistics(
            labels_R, self.counts_C[labels_R], self.means_CD[labels_R], self.second_T
        )
        return statistics.decode_upload(whole, classes, dims)


def digest(message: Statistics | GlobalStatistics) -> int:
    """Return what tells a message from all others, in 63 bits."""
    return int(wire.fingerprint(message)[:16], 16) >> 1


def no_uploads(config: Config) -> Shares | HalfShares:
    """Return what the server has before the first upload."""
    return _packed({}, config)


def with_uploads(
    state: Shares | HalfShares, uploads: Mapping[str, Statistics], config: Config
) -> Shares | HalfShares:
    """Return the shares with those clients' in place of their last ones.

    An upload without any class takes its client out.
    """
    held = {**uploads_by_client(state, config), **uploads}
    return _packed({name: each for name, each in held.items() if len(each.labels_R)}, config)


def without_clients(
    state: Shares | HalfShares, names: Collection[str], config: Config
) -> Shares | HalfShares:
    """Return the shares without some clients': to the bit as if they had never been there."""
    held = uploads_by_client(state, config)
    return _packed({name: each for name, each in held.items() if name not in names}, config)


def uploads_by_client(state: Shares | HalfShares, config: Config) -> dict[str, Statistics]:
    """Return every client's upload by its name."""
    names = bytes(state.names_B).decode("utf-8").splitlines()
    kind = HalfClassStatistics if config.half else ClassStatistics
    found: dict[str, Statistics] = {}
    start = 0
    for name, counts_C, second_T in zip(names, state.counts_JC, state.second_JT, strict=True):
        labels_R = np.flatnonzero(counts_C)
        means_RD = state.means_RD[start : start + len(labels_R)]
        start += len(labels_R)
        found[name] = kind(labels_R, counts_C[labels_R], means_RD, second_T)  # type: ignore[arg-type]  # kind's
    return found


def global_statistics(state: Shares | HalfShares, config: Config) -> GlobalStatistics:
    """Return the sum of all shares."""
    held = uploads_by_client(state, config)
    opened = (statistics.decode_upload(each, config.classes, config.dims) for each in held.values())
    whole = statistics.add_sums(opened, config.classes, config.dims, config.sends_second)
    counts_C = whole.counts_C.astype(np.int64)
    means_CD = whole.sums_CD / np.maximum(whole.counts_C, 1.0)[:, None]
    second_T = np.zeros(0)
    if whole.second_DD is not None:
        rows, columns = np.triu_indices(config.dims)
        second_T = whole.second_DD[rows, columns] / max(whole.samples, 1.0)
    digests = sorted(digest(each) for each in held.values())
    return GlobalStatistics(
        counts_C=counts_C,
        means_CD=means_CD.astype(np.float32),
        second_T=second_T.astype(np.float32),
        digests_J=np.array(digests, np.int64),
    )


def _packed(held: Mapping[str, Statistics], config: Config) -> Shares | HalfShares:
    names = sorted(held)
    counts_JC = np.zeros((len(names), config.classes), np.int64)
    for row, name in zip(counts_JC, names, strict=True):
        row[held[name].labels_R] = held[name].counts_R
    kind, dtype = (HalfShares, np.float16) if config.half else (Shares, np.float32)
    entries = statistics.triangle(config.dims) if config.sends_second else 0
    means = [held[name].means_RD for name in names]
    second = [held[name].second_T for name in names]
    text = "".join(f"{name}\n" for name in names).encode()
    return kind(
        np.frombuffer(text, np.uint8),
        counts_JC,
        np.concatenate([np.zeros((0, config.dims)), *means]).astype(dtype),
        np.stack(second).astype(dtype) if second else np.zeros((0, entries), dtype),
    )
