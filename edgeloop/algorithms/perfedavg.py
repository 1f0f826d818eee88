"""Per-FedAvg: a global model that is good after one step of each client's own.

Fallah, Mokhtari and Ozdaglar, NeurIPS 2020. https://arxiv.org/abs/2002.07948

Differences from the released code (PFLlib's PerAvg), which the defaults follow: the step before an
evaluation takes the first batch of a client's data, and every epoch has the same pairs of batches,
unless the run shuffles them, as PFLlib does; a client with fewer samples than two batches does not
train and uploads the broadcast, and with fewer than one it is evaluated without the step, where
PFLlib stops. As there, the gradient at the adapted weights is applied to the weights before the
step, without the Hessian term; the outer step size is the inner one (the flag for it is not read);
a client trains twice a round; and what batch normalisation counts during the step before an
evaluation stays counted. The variant `paper` has the Hessian term: the gradient of L(theta - alpha
grad L(theta; x1); x2) in theta, by double backward; the paper draws a third batch for the Hessian,
here it is that of the inner step's. It trains once a round, with the outer step size 0.001 of
PFLlib's older scripts. The accuracy is that of the global model after one step on every client,
before the round's training.

Shape suffix: P parameters of the model.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from torch.func import functional_call

from edgeloop.algorithm import (
    PFLLIB,
    Algorithm,
    AlgorithmInfo,
    Batch,
    Batches,
    Count,
    ModelConfig,
    Positive,
)
from edgeloop.knowledge import weights
from edgeloop.knowledge.weight_algorithm import upload, weight_algorithm
from edgeloop.knowledge.weights import Weights, WeightsUpload
from edgeloop.models.split import SplitModel
from edgeloop.training import losses
from edgeloop.training.sgd import cross_entropy, train_sgd

INFO = AlgorithmInfo(
    title="Per-FedAvg",
    runs_in=("simulation", "mqtt"),
    up="the whole model (P floats)",
    down="the whole model (P floats)",
    paper="Fallah et al., NeurIPS 2020, arXiv:2002.07948",
    variants={
        "released": {},
        "pfllib": PFLLIB,
        "paper": {"repeats": 1, "outer_lr": 0.001, "second_order": True},
    },
    same_architecture=True,
    averages=True,
    plain_sgd=True,
)


@dataclass(frozen=True)
class Config(ModelConfig):
    """Hyperparameters.

    Attributes:
        seed: the run's seed; the first weights are drawn from it.
        local_epochs: local epochs per round (E); tau counts their steps, each on a pair of batches.
        repeats: how often a client trains its local epochs in a round.
        local_lr: learning rate of the inner step, and of the evaluation's step (alpha).
        outer_lr: learning rate of the outer step (beta); None for alpha.
        second_order: differentiate through the inner step, too; otherwise its Hessian is left out.
    """

    repeats: Count = 2
    outer_lr: Positive | None = None
    second_order: bool = False


def build(config: Config) -> Algorithm[Weights, WeightsUpload, Weights]:
    """Bind server and client to one configuration."""
    outer_lr = config.local_lr if config.outer_lr is None else config.outer_lr
    take = second_order_step if config.second_order else first_order_step

    def load_broadcast(model: SplitModel, batches: Batches, broadcast: Weights) -> None:
        weights.assign(model.own(), broadcast.weights_P)
        adapt(model, batches, config.local_lr)

    def train(model: SplitModel, batches: Batches, broadcast: Weights) -> WeightsUpload:
        weights.assign(model.own(), broadcast.weights_P)
        model.train()
        for epoch in range(config.repeats * config.local_epochs):
            for first, second in pairs(batches, epoch):
                take(model, first, second, config.local_lr, outer_lr)
        return upload(model, batches)

    return weight_algorithm(
        config,
        loss=cross_entropy,
        train=train,
        load_broadcast=load_broadcast,
    )


def adapt(model: SplitModel, batches: Batches, lr: float) -> None:
    """Take one step of SGD in place on the first batch; none where the samples make no batch.

    Of shuffled batches it is one of an order of its own.
    """
    for inputs, labels_B in islice(batches.epoch("adapt"), 1):
        first = Batches(inputs, labels_B, batches.size)
        train_sgd(model, first, cross_entropy, epochs=1, lr=lr)


def pairs(batches: Batches, epoch: int) -> Iterator[tuple[Batch, Batch]]:
    """Return an epoch's batches two by two; one that is left over is left out."""
    singles = batches.epoch(epoch)
    return zip(singles, singles, strict=False)


def first_order_step(
    model: SplitModel, first: Batch, second: Batch, lr: float, outer_lr: float
) -> None:
    """Take one first-order meta-step in place.

    theta' = theta - alpha grad L(theta; first), then theta <- theta - beta grad L(theta'; second).
    """
    before = [parameter.detach().clone() for parameter in model.own()]
    sgd_step(model.own(), gradients(model, first), lr)
    ahead = gradients(model, second, noted=True)
    with torch.no_grad():
        for parameter, old in zip(model.own(), before, strict=True):
            parameter.copy_(old)
    sgd_step(model.own(), ahead, outer_lr)


def second_order_step(
    model: SplitModel, first: Batch, second: Batch, lr: float, outer_lr: float
) -> None:
    """Take one meta-step in place, down the gradient of L(theta'; second) in theta.

    That is (I - alpha H) grad L(theta'; second), H the Hessian of L(.; first) at theta.
    """
    own = {id(parameter) for parameter in model.own()}
    names = [name for name, parameter in model.named_parameters() if id(parameter) in own]
    inner = torch.autograd.grad(cross_entropy(model, first), model.own(), create_graph=True)
    pairs = zip(names, model.own(), inner, strict=True)
    ahead = {name: parameter - lr * slope for name, parameter, slope in pairs}

    def forward(inputs: Tensor) -> tuple[Tensor, Tensor]:
        outputs: tuple[Tensor, Tensor] = functional_call(model, ahead, (inputs,))
        return outputs

    loss = cross_entropy(forward, second)
    losses.note(loss)
    gradient = torch.autograd.grad(loss, model.own())
    sgd_step(model.own(), gradient, outer_lr)


def gradients(model: SplitModel, batch: Batch, noted: bool = False) -> tuple[Tensor, ...]:
    """Return the loss's gradient, one tensor for each parameter; the loss is noted if wanted."""
    loss = cross_entropy(model, batch)
    if noted:
        losses.note(loss)
    return torch.autograd.grad(loss, model.own())


@torch.no_grad()
def sgd_step(parameters: Sequence[Tensor], gradient: Sequence[Tensor], lr: float) -> None:
    """Subtract lr times a gradient, in place."""
    for parameter, slope in zip(parameters, gradient, strict=True):
        parameter.sub_(slope, alpha=lr)
