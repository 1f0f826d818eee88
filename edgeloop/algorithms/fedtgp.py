"""FedTGP: trainable global prototypes, learned with an adaptive margin.

Zhang, Liu, Hua and Cao, AAAI 2024. https://arxiv.org/abs/2401.03230

Differences from the released code (FedTGP and HtFLlib), which the defaults follow: the distance of
a prototype to itself has gradient 0 where the code's square root gives NaN; shuffles come from the
run's seed and the round. A client there uploads the prototypes of the weights it had before the
round's training, and so does the variant `released`; `paper` uploads those of the trained weights
(Algorithm 1), takes the Euclidean distance with weight 0.1 for the clients' pull where the code
takes the mean over all entries of the squared gap with weight 10, and the largest distance of any
two classes for the margin (Eq. 9) where the code takes the largest distance of a class to its
nearest other class (the paper's Fig. 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeloop import prototypes
from edgeloop.algorithm import (
    Algorithm,
    Batch,
    Batches,
    Card,
    Count,
    Forward,
    NotNegative,
    Positive,
)
from edgeloop.models.split import SplitModel
from edgeloop.prototypes import GlobalPrototypes, PrototypeUpload, Targets
from edgeloop.seeds import derive, drawing
from edgeloop.training import descend, features_of

CARD = Card(
    title="FedTGP",
    runs=("simulation", "mqtt"),
    up="one prototype (K floats) for each class of the client",
    down="one prototype (K floats) for every class",
    paper="Zhang et al., AAAI 2024, arXiv:2401.03230",
    variants={
        "released": {},
        "paper": {"pull": 0.1, "distance": "euclidean", "margin": "all-pairs", "stale": False},
    },
)


@dataclass(frozen=True)
class Config:
    """Hyperparameters.

    Attributes:
        classes: C.
        width: K, the unified feature width.
        seed: the run's seed.
        local_epochs: E.
        local_lr: eta.
        pull: lambda, the weight of the distance to the global prototypes.
        distance: what lambda weighs; see `prototypes.pull`.
        stale: upload the prototypes of the weights before the round's training.
        server_epochs: S.
        server_lr: the server's learning rate.
        server_batch: prototypes a batch on the server.
        margin: distances that the adaptive margin is the largest of; see `adaptive_margin`.
        margin_cap: tau, the largest margin.
    """

    classes: Count
    width: Count
    seed: int = 0
    local_epochs: Count = 1
    local_lr: Positive = 0.01
    pull: NotNegative = 10.0
    distance: Literal["mse", "euclidean"] = "mse"
    stale: bool = True
    server_epochs: Count = 100
    server_lr: Positive = 0.01
    server_batch: Count = 10
    margin: Literal["nearest", "all-pairs"] = "nearest"
    margin_cap: NotNegative = 100.0


@dataclass(frozen=True, eq=False)
class State:
    """The server's network, from a class to its prototype, and how often it has learned."""

    rounds: int
    table_CD: npt.NDArray[np.float32]
    inner_DD: npt.NDArray[np.float32]
    inner_D: npt.NDArray[np.float32]
    outer_DD: npt.NDArray[np.float32]
    outer_D: npt.NDArray[np.float32]


def build(config: Config) -> Algorithm[State, PrototypeUpload, GlobalPrototypes]:
    """Bind both halves to one configuration."""

    def start() -> tuple[State, GlobalPrototypes]:
        return first_state(config), prototypes.no_prototypes(config.classes, config.width)

    def aggregate(
        state: State, uploads: Sequence[PrototypeUpload]
    ) -> tuple[State, GlobalPrototypes]:
        labels_N, _, uploaded_NK = prototypes.stacked(uploads)
        margin = adaptive_margin(uploaded_NK, labels_N, config)
        parameters = [torch.tensor(array) for array in arrays(state)]
        learn(parameters, uploaded_NK, labels_N, margin, config, state.rounds)
        learned_CK = trainable_prototypes(parameters)[0].numpy()
        new = State(state.rounds + 1, *(parameter.numpy() for parameter in parameters))
        return new, GlobalPrototypes(np.ones(config.classes, bool), learned_CK)

    def loss(forward: Forward, batch: Batch, goal: Targets) -> Tensor:
        return prototypes.drawn_loss(
            forward, batch, goal, weight=config.pull, distance=config.distance
        )

    def train(model: SplitModel, batches: Batches, broadcast: GlobalPrototypes) -> PrototypeUpload:
        goal = prototypes.targets(broadcast, batches.inputs.device)
        before = features_of(model, batches) if config.stale else None
        descend(
            model,
            batches,
            lambda forward, batch: loss(forward, batch, goal),
            epochs=config.local_epochs,
            lr=config.local_lr,
        )
        features_NK, labels_N = before or features_of(model, batches)
        return prototypes.upload_of(features_NK, labels_N, config.classes)

    return Algorithm(
        state=State,
        upload=PrototypeUpload,
        broadcast=GlobalPrototypes,
        sizes={"C": config.classes, "D": config.width},
        start=start,
        aggregate=aggregate,
        check=lambda upload: prototypes.check_labels(upload, config.classes),
        targets=prototypes.targets,
        loss=loss,
        train=train,
        predict=lambda model, inputs, goal: prototypes.nearness(model(inputs)[0], goal),
    )


def first_state(config: Config) -> State:
    """Draw the network's first weights: torch's defaults, in the order of the released code."""
    with drawing(config.seed):
        table = nn.Embedding(config.classes, config.width)
        inner = nn.Linear(config.width, config.width)
        outer = nn.Linear(config.width, config.width)
    parameters = (table.weight, inner.weight, inner.bias, outer.weight, outer.bias)
    return State(0, *(parameter.detach().numpy() for parameter in parameters))


def arrays(state: State) -> tuple[npt.NDArray[np.float32], ...]:
    """Return the network's parameters, in the order of `trainable_prototypes`."""
    return state.table_CD, state.inner_DD, state.inner_D, state.outer_DD, state.outer_D


def trainable_prototypes(parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return every class's prototype (C, K), F(E), and the hidden layer (C, K) on the way to it.

    F is two linear layers, E an embedding: prototypes = outer(relu(inner(E))).
    """
    table_CK, inner_KK, inner_K, outer_KK, outer_K = parameters
    hidden_CK = F.relu(F.linear(table_CK, inner_KK, inner_K))
    return F.linear(hidden_CK, outer_KK, outer_K), hidden_CK


def adaptive_margin(uploaded_NK: Tensor, labels_N: Tensor, config: Config) -> float:
    """Return delta: the largest distance between class means, at most tau.

    With "nearest", of the distances of each class to its nearest other class; with "all-pairs", of
    all distances (Eq. 9). A single class has no distance: its margin is 0.
    """
    means_CK, counts_C = prototypes.class_means(uploaded_NK, labels_N, config.classes)
    present_PK = means_CK[counts_C > 0]
    if len(present_PK) < 2:
        return 0.0
    distances_PP = torch.cdist(present_PK, present_PK, compute_mode="donot_use_mm_for_euclid_dist")
    if config.margin == "nearest":
        distances_PP = distances_PP.fill_diagonal_(torch.inf).min(dim=1).values
    return min(distances_PP.max().item(), config.margin_cap)


def contrastive_loss(
    uploaded_BK: Tensor, labels_B: Tensor, learned_CK: Tensor, margin: float
) -> Tensor:
    """Return the adaptive-margin contrastive loss (ACL), a scalar.

    Cross-entropy over minus the distances of each uploaded prototype to every learned one, its own
    class's made larger by the margin (Eq. 7 and 8).
    """
    distances_BC = torch.cdist(uploaded_BK, learned_CK, compute_mode="donot_use_mm_for_euclid_dist")
    handicap_BC = margin * F.one_hot(labels_B, len(learned_CK))
    return F.cross_entropy(-(distances_BC + handicap_BC), labels_B)


def learn(
    parameters: Sequence[Tensor],
    uploaded_NK: Tensor,
    labels_N: Tensor,
    margin: float,
    config: Config,
    round_number: int,
) -> None:
    """Train the network in place on one round's prototypes, if any: S epochs of plain SGD."""
    if not len(labels_N):
        return
    random = torch.Generator().manual_seed(derive(config.seed, "server", round_number))
    for _ in range(config.server_epochs):
        order_N = torch.randperm(len(labels_N), generator=random)
        shuffled = (
            array.split(config.server_batch) for array in (uploaded_NK[order_N], labels_N[order_N])
        )
        for uploaded_BK, labels_B in zip(*shuffled, strict=True):
            learned_CK, hidden_CK = trainable_prototypes(parameters)
            learned_CK.requires_grad_(True)
            loss = contrastive_loss(uploaded_BK, labels_B, learned_CK, margin)
            (slope_CK,) = torch.autograd.grad(loss, learned_CK)
            step(parameters, hidden_CK, slope_CK, config.server_lr)


def step(parameters: Sequence[Tensor], hidden_CK: Tensor, slope_CK: Tensor, lr: float) -> None:
    """Take one step of SGD through the network, in place, from the loss's slope at the prototypes.

    Written out because a weight's gradient has rank C at most: added to the weight as it is made,
    the K x K gradients are never stored. benchmarks/choices.py times it beside autograd.
    """
    table_CK, inner_KK, inner_K, outer_KK, outer_K = parameters
    hidden_slope_CK = (slope_CK @ outer_KK) * (hidden_CK > 0)
    table_slope_CK = hidden_slope_CK @ inner_KK
    outer_KK.addmm_(slope_CK.T, hidden_CK, alpha=-lr)
    outer_K.sub_(slope_CK.sum(0), alpha=lr)
    inner_KK.addmm_(hidden_slope_CK.T, table_CK, alpha=-lr)
    inner_K.sub_(hidden_slope_CK.sum(0), alpha=lr)
    table_CK.sub_(table_slope_CK, alpha=lr)
