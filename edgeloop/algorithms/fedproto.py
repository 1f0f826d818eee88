"""FedProto: clients share class prototypes; the server averages them.

Tan, Long, Liu, Zhou, Lu, Jiang and Zhang, AAAI 2022. https://arxiv.org/abs/2105.00243

Differences from the released code (HtFLlib's FedProto), which the defaults follow: none in the
formulas. The variant `paper` weighs a client's prototype by its number of samples, and takes the
Euclidean distance with weight 0.1 where the code takes the mean over all entries of the squared gap
with weight 10; those are different objectives. Before there are prototypes no sample has a class,
so the accuracy of round 0 is 0, as in the released code.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

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
from edgeloop.training import descend

CARD = Card(
    title="FedProto",
    runs=("simulation", "mqtt"),
    up="one prototype (K floats) for each class of the client",
    down="one prototype (K floats) for each class that anyone has",
    paper="Tan et al., AAAI 2022, arXiv:2105.00243",
    variants={
        "released": {},
        "paper": {"pull": 0.1, "distance": "euclidean", "weighted": True},
    },
)


@dataclass(frozen=True)
class Config:
    """Hyperparameters.

    Attributes:
        classes: C.
        width: K, the unified feature width.
        seed: the run's seed; nothing here is random.
        local_epochs: E.
        local_lr: eta.
        pull: lambda, the weight of the distance to the global prototypes.
        distance: what lambda weighs; see `prototypes.pull`.
        weighted: weigh each client's prototype by its number of samples.
    """

    classes: Count
    width: Count
    seed: int = 0
    local_epochs: Count = 1
    local_lr: Positive = 0.01
    pull: NotNegative = 10.0
    distance: Literal["mse", "euclidean"] = "mse"
    weighted: bool = False


@dataclass(frozen=True)
class State:
    """The server keeps nothing: the global prototypes are made anew each round."""


def build(config: Config) -> Algorithm[State, PrototypeUpload, GlobalPrototypes]:
    """Bind both halves to one configuration."""

    def start() -> tuple[State, GlobalPrototypes]:
        return State(), prototypes.no_prototypes(config.classes, config.width)

    def aggregate(
        state: State, uploads: Sequence[PrototypeUpload]
    ) -> tuple[State, GlobalPrototypes]:
        return state, average(uploads, config)

    def loss(forward: Forward, batch: Batch, goal: Targets) -> Tensor:
        return prototypes.drawn_loss(
            forward, batch, goal, weight=config.pull, distance=config.distance
        )

    def train(model: SplitModel, batches: Batches, broadcast: GlobalPrototypes) -> PrototypeUpload:
        goal = prototypes.targets(broadcast, batches.inputs.device)
        seen: list[tuple[Tensor, Tensor]] = []
        descend(
            model,
            batches,
            lambda forward, batch: loss(watched(forward, batch[1], seen), batch, goal),
            epochs=config.local_epochs,
            lr=config.local_lr,
        )
        return upload_of(seen, batches, config)

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


def watched(forward: Forward, labels_B: Tensor, seen: list[tuple[Tensor, Tensor]]) -> Forward:
    """Return the same forward pass, which also notes each batch's features before its step."""

    def noting(inputs: Tensor) -> tuple[Tensor, Tensor]:
        features_BK, logits_BC = forward(inputs)
        seen.append((features_BK.detach(), labels_B))
        return features_BK, logits_BC

    return noting


def upload_of(
    seen: Sequence[tuple[Tensor, Tensor]], batches: Batches, config: Config
) -> PrototypeUpload:
    """Average what training saw, over all batches of all epochs; the counts are those of one."""
    if not seen:
        nothing_BK = batches.inputs.new_zeros(0, config.width)
        return prototypes.upload_of(nothing_BK, batches.labels[:0], config.classes)
    features, labels = zip(*seen, strict=True)
    upload = prototypes.upload_of(torch.cat(features), torch.cat(labels), config.classes)
    return replace(upload, counts_N=upload.counts_N // config.local_epochs)


def average(uploads: Sequence[PrototypeUpload], config: Config) -> GlobalPrototypes:
    """Average each class over the clients that have it; a class that nobody sent has none."""
    labels_N, counts_N, prototypes_NK = prototypes.stacked(uploads)
    weights_N = counts_N if config.weighted else torch.ones_like(counts_N)
    sums_CK = torch.zeros(config.classes, config.width, dtype=torch.float64)
    sums_CK.index_add_(0, labels_N, prototypes_NK * weights_N.double().unsqueeze(1))
    totals_C = torch.zeros(config.classes, dtype=torch.int64).index_add_(0, labels_N, weights_N)
    means_CK = sums_CK / totals_C.clamp(min=1).unsqueeze(1)
    return GlobalPrototypes((totals_C > 0).numpy(), means_CK.numpy().astype(np.float32))
