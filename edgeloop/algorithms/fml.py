"""FML: each client's model and one shared auxiliary model teach each other.

Shen, Zhang, Jia, Zhang, Huang, Zhou, Kuang, Wu and Wu, 2020. https://arxiv.org/abs/2006.16765

Differences from the released code (HtFLlib's FML), which the defaults follow: none in the formulas;
its published command line has alpha = beta = 0.5. As there, the divergence is divided by classes
too, its goal is not held fixed, clients count alike in the average, and what batch normalisation
counts in the auxiliary model does not travel: it starts again each round.

Shape suffix: P parameters of the auxiliary model.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor

from edgeloop import models
from edgeloop.algorithm import (
    Algorithm,
    AlgorithmInfo,
    Batch,
    Batches,
    Forward,
    ModelConfig,
    Positive,
)
from edgeloop.knowledge import mutual_distillation, weights
from edgeloop.knowledge.sums import WeightsSum
from edgeloop.knowledge.weights import Weights, WeightsUpload
from edgeloop.models.split import SplitModel
from edgeloop.training.sgd import cross_entropy, train_sgd

INFO = AlgorithmInfo(
    title="FML",
    runs_in=("simulation", "mqtt"),
    up="the auxiliary model (P floats)",
    down="the auxiliary model (P floats)",
    paper="Shen et al., 2020, arXiv:2006.16765",
    numbers=("M W", "M W"),
    averages=True,
)


@dataclass(frozen=True)
class Config(ModelConfig):
    """Hyperparameters.

    Attributes:
        architecture: of the auxiliary model.
        seed: the run's seed; the auxiliary model's first weights are drawn from it.
        local_lr: learning rate of both models (eta).
        model_share: share of cross-entropy in the loss of the client's model (alpha).
        auxiliary_share: share of cross-entropy in the loss of the auxiliary model (beta); the rest
            is distillation.
        clip: largest norm of each model's gradient.
    """

    model_share: Annotated[float, Ge(0), Le(1)] = 0.5
    auxiliary_share: Annotated[float, Ge(0), Le(1)] = 0.5
    clip: Positive = 10.0


def build(config: Config) -> Algorithm[Weights, WeightsUpload, Weights]:
    """Bind server and client to one configuration."""
    first = models.initial_model(config)

    def start() -> tuple[Weights, Weights]:
        state = Weights(weights.flat(first.own()))
        return state, state

    def aggregate(
        state: Weights, uploads: Sequence[WeightsUpload], factors: Sequence[float] | None = None
    ) -> tuple[Weights, Weights]:
        mean = weights.mean(uploads, weighted=False, factors=factors)
        return mean, mean

    def train(model: SplitModel, batches: Batches, broadcast: Weights) -> WeightsUpload:
        auxiliary = auxiliary_of(first, broadcast, batches.inputs.device).train()
        train_sgd(
            model,
            batches,
            lambda forward, batch: both_losses(forward, auxiliary, batch, config),
            epochs=config.local_epochs,
            lr=config.local_lr,
            extra_params=auxiliary.own(),
            clip=config.clip,
        )
        return WeightsUpload(len(batches.labels), weights.flat(auxiliary.own()))

    return Algorithm(
        state=Weights,
        upload=WeightsUpload,
        broadcast=Weights,
        sizes={"P": weights.size(first.own())},
        start=start,
        aggregate=aggregate,
        aggregate_weighted=aggregate,
        summing=WeightsSum(by_samples=False),
        loss=cross_entropy,
        train=train,
    )


def auxiliary_of(first: SplitModel, broadcast: Weights, device: torch.device) -> SplitModel:
    """Return a copy of the first auxiliary model with a broadcast's weights, on a device."""
    auxiliary = copy.deepcopy(first)
    weights.assign(auxiliary.own(), broadcast.weights_P)
    moved: SplitModel = auxiliary.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's overloads miss this pair
    return moved


def both_losses(forward: Forward, auxiliary: Forward, batch: Batch, config: Config) -> Tensor:
    """Return what a client descends, a scalar: its model's loss and the auxiliary model's.

    The algorithm's `loss` is the cross-entropy of the client's model alone.
    """
    inputs, labels_B = batch
    return mutual_distillation.mutual_loss(
        forward(inputs)[1],
        auxiliary(inputs)[1],
        labels_B,
        config.model_share,
        config.auxiliary_share,
    )
