"""Models' parameters as messages: one vector, its average over clients, the distance to it.

Only parameters travel, in the order of the layers; what batch normalisation counts stays where it
is, as in PFLlib and HtFLlib.

Shape suffix: P parameters of all layers together.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgeloop.protocol.wire import Samples

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Weights:
    """Parameters that the server gives to every client, or keeps.

    Attributes:
        weights_P: all of them, flattened.
    """

    weights_P: Vector


@dataclass(frozen=True, eq=False)
class WeightsUpload:
    """One client's parameters after its training.

    Attributes:
        samples: how many training samples the client has.
        weights_P: all parameters, flattened.

    Raises:
        ValueError: if the number of samples is negative.
    """

    samples: Samples
    weights_P: Vector

    def __post_init__(self) -> None:
        if self.samples < 0:
            raise ValueError("a negative number of samples")


class Weighted(Protocol):
    """An upload that counts by its number of samples."""

    @property
    def samples(self) -> int:
        """Training samples of the client."""
        ...


def concatenate(tensors: Iterable[Tensor]) -> Tensor:
    """Return tensors as one (P,), on their device and in memory of its own."""
    parts = [tensor.detach().reshape(-1) for tensor in tensors]
    return torch.cat(parts) if parts else torch.zeros(0)


def flat(parameters: Iterable[Tensor]) -> Vector:
    """Return tensors as one vector (P,) in memory of its own."""
    return concatenate(parameters).float().cpu().numpy()


@torch.no_grad()
def assign(parameters: Iterable[Tensor], weights_P: npt.ArrayLike | Tensor) -> None:
    """Put a vector (P,) back into tensors, in place.

    Args:
        parameters: any tensors, in the order of the vector.
        weights_P: an array, or a tensor on any device.

    Raises:
        ValueError: if it is longer or shorter than they are.
    """
    parameters = list(parameters)
    if isinstance(weights_P, Tensor):
        vector_P = weights_P
    else:
        vector_P = torch.tensor(np.asarray(weights_P, np.float32))
    sizes = [parameter.numel() for parameter in parameters]
    if sum(sizes) != len(vector_P):
        raise ValueError(f"{len(vector_P)} weights for {sum(sizes)} parameters")
    for parameter, part in zip(parameters, vector_P.split(sizes), strict=True):
        parameter.copy_(part.view_as(parameter))


def size(parameters: Iterable[Tensor]) -> int:
    """Return P."""
    return sum(parameter.numel() for parameter in parameters)


def shares(
    uploads: Sequence[Weighted], factors: Sequence[float] | None = None, weighted: bool = True
) -> list[float]:
    """Return each client's part of all training samples; equal parts where nobody has any.

    Args:
        uploads: one a client.
        factors: what each counts, by how old it is; None for all alike.
        weighted: count each client by its number of samples; else alike.
    """
    known = [1.0] * len(uploads) if factors is None else factors
    counted = weighted and any(upload.samples for upload in uploads)
    sizes = [upload.samples if counted else 1 for upload in uploads]
    weighed = [size * factor for size, factor in zip(sizes, known, strict=True)]
    total = sum(weighed)
    return [each / total for each in weighed]


def average(vectors: Sequence[Vector], parts: Sequence[float] | None = None) -> Vector:
    """Return the mean (P,) of vectors, summed in double precision.

    Args:
        vectors: one a client.
        parts: what each counts, together 1; None for equal parts.
    """
    parts = [1 / len(vectors)] * len(vectors) if parts is None else parts
    total_P = np.zeros(len(vectors[0]), np.float64)
    for vector_P, part in zip(vectors, parts, strict=True):
        total_P += part * vector_P.astype(np.float64)
    return total_P.astype(np.float32)


def mean(
    uploads: Sequence[WeightsUpload],
    weighted: bool = True,
    factors: Sequence[float] | None = None,
) -> Weights:
    """Return the clients' mean parameters; arguments as of `shares`."""
    parts = shares(uploads, factors, weighted)
    return Weights(average([upload.weights_P for upload in uploads], parts))


def proximal(ours: Sequence[Tensor], anchors: Sequence[Tensor], mu: float) -> Tensor:
    """Return mu / 2 times the squared distance of weights to others, a scalar.

    No gradient reaches the others. Source: FedProx, Eq. 2 (Li et al., MLSys 2020).
    """
    gaps = [(w - anchor.detach()).square().sum() for w, anchor in zip(ours, anchors, strict=True)]
    return mu / 2 * sum(gaps, start=ours[0].new_zeros(()))


def inner_product(ours: Sequence[Tensor], slopes_P: Tensor) -> Tensor:
    """Return the inner product of weights and a vector, a scalar: a term of constant gradient.

    Args:
        ours: the weights, in the order of the layers.
        slopes_P: the gradient, on their device.
    """
    slopes = slopes_P.split([each.numel() for each in ours])
    terms = [(w * slope.view_as(w)).sum() for w, slope in zip(ours, slopes, strict=True)]
    return sum(terms, start=ours[0].new_zeros(()))
