"""One vector for each client, as long as its model, whose mean the server knows.

A client keeps its vector and tells the server how it changed; the server keeps the mean. Vectors
start at 0. Used by SCAFFOLD (control variates) and FedDyn (gradients).

Shape suffix: P parameters of the model.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgeloop.knowledge.weights import Vector, size
from edgeloop.models.split import SplitModel

KEPT = "vector"
"""The place of a client's vector in what its model keeps."""


class ClientVector(nn.Module):
    """A client's own vector.

    Attributes:
        values_P: the vector.
        counted: (), bool; whether the client has changed it before, so that a server counts it.
    """

    values_P: Tensor
    counted: Tensor

    def __init__(self, length: int) -> None:
        super().__init__()
        self.register_buffer("values_P", torch.zeros(length))
        self.register_buffer("counted", torch.zeros((), dtype=torch.bool))

    def change(self, change_P: Tensor) -> bool:
        """Add to the vector in place; return whether it is the first time."""
        first = not bool(self.counted)
        self.values_P.add_(change_P)
        self.counted.fill_(True)
        return first


def init_client_vector(model: SplitModel) -> None:
    """Add a vector of zeros to what a client's model keeps; an `init_client_state`."""
    model.kept[KEPT] = ClientVector(size(model.own()))


def client_vector(model: SplitModel) -> ClientVector:
    """Return a client's vector, not a copy."""
    return cast(ClientVector, model.kept[KEPT])


def update_mean(
    mean_P: Vector,
    clients: int,
    changes: Sequence[npt.NDArray[np.floating[Any]]],
    firsts: Sequence[bool],
) -> tuple[Vector, int]:
    """Return the mean of all clients' vectors after some have changed, and how many there are.

    Args:
        mean_P: the mean before.
        clients: of how many.
        changes: of the vectors of those who changed theirs.
        firsts: whether each is new; its vector was 0, and not in the mean.
    """
    known = max(clients + sum(firsts), len(changes), 1)
    total_P = clients * mean_P.astype(np.float64)
    for change_P in changes:
        total_P += change_P.astype(np.float64)
    return (total_P / known).astype(np.float32), known
