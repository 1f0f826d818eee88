"""FedDBE: a client's bias stays in a vector of its own, its features keep the global mean.

Zhang, Hua, Cao, Wang, Song, Xue, Ma and Guan, NeurIPS 2023 (Domain Bias Eliminator, on FedAvg).
https://arxiv.org/abs/2311.14975

Differences from the released code (DBE and PFLlib), which the defaults follow: its initialisation
period, in which all clients train without DBE and only the running means of their features count,
is round 0 here, and asks all of them whoever takes part in the rounds after it. It takes one of the
T rounds: T - 1 rounds of DBE follow, where the code takes none of its rounds for it. The trained
weights of round 0 are discarded and do not travel; round 1 starts again from the first global
model, so that the accuracies of rounds 0 and 1 differ by batch normalisation at most. The global
mean comes with every broadcast (K floats), where the code gives it out once. A client without a
full batch has no running mean, and does not count in the global one; if nobody has any, that is 0.
The weight of the mean regulariser and the momentum are those of the published command, 50 and 1;
the code's own defaults are 0 and 0.1. The variant `pfllib` has the paper's learning rate.

Shape suffixes: B samples, K features (D on the wire), P parameters of the model, R and S rows, 0 or
1, of an upload.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from annotated_types import Gt, Le
from torch import Tensor, nn

from edgeloop import models
from edgeloop.algorithm import (
    PFLLIB,
    Algorithm,
    AlgorithmInfo,
    Batch,
    Batches,
    Forward,
    ModelConfig,
    NotNegative,
)
from edgeloop.knowledge import weights
from edgeloop.knowledge.weights import Vector
from edgeloop.models.split import SplitModel
from edgeloop.protocol.wire import Samples
from edgeloop.training.sgd import cross_entropy, train_sgd

INFO = AlgorithmInfo(
    title="FedDBE",
    runs_in=("simulation", "mqtt"),
    up="in round 0 the mean feature (K floats), then the whole model (P floats)",
    down="the whole model and the global mean feature (P + K floats)",
    paper="Zhang et al., NeurIPS 2023, arXiv:2311.14975",
    variants={"released": {}, "pfllib": PFLLIB},
    same_architecture=True,
)


@dataclass(frozen=True)
class Config(ModelConfig):
    """Hyperparameters.

    Attributes:
        seed: the run's seed; the first weights are drawn from it.
        local_lr: learning rate of the model and of the client's own vector (eta).
        regulariser: weight of the gap between the running mean and the global mean (kappa).
        momentum: weight of the newest batch in the running mean (mu); with 1 it is the newest batch
            alone.
    """

    regulariser: NotNegative = 50.0
    momentum: Annotated[float, Gt(0), Le(1)] = 1.0


@dataclass(frozen=True, eq=False)
class Shared:
    """What the server gives to every client, and keeps.

    Attributes:
        measured: whether the initialisation period is over.
        mean_D: the global mean feature; zeros before it is measured.
        weights_P: of the global model, flattened.
    """

    measured: bool
    mean_D: Vector
    weights_P: Vector


@dataclass(frozen=True, eq=False)
class Upload:
    """What a client sends: its running mean in round 0, its weights from round 1 on.

    Attributes:
        samples: how many training samples the client has.
        mean_RD: its running mean, one row; none after round 0, or without a full batch.
        weights_SP: its parameters, one row; none in round 0.

    Raises:
        ValueError: if the number of samples is negative, or there is more than one row.
    """

    samples: Samples
    mean_RD: npt.NDArray[np.float32]
    weights_SP: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.samples < 0:
            raise ValueError("a negative number of samples")
        if len(self.mean_RD) + len(self.weights_SP) > 1:
            raise ValueError("more than one mean or one model")


class Memory(nn.Module):
    """The personalised representation bias memory.

    Attributes:
        bias_K: m, added to every feature before the head; trained, and never sent.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bias_K = nn.Parameter(torch.zeros(width))


class RunningMean:
    """The running mean of features within one local training, 0 at its start.

    Attributes:
        mean_K: so far, without a graph.
    """

    def __init__(self, width: int, momentum: float, device: torch.device) -> None:
        self.mean_K = torch.zeros(width, device=device)
        self._momentum = momentum

    def update(self, features_BK: Tensor) -> Tensor:
        """Return (1 - mu) * mean + mu * the batch's mean, (K,), with the graph of this batch."""
        newest_K = self._momentum * features_BK.mean(0)
        mean_K: Tensor = (1 - self._momentum) * self.mean_K + newest_K
        self.mean_K = mean_K.detach()
        return mean_K


def build(config: Config) -> Algorithm[Shared, Upload, Shared]:
    """Bind server and client to one configuration."""

    def start() -> tuple[Shared, Shared]:
        weights_P = weights.flat(models.initial_model(config).own())
        first = Shared(False, np.zeros(config.width, np.float32), weights_P)
        return first, first

    def init_client_state(model: SplitModel) -> None:
        model.kept["memory"] = Memory(config.width)

    def train(model: SplitModel, batches: Batches, broadcast: Shared) -> Upload:
        return (train_debiased if broadcast.measured else train_measuring_mean)(
            model, batches, broadcast, config
        )

    return Algorithm(
        state=Shared,
        upload=Upload,
        broadcast=Shared,
        sizes={"P": weights.size(models.initial_model(config).own()), "D": config.width},
        start=start,
        aggregate=aggregate,
        loss=cross_entropy,
        train=train,
        predict=predict,
        init_client_state=init_client_state,
        load_broadcast=lambda model, batches, broadcast: weights.assign(
            model.own(), broadcast.weights_P
        ),
        full_rounds=1,
    )


def aggregate(state: Shared, uploads: Sequence[Upload]) -> tuple[Shared, Shared]:
    """Fix the global mean after round 0, average the models after every other round.

    Both weigh a client by its samples. Where nobody sent what the round is about, it stays.
    """
    sent = [upload for upload in uploads if len(rows(state, upload))]
    mean_D, weights_P = state.mean_D, state.weights_P
    if sent:
        mean = weights.average([rows(state, upload)[0] for upload in sent], weights.shares(sent))
        mean_D, weights_P = (mean_D, mean) if state.measured else (mean, weights_P)
    new = Shared(True, mean_D, weights_P)
    return new, new


def rows(state: Shared, upload: Upload) -> npt.NDArray[np.float32]:
    """Return what the round is about, one row or none: running means first, then models."""
    return upload.weights_SP if state.measured else upload.mean_RD


def train_measuring_mean(
    model: SplitModel, batches: Batches, broadcast: Shared, config: Config
) -> Upload:
    """Train on `loss` alone, without DBE; return the running mean that the training ends with."""
    running = RunningMean(config.width, config.momentum, batches.inputs.device)

    def collecting(forward: Forward, batch: Batch) -> Tensor:
        features_BK, logits_BC = forward(batch[0])
        running.update(features_BK)
        return F.cross_entropy(logits_BC, batch[1])

    train_sgd(model, batches, collecting, epochs=config.local_epochs, lr=config.local_lr)
    mean_RD = running.mean_K.cpu().numpy()[np.newaxis][: len(batches)]
    size = len(broadcast.weights_P)
    return Upload(len(batches.labels), mean_RD, np.zeros((0, size), np.float32))


def train_debiased(
    model: SplitModel, batches: Batches, broadcast: Shared, config: Config
) -> Upload:
    """Train model and own vector with DBE, and return the model."""
    running = RunningMean(config.width, config.momentum, batches.inputs.device)
    goal_K = torch.tensor(broadcast.mean_D, device=batches.inputs.device)
    train_sgd(
        model,
        batches,
        lambda forward, batch: objective(model, batch, running, goal_K, config.regulariser),
        epochs=config.local_epochs,
        lr=config.local_lr,
        extra_params=[bias_memory(model)],
    )
    weights_SP = weights.flat(model.own())[np.newaxis]
    return Upload(len(batches.labels), np.zeros((0, config.width), np.float32), weights_SP)


def objective(
    model: SplitModel, batch: Batch, running: RunningMean, goal_K: Tensor, weight: float
) -> Tensor:
    """Return what a client minimises from round 1 on; `loss` has its part in round 0 only.

    Cross-entropy of the head on z + m, plus kappa times the mean over the K features of half the
    squared gap between the running mean and the global mean.
    """
    inputs, labels_B = batch
    features_BK = model(inputs)[0]
    gap_K = running.update(features_BK) - goal_K
    logits_BC = model.head(features_BK + bias_memory(model))
    return F.cross_entropy(logits_BC, labels_B) + weight * (gap_K.square() / 2).mean()


def bias_memory(model: SplitModel) -> nn.Parameter:
    """Return m, the client's own vector (K,)."""
    return cast(Memory, model.kept["memory"]).bias_K


def predict(model: SplitModel, inputs: Tensor, targets: None) -> Tensor:
    """Return the head's logits (B, C) of z + m."""
    scores_BC: Tensor = model.head(model(inputs)[0] + bias_memory(model))
    return scores_BC
