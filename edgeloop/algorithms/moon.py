"""MOON: FedAvg whose clients keep features near the global model's, away from their last own ones.

Li, He and Song, CVPR 2021. https://arxiv.org/abs/2103.16257

The loss of a sample is its cross-entropy plus mu times
-log(e^(s / tau) / (e^(s / tau) + e^(s' / tau))), s the cosine of its features and the global
model's, s' that of its features and those of the client's model after its last training. Before
its first training the client's last model is the one that it began with.

Differences from the paper: the features are the base's, of width K, as in PFLlib, where the paper
adds a projection head of two layers. The two other models are in evaluation mode. Batch
normalisation's statistics do not travel: the global model is the averaged parameters with the
client's own. mu is 1, the paper's best on CIFAR-100 and Tiny-ImageNet; the variant `cifar10` has
5, its best there. The accuracy is the global model's on every client's own test samples, before the
round's training.

Shape suffixes: B samples, K features, P parameters of the model.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeloop.algorithm import (
    PFLLIB,
    Algorithm,
    AlgorithmInfo,
    Batch,
    Batches,
    Forward,
    ModelConfig,
    NotNegative,
    Positive,
)
from edgeloop.knowledge.weight_algorithm import upload, weight_algorithm
from edgeloop.knowledge.weights import Weights, WeightsUpload
from edgeloop.models.split import SplitModel
from edgeloop.training.sgd import cross_entropy, train_sgd

INFO = AlgorithmInfo(
    title="MOON",
    runs_in=("simulation", "mqtt"),
    up="the whole model (P floats)",
    down="the whole model (P floats)",
    paper="Li et al., CVPR 2021, arXiv:2103.16257",
    variants={"released": {}, "pfllib": PFLLIB, "cifar10": {"mu": 5.0}},
    same_architecture=True,
    averages=True,
)

PREVIOUS = "previous"
"""The name under which a client keeps its model of the end of its last training."""

Features = Callable[[Tensor], Tensor]
"""Inputs (B, ...) to features (B, K)."""


@dataclass(frozen=True)
class Config(ModelConfig):
    """Hyperparameters.

    Attributes:
        seed: the run's seed; the first weights are drawn from it.
        mu: weight of the contrastive term; 0 is FedAvg.
        temperature: temperature that divides the cosines (tau).
    """

    mu: NotNegative = 1.0
    temperature: Positive = 0.5


def build(config: Config) -> Algorithm[Weights, WeightsUpload, Weights]:
    """Bind server and client to one configuration."""

    def train(model: SplitModel, batches: Batches, broadcast: Weights) -> WeightsUpload:
        train_contrasting(model, batches, config)
        return upload(model, batches)

    return weight_algorithm(
        config,
        loss=cross_entropy,
        train=train,
        init_client_state=init_client_state,
    )


def init_client_state(model: SplitModel) -> None:
    """Have a client keep its model as it is: the last one before there was any training."""
    model.kept[PREVIOUS] = copy.deepcopy(model)


def train_contrasting(model: SplitModel, batches: Batches, config: Config) -> None:
    """Train in place from the global model, which it holds; then keep it for the next round."""
    previous = cast(SplitModel, model.kept[PREVIOUS])
    shared = copy.deepcopy(previous)
    take_over(shared, model)
    train_sgd(
        model,
        batches,
        lambda forward, batch: objective(
            forward, batch, (frozen(shared), frozen(previous)), config
        ),
        epochs=config.local_epochs,
        lr=config.local_lr,
    )
    take_over(previous, model)


def take_over(copied: SplitModel, model: SplitModel) -> None:
    """Make a copy's base and head those of a model as it is now."""
    copied.base.load_state_dict(model.base.state_dict())
    copied.head.load_state_dict(model.head.state_dict())


def frozen(model: SplitModel) -> Features:
    """Return a model's features, in evaluation mode and without a gradient."""

    def features(inputs: Tensor) -> Tensor:
        with torch.no_grad():
            features_BK: Tensor = model.eval()(inputs)[0]
        return features_BK

    return features


def objective(
    forward: Forward, batch: Batch, others: tuple[Features, Features], config: Config
) -> Tensor:
    """Return what a client descends, a scalar: cross-entropy and mu times the contrastive term.

    The algorithm's `loss` is the cross-entropy alone.

    Args:
        forward: the model that trains.
        batch: of it.
        others: the global model's features, and those of the client's last model.
        config: mu and tau.
    """
    inputs, labels_B = batch
    features_BK, logits_BC = forward(inputs)
    shared, previous = others
    away = contrast(features_BK, shared(inputs), previous(inputs), config.temperature)
    return F.cross_entropy(logits_BC, labels_B) + config.mu * away


def contrast(near_BK: Tensor, goal_BK: Tensor, past_BK: Tensor, temperature: float) -> Tensor:
    """Return the mean of log(1 + e^((s' - s) / tau)), a scalar: Eq. 3 of the paper."""
    nearer_B = F.cosine_similarity(near_BK, goal_BK, dim=1)
    past_B = F.cosine_similarity(near_BK, past_BK, dim=1)
    return F.softplus((past_B - nearer_B) / temperature).mean()
