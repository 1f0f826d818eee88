"""FedRep: clients share the base of their models, trained in turn with heads of their own.

Collins, Hassani, Mokhtari and Shakkottai, ICML 2021. https://arxiv.org/abs/2102.07078

Differences from the released code (PFLlib's FedRep), which the defaults follow: none in the
formulas. Batch normalisation counts in both phases, as there, and what it counts stays on the
client. A client's batches come in the order of its data unless the run shuffles them, as PFLlib
does. The accuracy is that of the received base under the client's own head, before the round's
training. The variant `paper` trains the head for 10 epochs, as the paper's experiments do, and lets
every client's base count alike (Algorithm 1); the momentum of 0.5 of those experiments is left out.

Shape suffix: P parameters of the base.
"""

from dataclasses import dataclass

from torch import nn

from edgeloop.algorithm import PFLLIB, Algorithm, AlgorithmInfo, Batches, Count, ModelConfig
from edgeloop.knowledge.weight_algorithm import base, upload, weight_algorithm
from edgeloop.knowledge.weights import Weights, WeightsUpload
from edgeloop.models.split import SplitModel
from edgeloop.training.sgd import cross_entropy, train_sgd

INFO = AlgorithmInfo(
    title="FedRep",
    runs_in=("simulation", "mqtt"),
    up="the base (P floats), not the head",
    down="the base (P floats), not the head",
    paper="Collins et al., ICML 2021, arXiv:2102.07078",
    variants={
        "released": {},
        "pfllib": PFLLIB,
        "paper": {"head_epochs": 10, "weighted": False},
    },
    same_architecture=True,
    averages=True,
)


@dataclass(frozen=True)
class Config(ModelConfig):
    """Hyperparameters.

    Attributes:
        seed: the run's seed; the first weights are drawn from it.
        head_epochs: local epochs per round of the head alone, which come first; tau counts their
            steps.
        local_epochs: local epochs per round of the base alone (E).
        local_lr: learning rate of base (eta) and head (alpha).
        weighted: weight each client's base by its number of samples.
    """

    head_epochs: Count = 1
    weighted: bool = True


def build(config: Config) -> Algorithm[Weights, WeightsUpload, Weights]:
    """Bind server and client to one configuration."""

    def train(model: SplitModel, batches: Batches, broadcast: Weights) -> WeightsUpload:
        heads, bases = config.head_epochs, config.local_epochs
        train_part(model, model.head, batches, range(heads), config.local_lr)
        train_part(model, model.base, batches, range(heads, heads + bases), config.local_lr)
        return upload(model, batches, base)

    return weight_algorithm(
        config,
        shared=base,
        weighted=config.weighted,
        loss=cross_entropy,
        train=train,
    )


def train_part(
    model: SplitModel, part: nn.Module, batches: Batches, epochs: range, lr: float
) -> None:
    """Train one half of a model in place, in these epochs, while the other stands still."""
    train_sgd(
        model,
        batches,
        cross_entropy,
        epochs=len(epochs),
        lr=lr,
        first_epoch=epochs.start,
        params=list(part.parameters()),
    )
