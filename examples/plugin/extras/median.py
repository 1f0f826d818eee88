"""FedMedian: as FedAvg, but the server takes each parameter's median over the clients.

Yin, Chen, Ramchandran and Bartlett, ICML 2018. https://arxiv.org/abs/1803.01498

Shape suffixes: M clients, P parameters of the model.
"""

from dataclasses import dataclass

import numpy as np

from edgeloop import models
from edgeloop.algorithm import Algorithm, AlgorithmInfo, ModelConfig, Recipe
from edgeloop.knowledge import weights
from edgeloop.knowledge.weights import Weights, WeightsUpload
from edgeloop.training.sgd import cross_entropy

INFO = AlgorithmInfo(
    title="FedMedian",
    runs_in=("simulation", "mqtt"),
    up="the whole model (P floats)",
    down="the whole model (P floats)",
    paper="Yin et al., ICML 2018, arXiv:1803.01498",
    same_architecture=True,
)


@dataclass(frozen=True)
class Config(ModelConfig):
    """Hyperparameters.

    Attributes:
        seed: the run's seed; the first weights are drawn from it.
    """


def build(config: Config) -> Algorithm[Weights, WeightsUpload, Weights]:
    """Bind server and client to one configuration."""

    def start():
        first = Weights(weights.flat(models.initial_model(config).own()))
        return first, first

    def aggregate(state, uploads):
        median = Weights(np.median([each.weights_P for each in uploads], 0).astype(np.float32))
        return median, median

    recipe = Recipe(
        loss=cross_entropy,
        epochs=config.local_epochs,
        lr=config.local_lr,
        upload=lambda model, batches, seen: WeightsUpload(
            len(batches.labels), weights.flat(model.own())
        ),
    )
    return Algorithm(
        state=Weights,
        upload=WeightsUpload,
        broadcast=Weights,
        sizes={"P": weights.size(models.initial_model(config).own())},
        start=start,
        aggregate=aggregate,
        recipe=recipe,
        load_broadcast=lambda model, batches, broadcast: weights.assign(
            model.own(), broadcast.weights_P
        ),
    )
