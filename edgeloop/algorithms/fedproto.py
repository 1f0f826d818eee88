"""FedProto: clients share class prototypes; the server averages them.

Tan, Long, Liu, Zhou, Lu, Jiang and Zhang, AAAI 2022. https://arxiv.org/abs/2105.00243

Differences from the released code (HtFLlib's FedProto), which the defaults follow: none in the
formulas. The variant `paper` weighs a client's prototype by its number of samples, and takes the
Euclidean distance with weight 0.1 where the code takes the mean over all entries of the squared gap
with weight 10; those are different objectives. Before there are prototypes no sample has a class,
so the accuracy of round 0 is 0, as in the released code.

The variant `ours` predicts with the device's own class prior, which is in neither.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

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
)
from edgeloop.knowledge import prototypes
from edgeloop.knowledge.prototype_algorithm import prototype_algorithm
from edgeloop.knowledge.prototypes import GlobalPrototypes, PrototypeUpload, Targets
from edgeloop.knowledge.sums import PrototypeSum

INFO = AlgorithmInfo(
    title="FedProto",
    runs_in=("simulation", "mqtt"),
    up="one prototype (K floats) for each class of the client",
    down="one prototype (K floats) for each class that anyone has",
    paper="Tan et al., AAAI 2022, arXiv:2105.00243",
    variants={
        "released": {},
        "paper": {"pull": 0.1, "distance": "euclidean", "weighted": True},
        "ours": {"own_prior": True},
    },
    upload=UploadKind("features", "during"),
    numbers=("K S", "M K C"),
    averages=True,
)


@dataclass(frozen=True)
class Config(TrainingConfig):
    """Hyperparameters.

    Attributes:
        seed: the run's seed; nothing here is random.
        pull: weight of the distance to the global prototypes (lambda).
        distance: distance to the global prototypes: "mse", the mean squared error; or "euclidean".
        weighted: weight each client's prototype by its number of samples.
        own_prior: score a class by minus half of the squared distance plus the log of the client's
            own class prior, (n_c + 0.1) / (n + 0.1 C), where n_c of its n training samples are of
            class c.
    """

    pull: NotNegative = 10.0
    distance: Literal["mse", "euclidean"] = "mse"
    weighted: bool = False
    own_prior: bool = False


@dataclass(frozen=True)
class State:
    """The server keeps nothing: the global prototypes are made again each round."""


def build(config: Config) -> Algorithm[State, PrototypeUpload, GlobalPrototypes]:
    """Bind server and client to one configuration."""

    def aggregate(
        state: State, uploads: Sequence[PrototypeUpload], factors: Sequence[float] | None = None
    ) -> tuple[State, GlobalPrototypes]:
        return state, prototypes.average(uploads, config.classes, config.weighted, factors)

    def loss(forward: Forward, batch: Batch, goal: Targets) -> Tensor:
        return prototypes.attraction_loss(
            forward, batch, goal, weight=config.pull, distance=config.distance
        )

    recipe = Recipe[PrototypeUpload, GlobalPrototypes](
        targets=prototypes.targets,
        loss=loss,
        epochs=config.local_epochs,
        lr=config.local_lr,
        collect="features",
        collect_at="during",
        upload=partial(
            prototypes.upload_collected,
            classes=config.classes,
            width=config.width,
            epochs=config.local_epochs,
        ),
    )

    return prototype_algorithm(
        config,
        recipe,
        state=State,
        start=State,
        aggregate=aggregate,
        aggregate_weighted=aggregate,
        summing=PrototypeSum(config.classes, config.width, config.weighted),
    )
