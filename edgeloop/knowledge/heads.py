"""Heads as messages, for clients whose bases differ: taken from a model, put into one, averaged.

Shape suffixes: C classes, K features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeloop.algorithm import Batches
from edgeloop.knowledge import weights
from edgeloop.models.split import SplitModel
from edgeloop.protocol.wire import Samples

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Head:
    """The head that the server gives to every client, or keeps.

    Attributes:
        head_CK: its weights.
        bias_C: its bias.
    """

    head_CK: Array
    bias_C: Array


@dataclass(frozen=True, eq=False)
class HeadUpload:
    """One client's head after its training.

    Attributes:
        samples: how many training samples the client has.
        head_CK: the head's weights.
        bias_C: the head's bias.

    Raises:
        ValueError: if the number of samples is negative.
    """

    samples: Samples
    head_CK: Array
    bias_C: Array

    def __post_init__(self) -> None:
        if self.samples < 0:
            raise ValueError("a negative number of samples")


def arrays(model: SplitModel) -> tuple[Array, Array]:
    """Return copies of a model's head (C, K) and its bias (C,)."""
    head = model.head
    return weights.flat([head.weight]).reshape(head.weight.shape), weights.flat([head.bias])


def load_broadcast(model: SplitModel, batches: Batches, broadcast: Head) -> None:
    """Put a broadcast's head into a client's model; its base stays."""
    weights.assign([model.head.weight], broadcast.head_CK.ravel())
    weights.assign([model.head.bias], broadcast.bias_C)


def average(uploads: Sequence[HeadUpload], factors: Sequence[float] | None = None) -> Head:
    """Return the mean head; a client counts by its samples, and by a factor where there are any."""
    parts = weights.shares(uploads, factors)
    mean_P = weights.average([upload.head_CK.ravel() for upload in uploads], parts)
    mean_C = weights.average([upload.bias_C for upload in uploads], parts)
    return Head(mean_P.reshape(uploads[0].head_CK.shape), mean_C)
