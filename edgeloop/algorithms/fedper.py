"""FedPer: clients share the base of their models; each keeps a head of its own.

Arivazhagan, Aggarwal, Singh and Choudhary, 2019. https://arxiv.org/abs/1912.00818

Differences from the released code (PFLlib's FedPer), which the defaults follow: none in the
formulas. The personal part is the last linear layer; FL-IoT keeps the whole block of linear layers,
and the paper tries larger personal parts too. A client's batches come in the order of its data
unless the run shuffles them, as PFLlib does. The accuracy is that of the received base under the
client's own head, before the round's training. What batch normalisation counts stays on the client.

Shape suffix: P parameters of the base.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edgeloop import models
from edgeloop.algorithm import (
    PFLLIB,
    Algorithm,
    AlgorithmInfo,
    Batches,
    ModelConfig,
    Recipe,
    UploadKind,
)
from edgeloop.knowledge import weights
from edgeloop.knowledge.sums import WeightsSum
from edgeloop.knowledge.weights import Weights, WeightsUpload
from edgeloop.models.split import SplitModel
from edgeloop.training.sgd import cross_entropy

INFO = AlgorithmInfo(
    title="FedPer",
    runs_in=("simulation", "mqtt"),
    up="the base (P floats), not the head",
    down="the base (P floats), not the head",
    paper="Arivazhagan et al. 2019, arXiv:1912.00818",
    variants={"released": {}, "pfllib": PFLLIB},
    same_architecture=True,
    upload=UploadKind("base"),
    averages=True,
)


@dataclass(frozen=True)
class Config(ModelConfig):
    """Hyperparameters.

    Attributes:
        seed: the run's seed; the first weights are drawn from it.
        local_epochs: e, of base and head together.
    """


def build(config: Config) -> Algorithm[Weights, WeightsUpload, Weights]:
    """Bind server and client to one configuration."""

    def start() -> tuple[Weights, Weights]:
        first = Weights(weights.flat(models.initial_model(config).base.parameters()))
        return first, first

    def aggregate(
        state: Weights, uploads: Sequence[WeightsUpload], factors: Sequence[float] | None = None
    ) -> tuple[Weights, Weights]:
        mean = weights.mean(uploads, factors=factors)
        return mean, mean

    recipe = Recipe[WeightsUpload, Weights](
        loss=cross_entropy,
        epochs=config.local_epochs,
        lr=config.local_lr,
        upload=lambda model, batches, seen: WeightsUpload(
            len(batches.labels), weights.flat(model.base.parameters())
        ),
    )

    return Algorithm(
        state=Weights,
        upload=WeightsUpload,
        broadcast=Weights,
        sizes={"P": weights.size(models.initial_model(config).base.parameters())},
        start=start,
        aggregate=aggregate,
        aggregate_weighted=aggregate,
        summing=WeightsSum(),
        recipe=recipe,
        load_broadcast=load_broadcast,
    )


def load_broadcast(model: SplitModel, batches: Batches, broadcast: Weights) -> None:
    """Take over the global base; the head stays."""
    weights.assign(model.base.parameters(), broadcast.weights_P)
