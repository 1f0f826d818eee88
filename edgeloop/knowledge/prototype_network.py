"""Trainable global prototypes: a small network makes them of the classes, a server trains it.

Source: the server part of FedTGP (Zhang et al., AAAI 2024), for any loss of the prototypes.

Shape suffixes: B uploaded prototypes of a batch, N of a round, C classes, K features (D on the
wire).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeloop.knowledge.prototypes import GlobalPrototypes
from edgeloop.seeds import derive, drawing

Objective = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Uploaded prototypes (B, K), their labels (B,) and the global ones (C, K), to a scalar."""


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
    """

    epochs: int
    lr: float
    batch: int
    seed: int
    network: bool = True


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


def global_prototypes(parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return every class's prototype (C, K), F(E), and the hidden layer (C, K) on the way to it.

    F is two linear layers, E an embedding: prototypes = outer(relu(inner(E))). Of E alone, the
    prototypes are E, and so is what is called hidden.
    """
    if len(parameters) == 1:
        return parameters[0].clone(), parameters[0]
    table_CK, inner_KK, inner_K, outer_KK, outer_K = parameters
    hidden_CK = F.relu(F.linear(table_CK, inner_KK, inner_K))
    return F.linear(hidden_CK, outer_KK, outer_K), hidden_CK


def train_prototypes(
    state: State,
    uploaded_NK: Tensor,
    labels_N: Tensor,
    objective: Objective,
    schedule: PrototypeTraining,
) -> tuple[State, GlobalPrototypes]:
    """Train on one round's prototypes, if any; return the new state and every class's prototype."""
    parameters = [torch.tensor(array) for array in arrays(state)]
    learning = parameters if schedule.network else parameters[:1]
    if len(labels_N):
        seed = derive(schedule.seed, "server", state.rounds)
        _learn(learning, uploaded_NK, labels_N, objective, schedule, seed)
    made_CK = global_prototypes(learning)[0].numpy()
    new = State(state.rounds + 1, *(parameter.numpy() for parameter in parameters))
    return new, GlobalPrototypes(np.ones(len(made_CK), bool), made_CK)


def _learn(
    parameters: Sequence[Tensor],
    uploaded_NK: Tensor,
    labels_N: Tensor,
    objective: Objective,
    schedule: PrototypeTraining,
    seed: int,
) -> None:
    random = torch.Generator().manual_seed(seed)
    for _ in range(schedule.epochs):
        order_N = torch.randperm(len(labels_N), generator=random)
        for chosen_B in order_N.split(schedule.batch):
            made_CK, hidden_CK = global_prototypes(parameters)
            made_CK.requires_grad_(True)
            loss = objective(uploaded_NK[chosen_B], labels_N[chosen_B], made_CK)
            (slope_CK,) = torch.autograd.grad(loss, made_CK)
            sgd_step(parameters, hidden_CK, slope_CK, schedule.lr)


def sgd_step(
    parameters: Sequence[Tensor], hidden_CK: Tensor, gradient_CK: Tensor, lr: float
) -> None:
    """Take one SGD step through the network, in place, from the gradient at the prototypes.

    Written out because a weight's gradient has rank C at most: added to the weight as it is made,
    the K x K gradients are never stored. benchmarks/choices.py times it beside autograd.
    """
    if len(parameters) == 1:
        parameters[0].sub_(gradient_CK, alpha=lr)
        return
    table_CK, inner_KK, inner_K, outer_KK, outer_K = parameters
    hidden_slope_CK = (gradient_CK @ outer_KK) * (hidden_CK > 0)
    table_slope_CK = hidden_slope_CK @ inner_KK
    outer_KK.addmm_(gradient_CK.T, hidden_CK, alpha=-lr)
    outer_K.sub_(gradient_CK.sum(0), alpha=lr)
    inner_KK.addmm_(hidden_slope_CK.T, table_CK, alpha=-lr)
    inner_K.sub_(hidden_slope_CK.sum(0), alpha=lr)
    table_CK.sub_(table_slope_CK, alpha=lr)
