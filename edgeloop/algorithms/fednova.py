"""FedNova: FedAvg in which a client that takes more steps does not count for more.

Wang, Liu, Liang, Joshi and Poor, NeurIPS 2020. https://arxiv.org/abs/2007.07481

With plain SGD, tau_i steps of client i and p_i its share of the samples, the server takes
x <- x + tau_eff sum_i p_i (y_i - x) / tau_i, with tau_eff = sum_i p_i tau_i. Where all take as many
steps, that is FedAvg.

Differences from the paper: the clients' optimiser is plain SGD, for which a_i is all ones, without
the paper's momentum and proximal term. A client without a full batch takes no step, and moves
nothing. The accuracy is the global model's on every client's own test samples, before the round's
training.

Shape suffix: P parameters of the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeloop import models
from edgeloop.algorithm import PFLLIB, Algorithm, AlgorithmInfo, ModelConfig, Recipe
from edgeloop.knowledge import weights
from edgeloop.knowledge.weights import Vector, Weights
from edgeloop.protocol.wire import Samples
from edgeloop.training.sgd import cross_entropy

INFO = AlgorithmInfo(
    title="FedNova",
    runs_in=("simulation", "mqtt"),
    up="the whole model (P floats) and the number of its steps",
    down="the whole model (P floats)",
    paper="Wang et al., NeurIPS 2020, arXiv:2007.07481",
    variants={"released": {}, "pfllib": PFLLIB},
    same_architecture=True,
    plain_sgd=True,
)


@dataclass(frozen=True)
class Config(ModelConfig):
    """Hyperparameters.

    Attributes:
        seed: the run's seed; the first weights are drawn from it.
        local_epochs: local epochs per round (E); tau_i counts their steps.
    """


@dataclass(frozen=True, eq=False)
class Upload:
    """One client's model after its training.

    Attributes:
        samples: how many training samples the client has.
        steps: tau_i, how many steps it has taken.
        weights_P: y_i, all parameters, flattened.

    Raises:
        ValueError: if a number is negative.
    """

    samples: Samples
    steps: Samples
    weights_P: Vector

    def __post_init__(self) -> None:
        if self.samples < 0 or self.steps < 0:
            raise ValueError("a negative number of samples or steps")


def build(config: Config) -> Algorithm[Weights, Upload, Weights]:
    """Bind server and client to one configuration."""

    def start() -> tuple[Weights, Weights]:
        first = Weights(weights.flat(models.initial_model(config).own()))
        return first, first

    recipe = Recipe[Upload, Weights](
        loss=cross_entropy,
        epochs=config.local_epochs,
        lr=config.local_lr,
        upload=lambda model, batches, seen: Upload(
            len(batches.labels), config.local_epochs * len(batches), weights.flat(model.own())
        ),
    )

    return Algorithm(
        state=Weights,
        upload=Upload,
        broadcast=Weights,
        sizes={"P": weights.size(models.initial_model(config).own())},
        start=start,
        aggregate=aggregate,
        recipe=recipe,
        load_broadcast=lambda model, batches, broadcast: weights.assign(
            model.own(), broadcast.weights_P
        ),
    )


def aggregate(state: Weights, uploads: Sequence[Upload]) -> tuple[Weights, Weights]:
    """Move the model by the clients' mean step, as often as they step on average."""
    before_P = state.weights_P.astype(np.float64)
    shares = weights.shares(uploads)
    step_P = np.zeros_like(before_P)
    for share, each in zip(shares, uploads, strict=True):
        step_P += share / max(each.steps, 1) * (each.weights_P.astype(np.float64) - before_P)
    effective = sum(share * each.steps for share, each in zip(shares, uploads, strict=True))
    moved = Weights((before_P + effective * step_P).astype(np.float32))
    return moved, moved
