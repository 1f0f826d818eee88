"""Class statistics of features: what a client uploads, and exact sums of it.

A client's means lie on a grid of 2^-14 below 64, so that a float64 holds the sum of all clients'
samples exactly, while they are fewer than 10^8: sums in any order are the same to the bit, and a
client that is taken out leaves no trace.

Shape suffixes: N samples, R classes that a client has, C all classes, D dimensions, T the entries
of an upper triangle, D (D + 1) / 2.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeloop.protocol.wire import Counts

Labels = NDArray[np.int64]
Matrix = NDArray[np.float64]

LARGEST = 64.0
"""Of a feature's absolute value; what is larger is cut off, at clients and in tests alike."""

MOST = 10**6
"""Samples of one client: a hundred clients that claim as many are still summed exactly, and no
claim leaves the others' no room."""

_GRID = 2.0**-14


@dataclass(frozen=True)
class ClassStatistics:
    """One client's, in single precision.

    Attributes:
        labels_R: the classes that it has, ascending.
        counts_R: samples of each.
        means_RD: mean feature of each.
        second_T: mean of z z^T over all its samples, the upper triangle row by row; no entry
            where only sums are asked for.
    """

    labels_R: Labels
    counts_R: Counts
    means_RD: NDArray[np.float32]
    second_T: NDArray[np.float32]


@dataclass(frozen=True)
class HalfClassStatistics:
    """One client's, in half precision; see `ClassStatistics`."""

    labels_R: Labels
    counts_R: Counts
    means_RD: NDArray[np.float16]
    second_T: NDArray[np.float16]


Statistics = ClassStatistics | HalfClassStatistics


@dataclass(frozen=True)
class Sums:
    """Sums over samples, of one client or of many.

    Attributes:
        counts_C: samples of each class.
        sums_CD: of their features.
        second_DD: of z z^T; None where it is not known.
    """

    counts_C: Matrix
    sums_CD: Matrix
    second_DD: Matrix | None

    @property
    def samples(self) -> float:
        """How many there are."""
        return float(self.counts_C.sum())

    def __add__(self, other: "Sums") -> "Sums":
        known = self.second_DD is not None and other.second_DD is not None
        return Sums(
            self.counts_C + other.counts_C,
            self.sums_CD + other.sums_CD,
            self.second_DD + other.second_DD if known else None,  # type: ignore[operator]  # known
        )

    def __sub__(self, other: "Sums") -> "Sums":
        known = self.second_DD is not None and other.second_DD is not None
        return Sums(
            self.counts_C - other.counts_C,
            self.sums_CD - other.sums_CD,
            self.second_DD - other.second_DD if known else None,  # type: ignore[operator]  # known
        )

    def cleared(self) -> "Sums":
        """Return the same without what rounding has left in classes that have no sample."""
        return Sums(
            np.maximum(self.counts_C, 0.0),
            np.where(self.counts_C[:, None] > 0, self.sums_CD, 0.0),
            self.second_DD if self.samples > 0 else _none(self.second_DD),
        )


def _none(second_DD: Matrix | None) -> Matrix | None:
    return None if second_DD is None else np.zeros_like(second_DD)


def empty_sums(classes: int, dims: int, second: bool = True) -> Sums:
    """Return the sums of no samples."""
    return Sums(
        np.zeros(classes), np.zeros((classes, dims)), np.zeros((dims, dims)) if second else None
    )


def add_sums(each: Iterable[Sums], classes: int, dims: int, second: bool = True) -> Sums:
    """Return the sums of all; in whatever order, the same to the bit."""
    found = empty_sums(classes, dims, second)
    for one in each:
        found = found + one
    return found


def clip_features(features_ND: Matrix) -> Matrix:
    """Return features of which none is larger than `LARGEST`."""
    found: Matrix = np.clip(features_ND, -LARGEST, LARGEST)
    return found


def class_sums(features_ND: Matrix, labels_N: Labels, classes: int, second: bool = True) -> Sums:
    """Return the sums of one client's samples.

    Args:
        features_ND: bounded.
        labels_N: each below `classes`.
        classes: C.
        second: whether the second moment is wanted.
    """
    of_NC = np.eye(classes)[labels_N]
    moment = features_ND.T @ features_ND if second else None
    return Sums(of_NC.sum(0), of_NC.T @ features_ND, moment)


def encode_upload(found: Sums, half: bool) -> Statistics:
    """Return what a client uploads of its sums.

    Args:
        found: its own.
        half: in half precision.
    """
    labels_R = np.flatnonzero(found.counts_C)
    counts_R = found.counts_C[labels_R]
    means_RD = found.sums_CD[labels_R] / counts_R[:, None]
    moment_T = np.zeros(0)
    if found.second_DD is not None:
        rows, columns = np.triu_indices(len(found.second_DD))
        moment_T = found.second_DD[rows, columns] / max(found.samples, 1.0)
    kind, dtype = (HalfClassStatistics, np.float16) if half else (ClassStatistics, np.float32)
    return kind(
        labels_R.astype(np.int64),
        counts_R.astype(np.int64),
        _on_grid(_on_grid(means_RD).astype(dtype)).astype(dtype),
        _on_grid(_on_grid(moment_T).astype(dtype)).astype(dtype),
    )


def decode_upload(sent: Statistics, classes: int, dims: int) -> Sums:
    """Return the sums that a message stands for."""
    counts_C = np.zeros(classes)
    counts_C[sent.labels_R] = sent.counts_R
    sums_CD = np.zeros((classes, dims))
    sums_CD[sent.labels_R] = sent.means_RD.astype(np.float64) * sent.counts_R[:, None]
    if not len(sent.second_T):
        return Sums(counts_C, sums_CD, None)
    moment_DD = np.zeros((dims, dims))
    rows, columns = np.triu_indices(dims)
    moment_DD[rows, columns] = sent.second_T.astype(np.float64) * counts_C.sum()
    moment_DD[columns, rows] = moment_DD[rows, columns]
    return Sums(counts_C, sums_CD, moment_DD)


def triangle(dims: int) -> int:
    """Return T."""
    return dims * (dims + 1) // 2


def check(sent: Statistics, classes: int, unit: bool = False) -> None:
    """Refuse statistics that no samples have.

    Args:
        sent: by a client.
        classes: C.
        unit: whether features have length 1.

    Raises:
        ValueError: saying why.
    """
    labels, counts = sent.labels_R, sent.counts_R
    ordered = bool((labels[1:] > labels[:-1]).all())
    if len(labels) and (labels[0] < 0 or labels[-1] >= classes or not ordered):
        raise ValueError(f"labels that are no ascending classes below {classes}")
    if len(counts) and counts.min() < 1:
        raise ValueError("a count of samples below 1")
    if int(counts.astype(object).sum()) > MOST:
        raise ValueError(f"more than {MOST:,} samples of one client")
    _check_grid("means_RD", sent.means_RD, LARGEST)
    _check_grid("second_T", sent.second_T, LARGEST**2)
    if unit and (np.linalg.norm(sent.means_RD.astype(np.float64), axis=1) > 1.01).any():
        raise ValueError("a mean of features of length 1 that is longer")
    if len(sent.second_T):
        _check_moment(sent)


def _check_grid(name: str, array: NDArray[np.floating], largest: float) -> None:
    values = array.astype(np.float64)
    if len(values) and np.abs(values).max() > largest:
        raise ValueError(f"{name} has an entry above {largest:g}")
    if (values != _on_grid(values)).any():
        raise ValueError(f"{name} has an entry that is no multiple of {_GRID:g}")


def _check_moment(sent: Statistics) -> None:
    """Refuse a second moment that no samples with these means have.

    Its diagonal is at least the means' squares, and less the means' products it is the covariance
    within classes, which is positive semidefinite. What precision takes from that is allowed for:
    a share of each entry, which is at most the product of two roots of the diagonal, and a step of
    the grid.
    """
    dims = sent.means_RD.shape[1]
    moment_DD = np.zeros((dims, dims))
    rows, columns = np.triu_indices(dims)
    moment_DD[rows, columns] = sent.second_T
    moment_DD[columns, rows] = sent.second_T
    share_R1 = (sent.counts_R / max(sent.counts_R.sum(), 1))[:, None]
    means_RD = sent.means_RD.astype(np.float64)
    diagonal_D = np.diag(moment_DD)
    if (diagonal_D * 1.02 + 1e-2 < (share_R1 * means_RD**2).sum(0)).any():
        raise ValueError("a second moment below the square of the means")
    slack_D = (2.0**-12 * dims + 2.0**-10) * diagonal_D + _GRID * dims + 1e-3
    if not is_positive(moment_DD + np.diag(slack_D)):
        raise ValueError("no second moment of any samples: it is not positive")
    within_DD = (1 + 2.0**-6) * moment_DD - (share_R1 * means_RD).T @ means_RD
    if not is_positive(within_DD + np.diag(slack_D)):
        raise ValueError("no second moment of samples with these means: their covariance is none")


def is_positive(symmetric_DD: Matrix) -> bool:
    """Return whether a symmetric matrix is positive definite."""
    try:
        np.linalg.cholesky(symmetric_DD)
    except np.linalg.LinAlgError:
        return False
    return True


def _on_grid(values: NDArray[np.floating]) -> Matrix:
    found: Matrix = np.rint(values.astype(np.float64) / _GRID) * _GRID
    return found
