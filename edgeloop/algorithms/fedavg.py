"""FedAvg: every client trains the same model, the server averages the models.

McMahan, Moore, Ramage, Hampson and Arcas, AISTATS 2017. https://arxiv.org/abs/1602.05629

Differences from the released code (PFLlib), which the defaults follow: none in the formulas. A
client's batches come in the order of its data unless the run shuffles them, as PFLlib does. The
accuracy is the global model's on every client's own test samples, before the round's training.

Shape suffix: P parameters of the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edgeloop import models
from edgeloop.algorithm import PFLLIB, Algorithm, AlgorithmInfo, Count, Positive, Recipe
from edgeloop.knowledge import weights
from edgeloop.knowledge.weights import Weights, WeightsUpload
from edgeloop.training.sgd import cross_entropy

INFO = AlgorithmInfo(
    title="FedAvg",
    runs_in=("simulation", "mqtt"),
    up="the whole model (P floats)",
    down="the whole model (P floats)",
    paper="McMahan et al., AISTATS 2017, arXiv:1602.05629",
    variants={"released": {}, "pfllib": PFLLIB},
    same_architecture=True,
)


@dataclass(frozen=True)
class Config:
    """Hyperparameters.

    Attributes:
        classes: C.
        width: K, the unified feature width.
        shape: of one input, channels first.
        architecture: of every client's model.
        seed: the run's seed; the first weights are drawn from it.
        local_epochs: E, epochs of a client a round.
        local_lr: eta, the clients' learning rate.
    """

    classes: Count
    width: Count
    shape: tuple[int, ...] = (3, 32, 32)
    architecture: str = "cnn"
    seed: int = 0
    local_epochs: Count = 1
    local_lr: Positive = 0.01


def build(config: Config) -> Algorithm[Weights, WeightsUpload, Weights]:
    """Bind server and client to one configuration."""

    def start() -> tuple[Weights, Weights]:
        first = Weights(weights.flat(models.initial_model(config).own()))
        return first, first

    def aggregate(state: Weights, uploads: Sequence[WeightsUpload]) -> tuple[Weights, Weights]:
        mean = weights.mean(uploads)
        return mean, mean

    recipe = Recipe[WeightsUpload, Weights](
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
