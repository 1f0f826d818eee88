"""LG-FedAvg: every client has a base of its own, the server averages the heads.

Liang, Liu, Ziyin, Salakhutdinov and Morency, FL at NeurIPS 2019. https://arxiv.org/abs/2001.01523

Differences from the released code (HtFLlib's LG-FedAvg), which the defaults follow: none in the
formulas. The first global head is the first client's, as there. The accuracy is that of each
client's own base under the global head, before the round's training.

Shape suffixes: C classes, K features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edgeloop import models
from edgeloop.algorithm import PFLLIB, Algorithm, AlgorithmInfo, ModelConfig, Recipe, UploadKind
from edgeloop.knowledge import heads
from edgeloop.knowledge.heads import Head, HeadUpload
from edgeloop.knowledge.sums import HeadSum
from edgeloop.training.sgd import cross_entropy

INFO = AlgorithmInfo(
    title="LG-FedAvg",
    runs_in=("simulation", "mqtt"),
    up="the head (C x K + C floats)",
    down="the head (C x K + C floats)",
    paper="Liang et al., FL at NeurIPS 2019, arXiv:2001.01523",
    variants={"released": {}, "pfllib": PFLLIB},
    linear_head_only=True,
    upload=UploadKind("head"),
    numbers=("M (K + 1) C", "M (K + 1) C"),
    averages=True,
)


@dataclass(frozen=True)
class Config(ModelConfig):
    """Hyperparameters.

    Attributes:
        architecture: of the client whose first head is everybody's.
        seed: the run's seed; the first head is drawn from it.
    """


def build(config: Config) -> Algorithm[Head, HeadUpload, Head]:
    """Bind server and client to one configuration."""

    def start() -> tuple[Head, Head]:
        first = Head(*heads.arrays(models.initial_model(config)))
        return first, first

    def aggregate(
        state: Head, uploads: Sequence[HeadUpload], factors: Sequence[float] | None = None
    ) -> tuple[Head, Head]:
        mean = heads.average(uploads, factors=factors)
        return mean, mean

    recipe = Recipe[HeadUpload, Head](
        loss=cross_entropy,
        epochs=config.local_epochs,
        lr=config.local_lr,
        upload=lambda model, batches, seen: HeadUpload(len(batches.labels), *heads.arrays(model)),
    )

    return Algorithm(
        state=Head,
        upload=HeadUpload,
        broadcast=Head,
        sizes={"C": config.classes, "K": config.width},
        start=start,
        aggregate=aggregate,
        aggregate_weighted=aggregate,
        summing=HeadSum(config.classes, config.width),
        recipe=recipe,
        load_broadcast=heads.load_broadcast,
    )
