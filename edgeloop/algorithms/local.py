"""Local training only: the baseline in which nothing is shared.

The `Local` of PFLlib and HtFLlib (https://github.com/TsingZ0/HtFLlib); no differences.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edgeloop.algorithm import Algorithm, AlgorithmInfo, Recipe, TrainingConfig
from edgeloop.training.sgd import cross_entropy

INFO = AlgorithmInfo(
    title="Local",
    runs_in=("simulation", "mqtt"),
    up="nothing",
    down="nothing",
    paper="the baseline without communication",
    numbers=("0", "0"),
    robust=False,
)


@dataclass(frozen=True)
class Config(TrainingConfig):
    """Hyperparameters.

    Attributes:
        seed: the run's seed; nothing here is random.
    """


@dataclass(frozen=True)
class Nothing:
    """An empty message."""


def build(config: Config) -> Algorithm[Nothing, Nothing, Nothing]:
    """Bind server and client to one configuration."""

    def start() -> tuple[Nothing, Nothing]:
        return Nothing(), Nothing()

    def aggregate(state: Nothing, uploads: Sequence[Nothing]) -> tuple[Nothing, Nothing]:
        return state, Nothing()

    recipe = Recipe[Nothing, Nothing](
        loss=cross_entropy,
        epochs=config.local_epochs,
        lr=config.local_lr,
        upload=lambda model, batches, seen: Nothing(),
    )

    return Algorithm(
        state=Nothing,
        upload=Nothing,
        broadcast=Nothing,
        sizes={},
        start=start,
        aggregate=aggregate,
        recipe=recipe,
    )
