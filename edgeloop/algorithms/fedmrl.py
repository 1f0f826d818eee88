"""FedMRL: a small shared model's features are fused with the client's own, and read twice.

Yi, Yu, Ren, Wang, Liu and Li, NeurIPS 2024. https://arxiv.org/abs/2406.00488

A client has its own model, of K features, and a small one, of k <= K, that all share. A linear
projection of its own makes K features of both models' features; the own head reads all K of them,
the small model's head the first k. The client descends the sum of both heads' cross-entropies, and
predicts by its own head.

Differences from the released code (HtFLlib's FedMRL), which the defaults follow: the code never
stores the trained projection, so that each round begins with its first values, and the evaluation
has them; as there, clients count alike in the mean of the small models. The variant `paper` keeps
the projection, and weighs a client by its samples. Batch normalisation's statistics of the small
model stay with the client. k is at most K: of a smaller K, it is K.

Shape suffixes: B samples of a batch, K own features, J features of the small model, P parameters of
the small model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeloop import models
from edgeloop.algorithm import Algorithm, AlgorithmInfo, Batch, Batches, Count, ModelConfig
from edgeloop.knowledge import weights
from edgeloop.knowledge.sums import WeightsSum
from edgeloop.knowledge.weights import Weights, WeightsUpload
from edgeloop.models.split import SplitModel
from edgeloop.seeds import derive, drawing
from edgeloop.training.sgd import cross_entropy, train_sgd

INFO = AlgorithmInfo(
    title="FedMRL",
    runs_in=("simulation", "mqtt"),
    up="the small model (P floats)",
    down="the small model (P floats)",
    paper="Yi et al., NeurIPS 2024, arXiv:2406.00488",
    variants={"released": {}, "paper": {"keep_projection": True, "weighted": True}},
    averages=True,
)

SMALL, PROJECTION, FIRST = "small", "projection", "first"
"""What a client keeps: the small model, the projection, and the projection's first values."""


@dataclass(frozen=True)
class Config(ModelConfig):
    """Hyperparameters.

    Attributes:
        architecture: of the small model.
        seed: the run's seed; the small model and the projection are drawn from it.
        small_width: feature width of the small model (k); at most K.
        keep_projection: keep the trained projection; otherwise each round begins with the initial
            one.
        weighted: weight each client's small model by its number of samples.
    """

    small_width: Count = 128
    keep_projection: bool = False
    weighted: bool = False


def build(config: Config) -> Algorithm[Weights, WeightsUpload, Weights]:
    """Bind server and client to one configuration."""
    first = small_model(config)

    def start() -> tuple[Weights, Weights]:
        state = Weights(weights.flat(first.own()))
        return state, state

    def aggregate(
        state: Weights, uploads: Sequence[WeightsUpload], factors: Sequence[float] | None = None
    ) -> tuple[Weights, Weights]:
        mean = weights.mean(uploads, config.weighted, factors=factors)
        return mean, mean

    def load_broadcast(model: SplitModel, batches: Batches, broadcast: Weights) -> None:
        weights.assign(small_of(model).own(), broadcast.weights_P)
        if not config.keep_projection:
            restart_projection(model)

    def train(model: SplitModel, batches: Batches, broadcast: Weights) -> WeightsUpload:
        load_broadcast(model, batches, broadcast)
        train_both(model, batches, config)
        return WeightsUpload(len(batches.labels), weights.flat(small_of(model).own()))

    return Algorithm(
        state=Weights,
        upload=WeightsUpload,
        broadcast=Weights,
        sizes={"P": weights.size(first.own())},
        start=start,
        aggregate=aggregate,
        aggregate_weighted=aggregate,
        summing=WeightsSum(config.weighted),
        loss=cross_entropy,
        train=train,
        predict=predict,
        init_client_state=partial(init_client_state, config=config),
        load_broadcast=load_broadcast,
    )


def small_model(config: Config) -> SplitModel:
    """Build the first small model, the same for all."""
    width = min(config.small_width, config.width)
    return models.build(config.architecture, config.shape, config.classes, width, config.seed)


def init_client_state(model: SplitModel, config: Config) -> None:
    """Have a client keep the small model, and the projection (K, K + k) as it is first."""
    small = small_model(config)
    entries = small.width + model.width
    with drawing(derive(config.seed, "projection")):
        projection, first = (nn.Linear(entries, model.width) for _ in range(2))
    first.load_state_dict(projection.state_dict())
    model.kept.update({SMALL: small, PROJECTION: projection, FIRST: first.requires_grad_(False)})


def small_of(model: SplitModel) -> SplitModel:
    """Return the small model that a client keeps."""
    return cast(SplitModel, model.kept[SMALL])


def restart_projection(model: SplitModel) -> None:
    """Give a client's projection its first values again."""
    model.kept[PROJECTION].load_state_dict(model.kept[FIRST].state_dict())


def fused(model: SplitModel, inputs: Tensor) -> Tensor:
    """Return the features (B, K) of both models as the projection makes them."""
    both = torch.cat([small_of(model)(inputs)[0], model(inputs)[0]], dim=1)
    features_BK: Tensor = model.kept[PROJECTION](both)
    return features_BK


def predict(model: SplitModel, inputs: Tensor, targets: None) -> Tensor:
    """Return scores (B, C): the own head's of the fused features."""
    scores_BC: Tensor = model.head(fused(model, inputs))
    return scores_BC


def objective(model: SplitModel, batch: Batch) -> Tensor:
    """Return what a client descends, a scalar: both heads' cross-entropies of fused features.

    The algorithm's `loss` is the cross-entropy of the client's own model alone.
    """
    inputs, labels_B = batch
    features_BK, small = fused(model, inputs), small_of(model)
    own = F.cross_entropy(model.head(features_BK), labels_B)
    return own + F.cross_entropy(small.head(features_BK[:, : small.width]), labels_B)


def train_both(model: SplitModel, batches: Batches, config: Config) -> None:
    """Train the own model, the small one and the projection in place."""
    small = small_of(model).train()
    train_sgd(
        model,
        batches,
        lambda forward, batch: objective(model, batch),
        epochs=config.local_epochs,
        lr=config.local_lr,
        extra_params=[*small.own(), *model.kept[PROJECTION].parameters()],
    )
