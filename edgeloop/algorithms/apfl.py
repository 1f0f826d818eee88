"""APFL: each client mixes a model of its own with the global one, and learns how much of each.

Deng, Kamani and Mahdavi, 2020. https://arxiv.org/abs/2003.13461

What is done, and the differences from the released code (PFLlib's APFL), which the defaults follow.
With w the client's copy of the global model, v its own, g their gradients on a batch, and alpha the
share of v: w <- w - eta g_w; v <- v - eta g_v; then, with v and w after and g before their steps,
alpha <- clip(alpha - eta (<v - w, alpha g_v + (1 - alpha) g_w> + 0.02 alpha), 0, 1), one alpha for
the whole model. After the round's batches v <- alpha v + (1 - alpha) w; that is the personal model,
which is evaluated until the next training. Alpha starts at 0.5, where PFLlib's default is 1.
Batches come in the order of the data unless the run shuffles them, as PFLlib does.

The variant `paper` takes the personal model m = alpha v + (1 - alpha) w as Algorithm 1 does: w as
above, v <- v - eta alpha g_m, alpha <- clip(alpha - eta <v - w, g_m>, 0, 1), all from the values
before the step; v is never replaced by the mixture, the evaluation mixes it with the w received,
and clients count alike in the average. The clip is ours there, to keep alpha a share.

The client's model is the personal one. Beside it a client keeps alpha, a copy of the global model
(its parameters are the broadcast's again each round, what its batch normalisation counts lasts and
never travels), and v where it differs from the personal model.

Shape suffix: P parameters of the model.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, cast

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from edgeloop.algorithm import PFLLIB, Algorithm, AlgorithmInfo, Batch, Batches, ModelConfig
from edgeloop.knowledge import weights
from edgeloop.knowledge.weight_algorithm import weight_algorithm
from edgeloop.knowledge.weights import Weights, WeightsUpload
from edgeloop.models.split import SplitModel
from edgeloop.training import losses
from edgeloop.training.sgd import cross_entropy

INFO = AlgorithmInfo(
    title="APFL",
    runs_in=("simulation", "mqtt"),
    up="the whole model (P floats), not the personal one",
    down="the whole model (P floats)",
    paper="Deng et al. 2020, arXiv:2003.13461",
    variants={
        "released": {},
        "pfllib": PFLLIB,
        "paper": {"through_mixture": True, "weighted": False},
    },
    same_architecture=True,
    averages=True,
    plain_sgd=True,
)

DECAY = 0.02
"""What the released code adds to alpha's gradient for each unit of alpha."""


@dataclass(frozen=True)
class Config(ModelConfig):
    """Hyperparameters.

    Attributes:
        seed: the run's seed; the first weights are drawn from it.
        local_epochs: local epochs per round (E); tau counts their steps.
        local_lr: learning rate of both models and of alpha (eta).
        alpha: initial share of the client's own model in the mixture.
        through_mixture: train v through the mixture and keep both; otherwise train v alone, then
            mix it.
        weighted: weight each client's model by its number of samples.
    """

    alpha: Annotated[float, Ge(0), Le(1)] = 0.5
    through_mixture: bool = False
    weighted: bool = True


def build(config: Config) -> Algorithm[Weights, WeightsUpload, Weights]:
    """Bind server and client to one configuration."""

    def load_broadcast(model: SplitModel, batches: Batches, broadcast: Weights) -> None:
        kept = client_state(model)
        weights.assign(kept.shared.own(), broadcast.weights_P)
        if config.through_mixture:
            mix(model.own(), kept.local, kept.shared.own(), kept.alpha)

    def train(model: SplitModel, batches: Batches, broadcast: Weights) -> WeightsUpload:
        load_broadcast(model, batches, broadcast)
        descend(model, batches, config)
        return WeightsUpload(len(batches.labels), weights.flat(client_state(model).shared.own()))

    return weight_algorithm(
        config,
        weighted=config.weighted,
        loss=cross_entropy,
        train=train,
        init_client_state=partial(init_client_state, config=config),
        load_broadcast=load_broadcast,
    )


def descend(model: SplitModel, batches: Batches, config: Config) -> None:
    """Train a client's two models in place, and mix them where the code does it at the end."""
    step = paper_step if config.through_mixture else released_step
    model.train()
    for epoch in range(config.local_epochs):
        for batch in batches.epoch(epoch):
            step(model, batch, config.local_lr)
    if not config.through_mixture:
        kept = client_state(model)
        mix(model.own(), model.own(), kept.shared.own(), kept.alpha)


def init_client_state(model: SplitModel, config: Config) -> None:
    """Add the shared model, alpha and, if it is mixed of it, the local one to a client's model."""
    shared = copy.deepcopy(model)
    if config.through_mixture:
        model.kept["local"] = as_buffers([parameter.detach().clone() for parameter in model.own()])
    model.kept["alpha"] = as_buffers([torch.tensor(config.alpha)])
    model.kept["global"] = shared


@dataclass(frozen=True)
class ClientState:
    """What a client keeps beside its personal model.

    Attributes:
        alpha: (), the share of v; changed in place.
        shared: w.
        local: v; the personal model's own parameters where those are v.
    """

    alpha: Tensor
    shared: SplitModel
    local: Sequence[Tensor]


def client_state(model: SplitModel) -> ClientState:
    """Return what `init_client_state` gave a client, not a copy."""
    shared = cast(SplitModel, model.kept["global"])
    local = list(model.kept["local"].parameters()) if "local" in model.kept else model.own()
    return ClientState(next(model.kept["alpha"].parameters()), shared, local)


def as_buffers(tensors: Sequence[Tensor]) -> nn.ParameterList:
    """Return tensors as a module that saves them and that no gradient reaches."""
    return nn.ParameterList([nn.Parameter(tensor, requires_grad=False) for tensor in tensors])


def gradients(model: SplitModel, batch: Batch, noted: bool = False) -> tuple[Tensor, ...]:
    """Return the loss's gradient, one tensor for each parameter; the loss is noted if wanted."""
    loss = cross_entropy(model, batch)
    if noted:
        losses.note(loss)
    return torch.autograd.grad(loss, model.own())


@torch.no_grad()
def mix(
    into: Sequence[Tensor], local: Sequence[Tensor], shared: Sequence[Tensor], alpha: Tensor
) -> None:
    """Set parameters to alpha v + (1 - alpha) w, in place."""
    for target, v, w in zip(into, local, shared, strict=True):
        target.copy_(alpha * v + (1 - alpha) * w)


@torch.no_grad()
def sgd_step(parameters: Sequence[Tensor], gradient: Sequence[Tensor], lr: float | Tensor) -> None:
    """Subtract lr times a gradient, in place."""
    for parameter, slope in zip(parameters, gradient, strict=True):
        parameter.sub_(lr * slope)


@torch.no_grad()
def alpha_gradient(
    local: Sequence[Tensor], shared: Sequence[Tensor], gradient: Sequence[Tensor]
) -> Tensor:
    """Return the loss's gradient along alpha, <v - w, gradient of the mixture>, a scalar."""
    parts = [((v - w) * g).sum() for v, w, g in zip(local, shared, gradient, strict=True)]
    return torch.stack(parts).sum()


@torch.no_grad()
def update_alpha(alpha: Tensor, gradient: Tensor, lr: float) -> None:
    """Take one step of alpha in place, and keep it in 0 ... 1."""
    alpha.copy_((alpha - lr * gradient).clamp(0, 1))


def released_step(model: SplitModel, batch: Batch, lr: float) -> None:
    """Take the released code's step in place: w, v, then alpha with both as they are now."""
    kept = client_state(model)
    of_w = gradients(kept.shared, batch)
    sgd_step(kept.shared.own(), of_w, lr)
    of_v = gradients(model, batch, noted=True)
    sgd_step(kept.local, of_v, lr)
    alpha = kept.alpha
    blended = [alpha * v + (1 - alpha) * w for v, w in zip(of_v, of_w, strict=True)]
    along = alpha_gradient(kept.local, kept.shared.own(), blended)
    update_alpha(alpha, along + DECAY * alpha, lr)


def paper_step(model: SplitModel, batch: Batch, lr: float) -> None:
    """Take the paper's step in place: w, v and alpha, all from what was before, then mix again."""
    kept = client_state(model)
    of_w, of_mixture = gradients(kept.shared, batch), gradients(model, batch, noted=True)
    along = alpha_gradient(kept.local, kept.shared.own(), of_mixture)
    sgd_step(kept.shared.own(), of_w, lr)
    sgd_step(kept.local, of_mixture, lr * kept.alpha)
    update_alpha(kept.alpha, along, lr)
    mix(model.own(), kept.local, kept.shared.own(), kept.alpha)
