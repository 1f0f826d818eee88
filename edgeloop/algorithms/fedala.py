"""FedALA: each client blends the global model into its own, element by element, before it trains.

Zhang, Hua, Wang, Song, Xue, Ma and Guan, AAAI 2023. https://arxiv.org/abs/2212.01197

Differences from the released code (FedALA and PFLlib), which the defaults follow: the start phase
ends after `start_passes` passes at the latest, where the code may continue for ever. Nothing is
adapted where the global model equals the client's in every entry, as in round 0, where the code
asks whether the gaps of the first tensor sum to 0. The blend is learned in training mode, where the
code takes the mode that the client's model was left in; the batch normalisation of the client's
model sees none of it. The slice's start comes from the run's seed and the round. A client whose
slice is empty blends with the weights it has. The variant `paper` ends the start phase at a
deviation of 0.01 where the code takes 0.1, and has the paper's learning rate. The paper counts the
higher layers in modules, the code in tensors: 2 tensors are the last linear layer. The paper draws
the local samples at random, the code takes one slice of neighbours; all variants do as the code.

Shape suffixes: B samples, C classes, P parameters of the model, H parameters of its higher layers.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, cast

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from edgeloop.algorithm import (
    PFLLIB,
    Algorithm,
    AlgorithmInfo,
    Batch,
    Batches,
    Count,
    ModelConfig,
    NotNegative,
    Positive,
)
from edgeloop.knowledge import weights
from edgeloop.knowledge.weight_algorithm import upload, weight_algorithm
from edgeloop.knowledge.weights import Weights, WeightsUpload
from edgeloop.models.split import SplitModel
from edgeloop.seeds import derive
from edgeloop.training.sgd import cross_entropy, train_sgd

INFO = AlgorithmInfo(
    title="FedALA",
    runs_in=("simulation", "mqtt"),
    up="the whole model (P floats)",
    down="the whole model (P floats)",
    paper="Zhang et al., AAAI 2023, arXiv:2212.01197",
    variants={"released": {}, "pfllib": PFLLIB, "paper": {"threshold": 0.01, **PFLLIB}},
    same_architecture=True,
    averages=True,
)

WINDOW = 10
"""Passes whose losses must be close together to end the start phase."""


@dataclass(frozen=True)
class Config(ModelConfig):
    """Hyperparameters.

    Attributes:
        seed: the run's seed; the first weights are drawn from it.
        tensors: number of the model's last tensors that are blended (p); 0 for all.
        share: fraction of the local samples on which the blend is learned (s).
        blend_lr: learning rate of the element-wise weights (eta).
        threshold: the start phase ends when the losses of its last ten passes have a standard
            deviation below this.
        start_passes: largest number of passes of the start phase; ours.
    """

    tensors: Annotated[int, Ge(0)] = 2
    share: Annotated[float, Gt(0), Le(1)] = 0.8
    blend_lr: Positive = 1.0
    threshold: NotNegative = 0.1
    start_passes: Count = 100


class Blend(nn.Module):
    """What a client keeps: how much of the global model each entry takes.

    Attributes:
        weights_H: W, from 0, the client's own entry, to 1, the global one; ones at first.
        settled: 1 when the start phase is over, else 0.
    """

    weights_H: Tensor
    settled: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("weights_H", torch.ones(size))
        self.register_buffer("settled", torch.zeros((), dtype=torch.int64))


def build(config: Config) -> Algorithm[Weights, WeightsUpload, Weights]:
    """Bind server and client to one configuration."""

    def init_client_state(model: SplitModel) -> None:
        model.kept["blend"] = Blend(weights.size(top_tensors(model, config)))

    def train(model: SplitModel, batches: Batches, broadcast: Weights) -> WeightsUpload:
        train_sgd(model, batches, cross_entropy, epochs=config.local_epochs, lr=config.local_lr)
        return upload(model, batches)

    return weight_algorithm(
        config,
        loss=cross_entropy,
        train=train,
        init_client_state=init_client_state,
        load_broadcast=lambda model, batches, broadcast: adapt(model, batches, broadcast, config),
    )


def top_tensors(model: SplitModel, config: Config) -> list[nn.Parameter]:
    """Return the last p tensors of the model, all of them for p = 0."""
    return model.own()[-config.tensors :]


def adapt(model: SplitModel, batches: Batches, broadcast: Weights, config: Config) -> None:
    """Take over the global model: the lower tensors as they are, the higher ones blended.

    Blended is local + (global - local) * W, with W learned on a slice of the local samples.
    """
    local_P = weights.concatenate(model.own())
    weights.assign(model.own(), broadcast.weights_P)
    gap_P = weights.concatenate(model.own()) - local_P
    if not gap_P.any():
        return
    blend = cast(Blend, model.kept["blend"])
    size = len(blend.weights_H)
    local_H, gap_H = local_P[-size:], gap_P[-size:]
    train_blend(model, blend, local_H, gap_H, sample_slice(batches, config), config)
    weights.assign(top_tensors(model, config), local_H + gap_H * blend.weights_H)


def sample_slice(batches: Batches, config: Config) -> list[Batch]:
    """Return a slice of int(s N) neighbouring samples from a random start, the last batch as it is.

    The start is drawn from the client's seed of the round.
    """
    samples = len(batches.labels)
    count = int(config.share * samples)
    random = torch.Generator().manual_seed(derive(batches.seed, "slice"))
    start = int(torch.randint(samples - count + 1, (), generator=random))
    inputs, labels = (array[start : start + count] for array in (batches.inputs, batches.labels))
    size = batches.size
    return list(zip(inputs.split(size), labels.split(size), strict=True)) if count else []


def train_blend(
    model: SplitModel,
    blend: Blend,
    local_H: Tensor,
    gap_H: Tensor,
    batches: Sequence[Batch],
    config: Config,
) -> None:
    """Learn W in place: pass after pass the first time, then one pass a round.

    The model holds the global weights and is left as it is: a copy of it is tried.
    """
    trial = copy.deepcopy(model).train()
    losses: list[float] = []
    most = 1 if blend.settled else config.start_passes
    while batches and len(losses) < most and not has_converged(losses, config.threshold):
        losses.append(one_pass(trial, blend, local_H, gap_H, batches, config))
    if losses:
        blend.settled.fill_(1)


def has_converged(losses: Sequence[float], threshold: float) -> bool:
    """Return whether there are more than ten losses, and the last ten deviate by less than this."""
    return len(losses) > WINDOW and float(np.std(losses[-WINDOW:])) < threshold


def one_pass(
    trial: SplitModel,
    blend: Blend,
    local_H: Tensor,
    gap_H: Tensor,
    batches: Sequence[Batch],
    config: Config,
) -> float:
    """Take a step of W on each batch, and return the loss of the last one.

    W <- clip(W - eta * slope * (global - local), 0, 1), with the slope of the cross-entropy at the
    blended tensors.
    """
    last = torch.zeros(())
    top = top_tensors(trial, config)
    for batch in batches:
        weights.assign(top, local_H + gap_H * blend.weights_H)
        last = cross_entropy(trial, batch)
        slope_H = weights.concatenate(torch.autograd.grad(last, top))
        blend.weights_H.sub_(config.blend_lr * slope_H * gap_H).clamp_(0, 1)
    return last.item()
