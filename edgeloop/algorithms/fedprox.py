"""FedProx: FedAvg whose clients are held near the global model while they train.

Li, Sahu, Zaheer, Sanjabi, Talwalkar and Smith, MLSys 2020. https://arxiv.org/abs/1812.06127

Differences from the released code (PFLlib and FL-IoT), which the defaults follow: none in the
formulas; mu is 1e-5, as in FL-IoT's scripts, where PFLlib's default is 0, which is FedAvg. So small
a mu hardly holds. The variant `paper` takes 1, the paper's best of 0.001, 0.01, 0.1 and 1 for MNIST
and FEMNIST. The paper draws clients in proportion to their samples and averages them alike; here
all take part and count by their samples, as in PFLlib. Its clients of unequal amounts of work are
not modelled. A client's batches come in the order of its data unless the run shuffles them, as
PFLlib does. The accuracy is the global model's on every client's own test samples, before the
round's training.

Shape suffix: P parameters of the model.
"""

from dataclasses import dataclass

from edgeloop.algorithm import (
    PFLLIB,
    Algorithm,
    AlgorithmInfo,
    Batches,
    ModelConfig,
    NotNegative,
    UploadKind,
)
from edgeloop.knowledge import weights
from edgeloop.knowledge.weight_algorithm import upload, weight_algorithm
from edgeloop.knowledge.weights import Weights, WeightsUpload
from edgeloop.models.split import SplitModel
from edgeloop.training.sgd import cross_entropy, train_sgd

INFO = AlgorithmInfo(
    title="FedProx",
    runs_in=("simulation", "mqtt"),
    up="the whole model (P floats)",
    down="the whole model (P floats)",
    paper="Li et al., MLSys 2020, arXiv:1812.06127",
    variants={"released": {}, "pfllib": PFLLIB, "paper": {"mu": 1.0}},
    same_architecture=True,
    upload=UploadKind("whole"),
    averages=True,
)


@dataclass(frozen=True)
class Config(ModelConfig):
    """Hyperparameters.

    Attributes:
        seed: the run's seed; the first weights are drawn from it.
        mu: weight of the proximal term; 0 is FedAvg.
    """

    mu: NotNegative = 1e-5


def build(config: Config) -> Algorithm[Weights, WeightsUpload, Weights]:
    """Bind server and client to one configuration."""

    def train(model: SplitModel, batches: Batches, broadcast: Weights) -> WeightsUpload:
        train_near_global(model, batches, config)
        return upload(model, batches)

    return weight_algorithm(
        config,
        loss=cross_entropy,
        train=train,
    )


def train_near_global(model: SplitModel, batches: Batches, config: Config) -> None:
    """Train in place on h_k = F_k + the proximal term, from the global model, which it holds.

    F_k, the cross-entropy, is the algorithm's `loss`: the part of the objective that a batch makes.
    """
    ours = model.own()
    anchors = [parameter.detach().clone() for parameter in ours]
    train_sgd(
        model,
        batches,
        lambda forward, batch: (
            cross_entropy(forward, batch) + weights.proximal(ours, anchors, config.mu)
        ),
        epochs=config.local_epochs,
        lr=config.local_lr,
    )
