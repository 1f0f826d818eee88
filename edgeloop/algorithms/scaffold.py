"""SCAFFOLD: control variates take out of each client's steps what draws it away from the others.

Karimireddy, Kale, Mohri, Reddi, Stich and Suresh, ICML 2020. https://arxiv.org/abs/1910.06378

Algorithm 1, with option II for the control variates: y <- y - eta (g - c_i + c), K times from x;
c_i+ = c_i - c + (x - y) / (K eta); the server has x <- x + eta_g mean(y - x), clients counting
alike, and c, the mean of the c_i.

Differences from the paper: the server counts those clients in c that it has heard of, where the
paper counts all from the beginning; once each client has answered, and where all always do, c is
the same. The correction is a term of the loss, <y, c - c_i>, which has the same gradient. A client
without a full batch sends x, and its c_i stays. The change of an upload that is lost is missing in
c. The accuracy is the global model's on every client's own test samples, before the round's
training.

Shape suffix: P parameters of the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from edgeloop import models
from edgeloop.algorithm import (
    PFLLIB,
    Algorithm,
    AlgorithmInfo,
    Batches,
    ModelConfig,
    Positive,
)
from edgeloop.knowledge import client_vectors, weights
from edgeloop.knowledge.weights import Vector
from edgeloop.models.split import SplitModel
from edgeloop.training.sgd import cross_entropy, train_sgd

INFO = AlgorithmInfo(
    title="SCAFFOLD",
    runs_in=("simulation", "mqtt"),
    up="the whole model and the change of the control variate (2 P floats)",
    down="the whole model and the global control variate (2 P floats)",
    paper="Karimireddy et al., ICML 2020, arXiv:1910.06378",
    variants={"released": {}, "pfllib": PFLLIB},
    same_architecture=True,
    plain_sgd=True,
)


@dataclass(frozen=True)
class Config(ModelConfig):
    """Hyperparameters.

    Attributes:
        seed: the run's seed; the first weights are drawn from it.
        local_epochs: local epochs per round (E); K counts their steps.
        server_lr: learning rate of the server (eta_g); 1 takes the mean of the clients' models.
    """

    server_lr: Positive = 1.0


@dataclass(frozen=True, eq=False)
class State:
    """What the server keeps.

    Attributes:
        clients: how many control variates there are.
        weights_P: x, the global model.
        control_P: c, the mean of the control variates.
    """

    clients: int
    weights_P: Vector
    control_P: Vector


@dataclass(frozen=True, eq=False)
class Broadcast:
    """What every client gets.

    Attributes:
        weights_P: x, the global model.
        control_P: c, the mean of the clients' control variates.
    """

    weights_P: Vector
    control_P: Vector


@dataclass(frozen=True, eq=False)
class Upload:
    """What a client sends.

    Attributes:
        first: whether it has had no control variate before.
        weights_P: y, its model after training.
        change_P: of its control variate, c_i+ - c_i.
    """

    first: bool
    weights_P: Vector
    change_P: Vector


def build(config: Config) -> Algorithm[State, Upload, Broadcast]:
    """Bind server and client to one configuration."""

    def start() -> tuple[State, Broadcast]:
        weights_P = weights.flat(models.initial_model(config).own())
        none_P = np.zeros_like(weights_P)
        return State(0, weights_P, none_P), Broadcast(weights_P, none_P)

    def train(model: SplitModel, batches: Batches, broadcast: Broadcast) -> Upload:
        change_P, first = train_corrected(model, batches, broadcast, config)
        return Upload(first, weights.flat(model.own()), weights.flat([change_P]))

    return Algorithm(
        state=State,
        upload=Upload,
        broadcast=Broadcast,
        sizes={"P": weights.size(models.initial_model(config).own())},
        start=start,
        aggregate=lambda state, uploads: aggregate(state, uploads, config.server_lr),
        loss=cross_entropy,
        train=train,
        init_client_state=client_vectors.init_client_vector,
        load_broadcast=lambda model, batches, broadcast: weights.assign(
            model.own(), broadcast.weights_P
        ),
    )


def aggregate(state: State, uploads: Sequence[Upload], lr: float) -> tuple[State, Broadcast]:
    """Move the model to the clients' mean by eta_g, and the control variate by their changes."""
    mean_P = weights.average([each.weights_P for each in uploads])
    control_P, clients = client_vectors.update_mean(
        state.control_P,
        state.clients,
        [each.change_P for each in uploads],
        [each.first for each in uploads],
    )
    parts = [1 - lr, lr]
    moved_P = weights.average([state.weights_P, mean_P], parts) if lr != 1 else mean_P
    return State(clients, moved_P, control_P), Broadcast(moved_P, control_P)


def train_corrected(
    model: SplitModel, batches: Batches, broadcast: Broadcast, config: Config
) -> tuple[torch.Tensor, bool]:
    """Train in place from the global model, which it holds, and change the own control variate.

    Returns:
        the change (P,), and whether it is the client's first.
    """
    ours, own = model.own(), client_vectors.client_vector(model)
    control_P = torch.tensor(broadcast.control_P, device=batches.inputs.device)
    correction_P, before_P = control_P - own.values_P, weights.concatenate(ours)
    train_sgd(
        model,
        batches,
        lambda forward, batch: (
            cross_entropy(forward, batch) + weights.inner_product(ours, correction_P)
        ),
        epochs=config.local_epochs,
        lr=config.local_lr,
    )
    steps = config.local_epochs * len(batches)
    change_P = torch.zeros_like(before_P)
    if steps:
        moved_P = before_P - weights.concatenate(ours)
        change_P = moved_P / (steps * config.local_lr) - control_P
    return change_P, own.change(change_P)
