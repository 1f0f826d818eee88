"""Trainable global prototypes: a small network makes them of the classes, a server trains it.

Source: the server part of FedTGP (Zhang et al., AAAI 2024), for any loss of the prototypes.

A round has thousands of steps of a tenth of a millisecond a product, so a step allocates nothing
and its gradient may be written out; benchmarks/server.py says what is left over the products.

Shape suffixes: B uploaded prototypes of a batch, N of a round, C classes, K features (D on the
wire).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgeloop.knowledge.prototypes import GlobalPrototypes
from edgeloop.seeds import derive, drawing

Objective = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Uploaded prototypes (B, K), their labels (B,) and the global ones (C, K), to a scalar."""

Gradient = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of the same, to an objective's gradient at the global prototypes (C, K)."""


@dataclass(frozen=True, eq=False)
class State:
    """The server's network, from a class to its prototype, and how often it has learned."""

    rounds: int
    table_CD: npt.NDArray[np.float32]
    inner_DD: npt.NDArray[np.float32]
    inner_D: npt.NDArray[np.float32]
    outer_DD: npt.NDArray[np.float32]
    outer_D: npt.NDArray[np.float32]


@dataclass(frozen=True)
class PrototypeTraining:
    """How a round's training goes: plain SGD, shuffled again each epoch.

    Attributes:
        epochs: S.
        lr: the learning rate.
        batch: prototypes a batch.
        seed: of the run.
        network: whether the two layers learn, too; else the embedding alone is the prototypes.
        device: where it computes; on a GPU an epoch is captured as a CUDA graph.
    """

    epochs: int
    lr: float
    batch: int
    seed: int
    network: bool = True
    device: str = "cpu"


def initial_state(classes: int, width: int, seed: int) -> State:
    """Draw the network's first weights: torch's defaults, in the order of FedTGP's released code.

    Args:
        classes: C.
        width: K.
        seed: of the run.
    """
    with drawing(seed):
        table = nn.Embedding(classes, width)
        inner, outer = nn.Linear(width, width), nn.Linear(width, width)
    parameters = (table.weight, inner.weight, inner.bias, outer.weight, outer.bias)
    return State(0, *(parameter.detach().numpy() for parameter in parameters))


def arrays(state: State) -> tuple[npt.NDArray[np.float32], ...]:
    """Return the network's parameters, in the order of `global_prototypes`."""
    return state.table_CD, state.inner_DD, state.inner_D, state.outer_DD, state.outer_D


class Buffers(NamedTuple):
    """What a step writes, allocated once: layers and their gradients, all (C, K)."""

    hidden_CK: Tensor
    made_CK: Tensor
    hidden_slope_CK: Tensor
    table_slope_CK: Tensor

    @classmethod
    def like(cls, table_CK: Tensor) -> "Buffers":
        """Return buffers for a network of this embedding."""
        return cls(*(torch.empty_like(table_CK) for _ in range(4)))


def global_prototypes(
    parameters: Sequence[Tensor], buffers: Buffers | None = None
) -> tuple[Tensor, Tensor]:
    """Return every class's prototype (C, K), F(E), and the hidden layer (C, K) on the way to it.

    F is two linear layers, E an embedding: prototypes = outer(relu(inner(E))). Of E alone, the
    prototypes are E, and so is what is called hidden.

    Args:
        parameters: E, and F's if there is one.
        buffers: where they are written, if F has no gradient to come from autograd.
    """
    if len(parameters) == 1:
        return parameters[0].clone(), parameters[0]
    table_CK, inner_KK, inner_K, outer_KK, outer_K = parameters
    if buffers is None:
        hidden_CK = torch.addmm(inner_K, table_CK, inner_KK.T).relu()
        return torch.addmm(outer_K, hidden_CK, outer_KK.T), hidden_CK
    hidden_CK, made_CK = buffers.hidden_CK, buffers.made_CK
    torch.addmm(inner_K, table_CK, inner_KK.T, out=hidden_CK).relu_()
    return torch.addmm(outer_K, hidden_CK, outer_KK.T, out=made_CK), hidden_CK


def train_prototypes(
    state: State,
    uploaded_NK: Tensor,
    labels_N: Tensor,
    gradient: Gradient,
    schedule: PrototypeTraining,
) -> tuple[State, GlobalPrototypes]:
    """Train on one round's prototypes, if any; return the new state and every class's prototype."""
    parameters = [torch.tensor(array, device=schedule.device) for array in arrays(state)]
    learning = parameters if schedule.network else parameters[:1]
    if len(labels_N):
        given = uploaded_NK.to(schedule.device), labels_N.to(schedule.device)
        _learn(learning, *given, gradient, schedule, state.rounds)
    made_CK = global_prototypes(learning)[0].cpu().numpy()
    new = State(state.rounds + 1, *(parameter.cpu().numpy() for parameter in parameters))
    return new, GlobalPrototypes(np.ones(len(made_CK), bool), made_CK)


def gradient_of(objective: Objective) -> Gradient:
    """Return the gradient of an objective at the global prototypes, found by autograd."""

    def gradient(uploaded_BK: Tensor, labels_B: Tensor, made_CK: Tensor) -> Tensor:
        leaf_CK = made_CK.detach().requires_grad_(True)
        loss = objective(uploaded_BK, labels_B, leaf_CK)
        (slope_CK,) = torch.autograd.grad(loss, leaf_CK)
        return slope_CK

    return gradient


def _learn(
    parameters: Sequence[Tensor],
    uploaded_NK: Tensor,
    labels_N: Tensor,
    gradient: Gradient,
    schedule: PrototypeTraining,
    round_number: int,
) -> None:
    random = torch.Generator().manual_seed(derive(schedule.seed, "server", round_number))
    buffers, order_N = Buffers.like(parameters[0]), torch.empty_like(labels_N)

    def epoch() -> None:
        uploads = uploaded_NK[order_N].split(schedule.batch)
        labels = labels_N[order_N].split(schedule.batch)
        for uploaded_BK, labels_B in zip(uploads, labels, strict=True):
            made_CK, hidden_CK = global_prototypes(parameters, buffers)
            slope_CK = gradient(uploaded_BK, labels_B, made_CK)
            sgd_step(parameters, hidden_CK, slope_CK, schedule.lr, buffers)

    run = epoch
    for number in range(schedule.epochs):
        order_N.copy_(torch.randperm(len(labels_N), generator=random))
        run()
        if number == 0 and order_N.is_cuda:  # the first has chosen its kernels, uncaptured
            run = _captured(epoch)


def _captured(work: Callable[[], None]) -> Callable[[], None]:
    """Return work on a GPU, whose tensors keep their memory, as one CUDA graph."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def sgd_step(
    parameters: Sequence[Tensor],
    hidden_CK: Tensor,
    gradient_CK: Tensor,
    lr: float,
    buffers: Buffers | None = None,
) -> None:
    """Take one SGD step through the network, in place, from the gradient at the prototypes.

    Written out because a weight's gradient has rank C at most: added to the weight as it is made,
    the K x K gradients are never stored. benchmarks/choices.py times it beside autograd.
    """
    if len(parameters) == 1:
        parameters[0].sub_(gradient_CK, alpha=lr)
        return
    table_CK, inner_KK, inner_K, outer_KK, outer_K = parameters
    _, _, slope_CK, table_slope_CK = buffers or Buffers.like(table_CK)
    torch.mm(gradient_CK, outer_KK, out=slope_CK)
    _relu_backward(slope_CK, hidden_CK, 0, grad_input=slope_CK)
    torch.mm(slope_CK, inner_KK, out=table_slope_CK)
    outer_KK.addmm_(gradient_CK.T, hidden_CK, alpha=-lr)
    outer_K.sub_(gradient_CK.sum(0), alpha=lr)
    inner_KK.addmm_(slope_CK.T, table_CK, alpha=-lr)
    inner_K.sub_(slope_CK.sum(0), alpha=lr)
    table_CK.sub_(table_slope_CK, alpha=lr)


_relu_backward = torch.ops.aten.threshold_backward.grad_input
