"""FedBN: FedAvg in which batch normalisation stays with each client.

Li, Jiang, Zhang, Kamp and Dou, ICLR 2021. https://arxiv.org/abs/2102.07623

Scale, shift and statistics of every batch normalisation are the client's own; all other parameters
are averaged. A model without batch normalisation makes it FedAvg.

Differences from the released code (PFLlib's FedBN), which the defaults follow: none in the
formulas. The variant `paper` has clients count alike, as Algorithm 1 does. The accuracy is that of
the global model with the client's own batch normalisation, on its own test samples, before the
round's training.

Shape suffix: P parameters that travel.
"""

from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgeloop.algorithm import PFLLIB, Algorithm, AlgorithmInfo, ModelConfig
from edgeloop.knowledge.weight_algorithm import plain_recipe, weight_algorithm
from edgeloop.knowledge.weights import Weights, WeightsUpload
from edgeloop.models.split import SplitModel
from edgeloop.training.sgd import cross_entropy

INFO = AlgorithmInfo(
    title="FedBN",
    runs_in=("simulation", "mqtt"),
    up="the model without its batch normalisation (P floats)",
    down="the model without its batch normalisation (P floats)",
    paper="Li et al., ICLR 2021, arXiv:2102.07623",
    variants={"released": {}, "pfllib": PFLLIB, "paper": {"weighted": False}},
    same_architecture=True,
    averages=True,
)


@dataclass(frozen=True)
class Config(ModelConfig):
    """Hyperparameters.

    Attributes:
        seed: the run's seed; the first weights are drawn from it.
        weighted: weight each client's model by its number of samples.
    """

    weighted: bool = True


def build(config: Config) -> Algorithm[Weights, WeightsUpload, Weights]:
    """Bind server and client to one configuration."""
    return weight_algorithm(
        config,
        shared=shared_parameters,
        weighted=config.weighted,
        recipe=plain_recipe(config, cross_entropy, shared_parameters),
    )


def shared_parameters(model: SplitModel) -> list[nn.Parameter]:
    """Return the parameters of base and head that are no batch normalisation's, in their order."""
    normalising = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    own = {id(parameter) for module in normalising for parameter in module.parameters()}
    return [parameter for parameter in model.own() if id(parameter) not in own]
