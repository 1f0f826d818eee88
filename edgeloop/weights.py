"""Models' parameters as messages: one vector, and its average over clients.

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

    samples: int
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


def flat(parameters: Iterable[Tensor]) -> Vector:
    """Return tensors as one vector (P,) in memory of its own."""
    parts = [parameter.detach().reshape(-1).float().cpu() for parameter in parameters]
    return torch.cat(parts).numpy() if parts else np.zeros(0, np.float32)


@torch.no_grad()
def assign(parameters: Iterable[Tensor], weights_P: npt.ArrayLike) -> None:
    """Put a vector (P,) back into tensors, in place.

    Raises:
        ValueError: if it is longer or shorter than they are.
    """
    parameters = list(parameters)
    vector_P = torch.tensor(np.asarray(weights_P, np.float32))
    sizes = [parameter.numel() for parameter in parameters]
    if sum(sizes) != len(vector_P):
        raise ValueError(f"{len(vector_P)} weights for {sum(sizes)} parameters")
    for parameter, part in zip(parameters, vector_P.split(sizes), strict=True):
        parameter.copy_(part.view_as(parameter))


def size(parameters: Iterable[Tensor]) -> int:
    """Return P."""
    return sum(parameter.numel() for parameter in parameters)


def shares(uploads: Sequence[Weighted]) -> list[float]:
    """Return each client's part of all training samples; equal parts where nobody has any."""
    total = sum(upload.samples for upload in uploads)
    if not total:
        return [1 / len(uploads)] * len(uploads)
    return [upload.samples / total for upload in uploads]


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
