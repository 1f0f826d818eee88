"""Ditto: a personal model on every client, held near the global one that FedAvg trains beside it.

Li, Hu, Beirami and Smith, ICML 2021. https://arxiv.org/abs/2012.04221

Differences from the released code (PFLlib's Ditto), which the defaults follow: its mu is 0 unless
it is set, which makes the personal models those of local training; here mu is 1, as in the authors'
scripts (lambda there). PFLlib evaluates the global and the personal models and reports the better;
here the accuracy is the personal models' alone. A client's batches come in the order of its data
unless the run shuffles them, as PFLlib does. The paper leaves the training of the global model
open; the authors' code averages clients alike and trains both models on the same few batches, where
PFLlib, and so this file, weighs by samples and trains the personal model first, both for epochs.

The client's model is the personal one, v. The global one, w, is trained in a copy beside it, whose
parameters are the broadcast's again each round; only what its batch normalisation counts lasts, and
never travels.

Shape suffix: P parameters of the model.
"""

import copy
from dataclasses import dataclass
from typing import cast

from edgeloop.algorithm import (
    PFLLIB,
    Algorithm,
    AlgorithmInfo,
    Batches,
    Count,
    ModelConfig,
    NotNegative,
    UploadKind,
    leave_unchanged,
    softmax_scores,
)
from edgeloop.knowledge import weights
from edgeloop.knowledge.weight_algorithm import weight_algorithm
from edgeloop.knowledge.weights import Weights, WeightsUpload
from edgeloop.models.split import SplitModel
from edgeloop.training.sgd import cross_entropy, train_sgd

INFO = AlgorithmInfo(
    title="Ditto",
    runs_in=("simulation", "mqtt"),
    up="the whole model (P floats), not the personal one",
    down="the whole model (P floats)",
    paper="Li et al., ICML 2021, arXiv:2012.04221",
    variants={"released": {}, "pfllib": PFLLIB},
    same_architecture=True,
    upload=UploadKind("whole"),
    averages=True,
)

COPY = "global"
"""The name under which a client keeps its copy of the global model."""


@dataclass(frozen=True)
class Config(ModelConfig):
    """Hyperparameters.

    Attributes:
        seed: the run's seed; the first weights are drawn from it.
        local_epochs: local epochs per round of the global model (E).
        personal_epochs: local epochs per round of the personal model, which is trained first; s
            counts its steps.
        local_lr: learning rate of both models (eta).
        mu: strength of the pull of the personal model to the global one (lambda); 0 is Local.
    """

    personal_epochs: Count = 1
    mu: NotNegative = 1.0


def build(config: Config) -> Algorithm[Weights, WeightsUpload, Weights]:
    """Bind server and client to one configuration."""

    def train(model: SplitModel, batches: Batches, broadcast: Weights) -> WeightsUpload:
        shared = cast(SplitModel, model.kept[COPY])
        weights.assign(shared.own(), broadcast.weights_P)
        train_personal(model, shared, batches, config)
        train_global(shared, batches, config)
        return WeightsUpload(len(batches.labels), weights.flat(shared.own()))

    return weight_algorithm(
        config,
        loss=cross_entropy,
        train=train,
        auc_scores=softmax_scores,
        init_client_state=init_client_state,
        load_broadcast=leave_unchanged,
    )


def init_client_state(model: SplitModel) -> None:
    """Give a client its copy of the global model."""
    model.kept[COPY] = copy.deepcopy(model)


def train_personal(model: SplitModel, shared: SplitModel, batches: Batches, config: Config) -> None:
    """Train v in place on h_k = F_k + the proximal term to w as received, which is not changed.

    F_k, the cross-entropy, is the algorithm's `loss`: the part of the objective that a batch makes.
    """
    ours, anchors = model.own(), shared.own()
    train_sgd(
        model,
        batches,
        lambda forward, batch: (
            cross_entropy(forward, batch) + weights.proximal(ours, anchors, config.mu)
        ),
        epochs=config.personal_epochs,
        lr=config.local_lr,
    )


def train_global(shared: SplitModel, batches: Batches, config: Config) -> None:
    """Train w in place, as FedAvg does."""
    train_sgd(
        shared,
        batches,
        cross_entropy,
        epochs=config.local_epochs,
        lr=config.local_lr,
        first_epoch=config.personal_epochs,
    )
