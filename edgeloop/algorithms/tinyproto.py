"""TinyProto (experimental): clients share a part of each class prototype, each class a fixed one.

After the idea of class-wise prototype sparsification by Lee and Choi, AAAI 2026.
https://arxiv.org/abs/2507.04327

Differences from the released code: this is no copy of it. Of the paper only the abstract was read,
of the code one early state (github.com/regulationLee/TinyProto, 045ff55). Taken from them: each
class keeps a fixed subset of the K dimensions, only those entries travel, and the rest is FedProto
with weight 10. What is ours: each class's dimensions are drawn from the run's seed, any set as
likely as another, where the code cuts the K dimensions into C segments and searches for sets of
segments that overlap little. A client's features are drawn to the global prototype on its class's
dimensions only, by the mean squared gap there, where the code has zeros as the goal of all others.
A sample is compared with each class on that class's dimensions only, where the code compares all K
with those zeros. The server averages clients alike, or by their samples of the class, where the
code's adaptive scaling has each client multiply its prototype by that number and the server add
them up times a constant. With `kept_share` 1 it is FedProto as released. Before there are
prototypes no sample has a class.

Shape suffixes: B samples, N uploaded prototypes, C classes, K features, D kept dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Gt, Le
from torch import Tensor

from edgeloop.algorithm import (
    Algorithm,
    AlgorithmInfo,
    Batch,
    Batches,
    CollectedOutputs,
    Forward,
    NotNegative,
    Recipe,
    TrainingConfig,
)
from edgeloop.knowledge import prototypes
from edgeloop.knowledge.prototype_algorithm import prototype_algorithm
from edgeloop.knowledge.prototypes import GlobalPrototypes, PrototypeUpload
from edgeloop.knowledge.sums import PrototypeSum
from edgeloop.models.split import SplitModel
from edgeloop.seeds import derive

INFO = AlgorithmInfo(
    title="TinyProto",
    runs_in=("simulation", "mqtt"),
    up="a part of one prototype (D of K floats) for each class of the client",
    down="a part of one prototype (D of K floats) for each class that anyone has",
    paper="after an idea of Lee and Choi, AAAI 2026, arXiv:2507.04327",
    experimental=True,
    averages=True,
)


@dataclass(frozen=True)
class Config(TrainingConfig):
    """Hyperparameters.

    Attributes:
        seed: the run's seed; the kept dimensions are drawn from it.
        kept_share: share of its dimensions that a prototype keeps (D / K), at least one; the
            default is ours.
        pull: weight of the squared distance to the global prototypes (lambda).
        weighted: weight each client's prototype by its number of samples of the class.
        own_prior: score a class by minus half of the squared distance plus the log of the client's
            own class prior, (n_c + 0.1) / (n + 0.1 C), where n_c of its n training samples are of
            class c.
    """

    kept_share: Annotated[float, Gt(0), Le(1)] = 0.25
    pull: NotNegative = 10.0
    weighted: bool = False
    own_prior: bool = False


@dataclass(frozen=True)
class State:
    """The server keeps nothing: the global prototypes are made again each round."""


class Targets(NamedTuple):
    """Global prototypes as tensors on the device that trains, at full width.

    Attributes:
        known_C: which classes have one.
        kept_CK: 1 for a class's own dimensions, else 0.
        prototypes_CK: the prototypes, 0 off those dimensions.
    """

    known_C: Tensor
    kept_CK: Tensor
    prototypes_CK: Tensor


def build(config: Config) -> Algorithm[State, PrototypeUpload, GlobalPrototypes]:
    """Bind server and client to one configuration."""
    dimensions_CD = dimensions(config)

    def aggregate(
        state: State, uploads: Sequence[PrototypeUpload], factors: Sequence[float] | None = None
    ) -> tuple[State, GlobalPrototypes]:
        return state, prototypes.average(uploads, config.classes, config.weighted, factors)

    def targets(broadcast: GlobalPrototypes, device: torch.device) -> Targets:
        return expand(broadcast, dimensions_CD, config.width, device)

    whole = partial(
        prototypes.upload_collected,
        classes=config.classes,
        width=config.width,
        epochs=config.local_epochs,
    )

    def upload(model: SplitModel, batches: Batches, seen: CollectedOutputs) -> PrototypeUpload:
        return compress(whole(model, batches, seen), dimensions_CD)

    recipe = Recipe[PrototypeUpload, GlobalPrototypes](
        targets=targets,
        loss=partial(loss, weight=config.pull),
        epochs=config.local_epochs,
        lr=config.local_lr,
        collect="features",
        upload=upload,
    )

    return prototype_algorithm(
        config,
        recipe,
        state=State,
        start=State,
        aggregate=aggregate,
        aggregate_weighted=aggregate,
        summing=PrototypeSum(config.classes, dimensions_CD.shape[1], config.weighted),
        scores=nearness,
        dims=dimensions_CD.shape[1],
    )


def dimensions(config: Config) -> Tensor:
    """Draw each class's own dimensions (C, D), ascending: D = K * kept_share, rounded, at least 1.

    A class's are drawn from the run's seed and its number alone, so that all know them unsent.
    """
    count = max(1, round(config.kept_share * config.width))
    rows = []
    for label in range(config.classes):
        random = torch.Generator().manual_seed(derive(config.seed, "dimensions", label))
        rows.append(torch.randperm(config.width, generator=random)[:count].sort().values)
    return torch.stack(rows)


def expand(
    broadcast: GlobalPrototypes, dimensions_CD: Tensor, width: int, device: torch.device
) -> Targets:
    """Put the prototypes (C, D) back to their dimensions, on a device."""
    nothing_CK = torch.zeros(len(dimensions_CD), width)
    thin_CD = torch.tensor(broadcast.prototypes_CD)
    return Targets(
        torch.tensor(broadcast.known_C, device=device),
        nothing_CK.scatter(1, dimensions_CD, 1.0).to(device),
        nothing_CK.scatter(1, dimensions_CD, thin_CD).to(device),
    )


def loss(forward: Forward, batch: Batch, goal: Targets, weight: float) -> Tensor:
    """Return cross-entropy plus the weighted pull to the classes' prototypes."""
    inputs, labels_B = batch
    features_BK, logits_BC = forward(inputs)
    return F.cross_entropy(logits_BC, labels_B) + weight * pull(features_BK, labels_B, goal)


def pull(features_BK: Tensor, labels_B: Tensor, goal: Targets) -> Tensor:
    """Return the mean over B x D of the squared gaps on the classes' own dimensions, a scalar.

    A sample whose class has no prototype is at distance 0 and still counts in the mean.
    """
    counted_BK = goal.kept_CK[labels_B] * goal.known_C[labels_B].unsqueeze(1)
    gap_BK = (features_BK - goal.prototypes_CK[labels_B]) * counted_BK
    entries = goal.kept_CK[labels_B].sum()
    return gap_BK.square().sum() / entries


def compress(upload: PrototypeUpload, dimensions_CD: Tensor) -> PrototypeUpload:
    """Keep each prototype's own dimensions: (N, K) to (N, D)."""
    kept_ND = dimensions_CD.numpy()[upload.labels_N]
    return replace(upload, prototypes_ND=np.take_along_axis(upload.prototypes_ND, kept_ND, axis=1))


def nearness(features_BK: Tensor, goal: Targets, prior_C: Tensor | None = None) -> Tensor:
    """Return scores (B, C): minus the mean squared gap on each class's own dimensions.

    A class without a prototype scores minus infinity. With a prior, `prototypes.log_prior`, the
    score is minus half of the squared gap there, not divided by D, plus that.
    """
    squares_BC = (
        features_BK.square() @ goal.kept_CK.T
        - 2 * features_BK @ goal.prototypes_CK.T
        + goal.prototypes_CK.square().sum(1)
    )
    return prototypes.distance_scores(squares_BC, goal.kept_CK.sum(1), goal.known_C, prior_C)
