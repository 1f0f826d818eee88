"""FedAvg: every client trains the same model, the server averages the models.

McMahan, Moore, Ramage, Hampson and Arcas, AISTATS 2017. https://arxiv.org/abs/1602.05629

Differences from the released code (PFLlib), which the defaults follow: none in the formulas. A
client's batches come in the order of its data unless the run shuffles them, as PFLlib does. The
accuracy is the global model's on every client's own test samples, before the round's training.

Shape suffix: P parameters of the model.
"""

from dataclasses import dataclass

from edgeloop.algorithm import PFLLIB, Algorithm, AlgorithmInfo, ModelConfig, UploadKind
from edgeloop.knowledge.weight_algorithm import plain_recipe, weight_algorithm
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
    upload=UploadKind("whole"),
    averages=True,
)


@dataclass(frozen=True)
class Config(ModelConfig):
    """Hyperparameters.

    Attributes:
        seed: the run's seed; the first weights are drawn from it.
    """


def build(config: Config) -> Algorithm[Weights, WeightsUpload, Weights]:
    """Bind server and client to one configuration."""
    return weight_algorithm(
        config,
        recipe=plain_recipe(config, cross_entropy),
    )
