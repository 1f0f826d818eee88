"""FedDistill: clients share each class's mean logits, and learn from everybody's.

Jeong, Oh, Kim, Park, Bennis and Kim, MLPCD at NeurIPS 2018. https://arxiv.org/abs/1811.11479

Differences from the released code (HtFLlib's FD), which the defaults follow: the code has had three
distillation terms. The default is the one until April 2024, under which the published numbers of
HtFLlib's papers were made: the mean squared gap between a sample's logits and its class's. The
variant `soft-labels` is the one of April 2024 to November 2025, cross-entropy with the softmax of
the class's logits. The present one takes raw logits for probabilities, which is a mistake, and is
left out. The original averages other clients' logits only; the code, and this, average all.

Shape suffixes: B samples of a batch, N uploaded vectors, C classes, K = C entries of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeloop.algorithm import (
    Algorithm,
    AlgorithmInfo,
    Batch,
    Forward,
    NotNegative,
    Recipe,
    TrainingConfig,
    UploadKind,
    check_frame_size,
)
from edgeloop.knowledge import prototypes
from edgeloop.knowledge.prototypes import GlobalPrototypes, PrototypeUpload, Targets
from edgeloop.knowledge.sums import PrototypeSum

INFO = AlgorithmInfo(
    title="FedDistill",
    runs_in=("simulation", "mqtt"),
    up="the mean logits (C floats) of each class of the client",
    down="the mean logits (C floats) of each class that anyone has",
    paper="Jeong et al., MLPCD at NeurIPS 2018, arXiv:1811.11479",
    variants={"released": {}, "soft-labels": {"distance": "soft"}},
    upload=UploadKind("logits", "during"),
    numbers=("C S", "M C C"),
    averages=True,
)


@dataclass(frozen=True)
class Config(TrainingConfig):
    """Hyperparameters.

    Attributes:
        seed: the run's seed; nothing here is random.
        pull: weight of the distance to the global logits (lambda).
        distance: distance to the global logits: "mse", or "soft", the cross-entropy with their
            softmax.
    """

    pull: NotNegative = 1.0
    distance: Literal["mse", "soft"] = "mse"

    def __post_init__(self) -> None:
        check_frame_size(logits=self.classes**2)


@dataclass(frozen=True)
class State:
    """The server keeps nothing: the global logits are made again each round."""


def build(config: Config) -> Algorithm[State, PrototypeUpload, GlobalPrototypes]:
    """Bind server and client to one configuration; logits travel as prototypes of C entries."""

    def start() -> tuple[State, GlobalPrototypes]:
        return State(), prototypes.no_prototypes(config.classes, config.classes)

    def aggregate(
        state: State, uploads: Sequence[PrototypeUpload], factors: Sequence[float] | None = None
    ) -> tuple[State, GlobalPrototypes]:
        return state, prototypes.average(uploads, config.classes, factors=factors)

    recipe = Recipe[PrototypeUpload, GlobalPrototypes](
        targets=prototypes.targets,
        loss=partial(loss, config=config),
        epochs=config.local_epochs,
        lr=config.local_lr,
        collect="logits",
        collect_at="during",
        upload=partial(
            prototypes.upload_collected,
            classes=config.classes,
            width=config.classes,
            epochs=config.local_epochs,
        ),
    )

    return Algorithm(
        state=State,
        upload=PrototypeUpload,
        broadcast=GlobalPrototypes,
        sizes={"C": config.classes, "D": config.classes},
        start=start,
        aggregate=aggregate,
        aggregate_weighted=aggregate,
        summing=PrototypeSum(config.classes, config.classes),
        check=lambda upload: prototypes.check_labels(upload, config.classes),
        recipe=recipe,
    )


def loss(forward: Forward, batch: Batch, goal: Targets, config: Config) -> Tensor:
    """Return cross-entropy plus the weighted distance of the logits to their class's average."""
    inputs, labels_B = batch
    _, logits_BC = forward(inputs)
    away = distance(logits_BC, labels_B, goal, config.distance)
    return F.cross_entropy(logits_BC, labels_B) + config.pull * away


def distance(logits_BC: Tensor, labels_B: Tensor, goal: Targets, kind: str) -> Tensor:
    """Return how far a batch's logits are from their classes' global ones, a scalar.

    A sample whose class has none is its own goal: it adds no gradient, but counts in the mean.

    Args:
        logits_BC: the batch's logits.
        labels_B: their labels.
        goal: the global logits.
        kind: "mse", the mean over all B x C entries; or "soft", the mean over B of the
            cross-entropy with the softmax of the goal.
    """
    if kind == "mse":
        return prototypes.attraction(logits_BC, labels_B, goal, "mse")
    known_B1 = goal.known_C[labels_B].unsqueeze(1)
    goal_BC = torch.where(known_B1, goal.prototypes_CK[labels_B], logits_BC.detach())
    return F.cross_entropy(logits_BC, goal_BC.softmax(dim=1))
