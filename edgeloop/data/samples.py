"""Labelled samples: one client's, and those of a data set before it is partitioned.

Shape suffix, in this package: N samples. An input's own shape follows it, channels first.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgeloop.errors import DataError

Inputs = NDArray[np.uint8 | np.float32]
Labels = NDArray[np.int64]

MOST_CLASSES = 100_000
"""That numbers alone may tell of: a label of nine digits is an id, and no class's number."""


@dataclass(frozen=True, eq=False)
class Samples:
    """What a model reads.

    Attributes:
        inputs: float32 (N, *shape); an image's pixels lie in [-1, 1].
        labels: int64 (N,).
    """

    inputs: NDArray[np.float32]
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class ClientData:
    """One client's share of a data set."""

    train: Samples
    test: Samples


@dataclass(frozen=True, eq=False)
class Shard:
    """Samples as a file keeps them: images may still be bytes.

    Attributes:
        inputs: uint8 or float32 (N, *shape).
        labels: int64 (N,).
    """

    inputs: Inputs
    labels: Labels

    def samples(self) -> Samples:
        """Return what a model reads."""
        return Samples(to_float(self.inputs), self.labels)


@dataclass(frozen=True, eq=False)
class ClientShards:
    """One client's share of a data set as a file keeps it."""

    train: Shard
    test: Shard


@dataclass(frozen=True, eq=False)
class Pool:
    """A labelled data set that no client owns yet.

    Attributes:
        inputs: uint8 pixels or float32 values (N, *shape), channels first.
        labels: int64 (N,), each an index into `class_names`.
        class_names: the name of each class, C of them.
        clients: int64 (N,), the natural client of each sample, where the source knows it.
        tested: bool (N,), which samples the source has set aside for tests, where it has.
        unclear: why the natural clients are not known, where the source names them and not all.

    Raises:
        DataError: lengths that differ, a label out of range, a value that is not finite.
    """

    inputs: Inputs
    labels: Labels
    class_names: tuple[str, ...]
    clients: NDArray[np.int64] | None = None
    tested: NDArray[np.bool_] | None = None
    unclear: DataError | None = None

    def __post_init__(self) -> None:
        check_shard("pool", self.inputs, self.labels, len(self.class_names))
        if self.clients is not None and len(self.clients) != len(self.labels):
            problem = f"{len(self.clients)} client ids for {len(self.labels)} samples"
            raise DataError("clients", problem, "give every sample one client id")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> int:
        """The number of classes, C."""
        return len(self.class_names)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return tuple(self.inputs.shape[1:])

    @cached_property
    def pixels(self) -> bool:
        """Whether a model reads pixels mapped to [-1, 1]."""
        return are_pixels(self.inputs)


def to_float(inputs: Inputs) -> NDArray[np.float32]:
    """Return float32 inputs: bytes as x / 127.5 - 1, values as they are."""
    if inputs.dtype == np.uint8:
        return inputs.astype(np.float32) / np.float32(127.5) - np.float32(1)
    return inputs.astype(np.float32, copy=False)


def are_pixels(inputs: Inputs) -> bool:
    """Return whether inputs (N, *shape) are images.

    Bytes are. Values are if they have 1 or 3 channels, a height and a width above 1, and lie in
    [-1, 1], where PFLlib's own transform puts them.
    """
    if inputs.dtype == np.uint8:
        return True
    if inputs.ndim != 4 or inputs.shape[1] not in (1, 3) or min(inputs.shape[2:]) < 2:
        return False
    return bool(inputs.size and inputs.min() >= -1 and inputs.max() <= 1)


def check_labels(name: str, labels: Labels, classes: int, setting: str = "") -> None:
    """Check that labels (N,) of a source `name` lie in 0 ... classes - 1.

    Args:
        name: the source, for messages.
        labels: (N,).
        classes: how many there are.
        setting: where a person has written how many, if one has.

    Raises:
        DataError: the first that does not.
    """
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        first = int(wrong[0])
        problem = f"sample {first} has label {labels[first]}, out of range for {classes} classes"
        remedy = f"number the labels from 0 to {classes - 1}"
        if setting and labels[first] >= classes and classes < MOST_CLASSES:
            remedy += f", or correct {setting} in config.json"
        raise DataError(name, problem, remedy)


def check_shard(name: str, inputs: Inputs, labels: Labels, classes: int, setting: str = "") -> None:
    """Check the samples of a source `name`: inputs (N, *shape), labels (N,).

    Args:
        name: the source, for messages.
        inputs: (N, *shape).
        labels: (N,).
        classes: how many there are.
        setting: as of `check_labels`.

    Raises:
        DataError: lengths that differ, a label out of range, a value that is not finite.
    """
    if labels.ndim != 1 or len(inputs) != len(labels):
        problem = f"{len(inputs)} inputs for labels of shape {labels.shape}"
        raise DataError(name, problem, "give every input exactly one label")
    check_labels(name, labels, classes, setting)
    if inputs.dtype != np.uint8 and not np.isfinite(inputs).all():
        finite = np.isfinite(inputs).reshape(len(inputs), -1).all(axis=1)
        problem = f"sample {int(np.argmin(finite))} holds a value that is not finite"
        raise DataError(name, problem, "remove or repair that sample")
