"""FedDyn: each client's objective gets a linear term, so that all agree where the sum is least.

Acar, Zhao, Navarro, Mattina, Whatmough and Saligrama, ICLR 2021. https://arxiv.org/abs/2111.04263

Algorithm 1: a client descends L_k(theta) - <g_k, theta> + alpha / 2 |theta - theta_0|^2 from the
global model theta_0, then g_k <- g_k - alpha (theta_k - theta_0). The server has h, the mean of the
g_k, and broadcasts mean(theta_k) - h / alpha, clients counting alike.

Differences from the paper: the exact minimum is E epochs of SGD, as in the authors' experiments.
The server counts those clients in h that it has heard of, where the paper counts all from the
beginning; once each client has answered, and where all always do, h is the same. Weight decay is
left out. The change of an upload that is lost is missing in h. alpha is 0.01, one of the values
0.1, 0.01 and 0.001 that the paper tries; PFLlib's default is 1. The accuracy is the global model's
on every client's own test samples, before the round's training.

Shape suffix: P parameters of the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeloop import models
from edgeloop.algorithm import PFLLIB, Algorithm, AlgorithmInfo, Batches, ModelConfig, Positive
from edgeloop.knowledge import client_vectors, weights
from edgeloop.knowledge.weights import Vector, Weights
from edgeloop.models.split import SplitModel
from edgeloop.training.sgd import cross_entropy, train_sgd

INFO = AlgorithmInfo(
    title="FedDyn",
    runs_in=("simulation", "mqtt"),
    up="the whole model (P floats)",
    down="the whole model (P floats)",
    paper="Acar et al., ICLR 2021, arXiv:2111.04263",
    variants={"released": {}, "pfllib": {**PFLLIB, "alpha": 1.0}},
    same_architecture=True,
)


@dataclass(frozen=True)
class Config(ModelConfig):
    """Hyperparameters.

    Attributes:
        seed: the run's seed; the first weights are drawn from it.
        alpha: weight of the distance to the global model.
    """

    alpha: Positive = 0.01


@dataclass(frozen=True, eq=False)
class State:
    """What the server keeps.

    Attributes:
        clients: of how many clients h is the mean.
        weights_P: the last broadcast's.
        mean_P: h, the mean of the clients' g_k.
    """

    clients: int
    weights_P: Vector
    mean_P: Vector


@dataclass(frozen=True, eq=False)
class Upload:
    """What a client sends.

    Attributes:
        first: whether its g_k has been 0 before.
        weights_P: theta_k, its model after training.
    """

    first: bool
    weights_P: Vector


def build(config: Config) -> Algorithm[State, Upload, Weights]:
    """Bind server and client to one configuration."""

    def start() -> tuple[State, Weights]:
        weights_P = weights.flat(models.initial_model(config).own())
        return State(0, weights_P, np.zeros_like(weights_P)), Weights(weights_P)

    def train(model: SplitModel, batches: Batches, broadcast: Weights) -> Upload:
        first = train_regularised(model, batches, config)
        return Upload(first, weights.flat(model.own()))

    return Algorithm(
        state=State,
        upload=Upload,
        broadcast=Weights,
        sizes={"P": weights.size(models.initial_model(config).own())},
        start=start,
        aggregate=lambda state, uploads: aggregate(state, uploads, config.alpha),
        loss=cross_entropy,
        train=train,
        init_client_state=client_vectors.init_client_vector,
        load_broadcast=lambda model, batches, broadcast: weights.assign(
            model.own(), broadcast.weights_P
        ),
    )


def aggregate(state: State, uploads: Sequence[Upload], alpha: float) -> tuple[State, Weights]:
    """Update h by what the clients moved, then take it out of their mean."""
    before_P = state.weights_P.astype(np.float64)
    changes = [-alpha * (each.weights_P.astype(np.float64) - before_P) for each in uploads]
    firsts = [each.first for each in uploads]
    mean_P, clients = client_vectors.update_mean(state.mean_P, state.clients, changes, firsts)
    trained_P = weights.average([each.weights_P for each in uploads])
    weights_P = weights.average([trained_P, mean_P], [1.0, -1 / alpha])
    return State(clients, weights_P, mean_P), Weights(weights_P)


def train_regularised(model: SplitModel, batches: Batches, config: Config) -> bool:
    """Train in place from the global model, which it holds, and change the own g_k.

    Returns:
        whether it is the client's first change.
    """
    ours, own = model.own(), client_vectors.client_vector(model)
    anchors = [parameter.detach().clone() for parameter in ours]
    gradient_P = own.values_P.clone()
    train_sgd(
        model,
        batches,
        lambda forward, batch: (
            cross_entropy(forward, batch)
            - weights.inner_product(ours, gradient_P)
            + weights.proximal(ours, anchors, config.alpha)
        ),
        epochs=config.local_epochs,
        lr=config.local_lr,
    )
    moved_P = weights.concatenate(ours) - weights.concatenate(anchors)
    return own.change(-config.alpha * moved_P)
