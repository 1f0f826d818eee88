"""What the algorithms have in common whose server averages parameters of the clients' models."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor

from edgeloop import models
from edgeloop.algorithm import Algorithm, Batches, Loss, ModelConfig, Recipe
from edgeloop.knowledge import weights
from edgeloop.knowledge.sums import WeightsSum
from edgeloop.knowledge.weights import Weights, WeightsUpload
from edgeloop.models.split import SplitModel

Shared = Callable[[SplitModel], Iterable[Tensor]]
"""A model's tensors that travel, in the order of the layers."""


def whole(model: SplitModel) -> Iterable[Tensor]:
    """Return all parameters of a model."""
    return model.own()


def base(model: SplitModel) -> Iterable[Tensor]:
    """Return the parameters of a model without its head."""
    return model.base.parameters()


def upload(model: SplitModel, batches: Batches, shared: Shared = whole) -> WeightsUpload:
    """Return what a client sends after its training: its samples, and the shared tensors."""
    return WeightsUpload(len(batches.labels), weights.flat(shared(model)))


def plain_recipe(
    config: ModelConfig, loss: Loss, shared: Shared = whole
) -> Recipe[WeightsUpload, Weights]:
    """Return a round that is plain SGD, and an upload of the shared tensors."""
    return Recipe[WeightsUpload, Weights](
        loss=loss,
        epochs=config.local_epochs,
        lr=config.local_lr,
        upload=lambda model, batches, seen: upload(model, batches, shared),
    )


def weight_algorithm(
    config: ModelConfig, *, shared: Shared = whole, weighted: bool = True, **client: Any
) -> Algorithm[Weights, WeightsUpload, Weights]:
    """Make an algorithm whose server keeps the average of the clients' shared tensors.

    Args:
        config: of the run; the first weights are those of its first model.
        shared: which tensors travel.
        weighted: count each client by its number of samples; else alike.
        client: of the `Algorithm`'s other fields; a client takes the shared tensors over before it
            evaluates, unless `load_broadcast` says otherwise.
    """

    def start() -> tuple[Weights, Weights]:
        first = Weights(weights.flat(shared(models.initial_model(config))))
        return first, first

    def aggregate(
        state: Weights, uploads: Sequence[WeightsUpload], factors: Sequence[float] | None = None
    ) -> tuple[Weights, Weights]:
        mean = weights.mean(uploads, weighted, factors=factors)
        return mean, mean

    def load_broadcast(model: SplitModel, batches: Batches, broadcast: Weights) -> None:
        weights.assign(shared(model), broadcast.weights_P)

    return Algorithm(
        state=Weights,
        upload=WeightsUpload,
        broadcast=Weights,
        sizes={"P": weights.size(shared(models.initial_model(config)))},
        start=start,
        aggregate=aggregate,
        aggregate_weighted=aggregate,
        summing=WeightsSum(weighted),
        **{"load_broadcast": load_broadcast, **client},
    )
