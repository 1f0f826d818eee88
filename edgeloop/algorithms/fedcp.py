"""FedCP: a policy network divides each sample's features between a personal and a global head.

Zhang, Hua, Wang, Song, Xue, Ma and Guan, KDD 2023. https://arxiv.org/abs/2307.01217

Differences from the released code (FedCP and PFLlib), which the defaults follow: at evaluation the
masks are the softmax without noise, so that a prediction is the same each time and can be exported,
where the code draws Gumbel noise there too. In training the noise comes from the run's seed and the
round. Every client gets head and policy each round, and makes its context again from its personal
head, where the code gives both only to the clients that trained: a client that has not trained yet
keeps a random context there. The weight of the discrepancy is 5, as in the published command; the
code's own defaults are 0 and 1. The variant `pfllib` has the paper's learning rate. Batch
normalisation keeps its own statistics in base and global base, as there.

Shape suffixes: B samples, K features, C classes, S = 2 sides (personal, global), P parameters that
travel.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeloop import models
from edgeloop.algorithm import (
    PFLLIB,
    Algorithm,
    AlgorithmInfo,
    Batch,
    Batches,
    ModelConfig,
    NotNegative,
    softmax_scores,
)
from edgeloop.knowledge import mmd, weights
from edgeloop.knowledge.weights import Vector, WeightsUpload
from edgeloop.models.split import SplitModel
from edgeloop.seeds import derive, drawing
from edgeloop.training.sgd import cross_entropy, train_sgd

INFO = AlgorithmInfo(
    title="FedCP",
    runs_in=("simulation", "mqtt"),
    up="base, global head and policy network (P floats)",
    down="base, global head and policy network (P floats)",
    paper="Zhang et al., KDD 2023, arXiv:2307.01217",
    variants={"released": {}, "pfllib": PFLLIB},
    same_architecture=True,
    linear_head_only=True,
)


@dataclass(frozen=True)
class Config(ModelConfig):
    """Hyperparameters.

    Attributes:
        seed: the run's seed; first weights, the first context and the noise come from it.
        discrepancy: weight of the MMD between the features of the base and of the global base
            (lambda).
    """

    discrepancy: NotNegative = 5.0


@dataclass(frozen=True, eq=False)
class Shared:
    """What the server gives to every client, and keeps.

    Attributes:
        rounds: how many rounds it has averaged.
        weights_P: of base, global head and policy network, flattened.
    """

    rounds: int
    weights_P: Vector


class Policy(nn.Module):
    """The conditional policy network, and the context that it sees features in.

    Attributes:
        context_K: v, of unit length; the client's own, it does not travel.
    """

    context_K: Tensor

    def __init__(self, context_K: Tensor) -> None:
        super().__init__()
        width = len(context_K)
        self.wide = nn.Linear(width, 2 * width)
        self.norm = nn.LayerNorm(2 * width)
        self.register_buffer("context_K", F.normalize(context_K, dim=0))

    def forward(self, features_BK: Tensor) -> Tensor:
        """Return the scores (B, S, K) of the two sides for each feature."""
        scores_BD = F.relu(self.norm(self.wide(features_BK * self.context_K)))
        return scores_BD.reshape(-1, 2, features_BK.shape[1])


def build(config: Config) -> Algorithm[Shared, WeightsUpload, Shared]:
    """Bind server and client to one configuration."""
    first = models.initial_model(config)
    init_client_state(first, config)
    shared = shared_parameters(first)

    def start() -> tuple[Shared, Shared]:
        beginning = Shared(0, weights.flat(shared))
        return beginning, beginning

    def aggregate(state: Shared, uploads: Sequence[WeightsUpload]) -> tuple[Shared, Shared]:
        new = Shared(state.rounds + 1, weights.mean(uploads).weights_P)
        return new, new

    def train(model: SplitModel, batches: Batches, broadcast: Shared) -> WeightsUpload:
        noise = torch.Generator().manual_seed(derive(batches.seed, "noise"))
        train_sgd(
            model,
            batches,
            lambda forward, batch: objective(model, batch, noise, config.discrepancy),
            epochs=config.local_epochs,
            lr=config.local_lr,
            extra_params=list(model.kept["policy"].parameters()),
        )
        merge_heads(model)
        return WeightsUpload(len(batches.labels), weights.flat(shared_parameters(model)))

    return Algorithm(
        state=Shared,
        upload=WeightsUpload,
        broadcast=Shared,
        sizes={"P": weights.size(shared)},
        start=start,
        aggregate=aggregate,
        loss=cross_entropy,
        train=train,
        predict=predict,
        auc_scores=softmax_scores,
        init_client_state=partial(init_client_state, config=config),
        load_broadcast=load_broadcast,
    )


def init_client_state(model: SplitModel, config: Config) -> None:
    """Add the received base and head, frozen, and the policy to a client's model."""
    model.kept["base"] = copy.deepcopy(model.base).requires_grad_(False)
    model.kept["head"] = copy.deepcopy(model.head).requires_grad_(False)
    model.kept["policy"] = initial_policy(config)


def initial_policy(config: Config) -> Policy:
    """Draw the policy network that every client starts with, and its first context, in U(0, 1).

    The context is the released code's for the same seed.
    """
    with drawing(config.seed):
        context_K = torch.rand(config.width)
    with drawing(derive(config.seed, "policy")):
        return Policy(context_K)


def shared_parameters(model: SplitModel) -> list[nn.Parameter]:
    """Return the parameters of base, global head and policy network; the personal head stays."""
    parts = model.base, model.kept["head"], model.kept["policy"]
    return [parameter for part in parts for parameter in part.parameters()]


@torch.no_grad()
def load_broadcast(model: SplitModel, batches: Batches, broadcast: Shared) -> None:
    """Take over base, global head and policy; freeze a copy of the base; renew the context.

    The context v is the sum of the personal head's rows, of unit length. Before anyone has trained
    it stays random.
    """
    if broadcast.rounds:
        policy = cast(Policy, model.kept["policy"])
        policy.context_K.copy_(F.normalize(model.head.weight.sum(0), dim=0))
    weights.assign(shared_parameters(model), broadcast.weights_P)
    pairs = zip(model.kept["base"].parameters(), model.base.parameters(), strict=True)
    for frozen, received in pairs:
        frozen.copy_(received)


def objective(model: SplitModel, batch: Batch, noise: torch.Generator, weight: float) -> Tensor:
    """Return what a client minimises: cross-entropy of the mixed logits, plus the weighted MMD.

    The MMD is that of the base's features and the frozen global base's. It needs more than the
    model's outputs: the modules in `kept`, and the Gumbel noise of the masks. The algorithm's
    `loss` is the cross-entropy of the personal head alone.
    """
    inputs, labels_B = batch
    features_BK = model(inputs)[0]
    scores_BSK = model.kept["policy"](features_BK)
    scores_BSK = scores_BSK + gumbel(scores_BSK.shape, noise).to(scores_BSK.device)
    logits_BC = mixed_logits(model, features_BK, scores_BSK)
    global_BK = model.unify(torch.flatten(model.kept["base"](inputs), 1))
    away = mmd.discrepancy(features_BK, global_BK, mmd.FIXED)
    return F.cross_entropy(logits_BC, labels_B) + weight * away


def gumbel(shape: Sequence[int], noise: torch.Generator) -> Tensor:
    """Return Gumbel(0, 1) noise: minus the logarithm of exponential draws, which are above 0."""
    draws = torch.empty(tuple(shape)).exponential_(generator=noise)
    return -draws.clamp(min=torch.finfo(draws.dtype).tiny).log()


def mixed_logits(model: SplitModel, features_BK: Tensor, scores_BSK: Tensor) -> Tensor:
    """Return logits (B, C): personal head of the personal part, plus global head of the rest.

    The masks r and s = 1 - r are the softmax of the two sides' scores, temperature 1.
    """
    personal_BK, global_BK = scores_BSK.softmax(dim=1).unbind(dim=1)
    own_BC: Tensor = model.head(personal_BK * features_BK)
    shared_BC: Tensor = model.kept["head"](global_BK * features_BK)
    return own_BC + shared_BC


@torch.no_grad()
def merge_heads(model: SplitModel) -> None:
    """Make the global head half personal, half global: what a client uploads."""
    pairs = zip(model.kept["head"].parameters(), model.head.parameters(), strict=True)
    for shared, personal in pairs:
        shared.copy_((shared + personal) / 2)


def predict(model: SplitModel, inputs: Tensor, targets: None) -> Tensor:
    """Return the mixed logits (B, C), without noise in the masks."""
    features_BK = model(inputs)[0]
    return mixed_logits(model, features_BK, model.kept["policy"](features_BK))
