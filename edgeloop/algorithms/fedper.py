"""FedPer: clients share the base of their models; each keeps a head of its own.

Arivazhagan, Aggarwal, Singh and Choudhary, 2019. https://arxiv.org/abs/1912.00818

Differences from the released code (PFLlib's FedPer), which the defaults follow: none in the
formulas. The personal part is the last linear layer; FL-IoT keeps the whole block of linear layers,
and the paper tries larger personal parts too. A client's batches come in the order of its data
unless the run shuffles them, as PFLlib does. The accuracy is that of the received base under the
client's own head, before the round's training. What batch normalisation counts stays on the client.

Shape suffix: P parameters of the base.
"""

from dataclasses import dataclass

from edgeloop.algorithm import (
    PFLLIB,
    Algorithm,
    AlgorithmInfo,
    ModelConfig,
    UploadKind,
)
from edgeloop.knowledge.weight_algorithm import base, plain_recipe, weight_algorithm
from edgeloop.knowledge.weights import Weights, WeightsUpload
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
        local_epochs: local epochs per round of base and head together (e).
    """


def build(config: Config) -> Algorithm[Weights, WeightsUpload, Weights]:
    """Bind server and client to one configuration."""
    return weight_algorithm(
        config,
        shared=base,
        recipe=plain_recipe(config, cross_entropy, base),
    )
