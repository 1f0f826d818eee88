"""GPFL: features are bent by a global and by a personal condition, and learn from both.

Zhang, Hua, Wang, Song, Xue, Ma, Cao and Guan, ICCV 2023. https://arxiv.org/abs/2308.10279

Differences from the released code (GPFL and PFLlib), which the defaults follow: weight decay is
written as a term of the loss, which has the same slope. The defaults are the published settings of
the four-layer CNN; `pfllib-resnet18` has those of ResNet-18 and fastText, `pfllib-har` those of
HAR-CNN. A client without a full batch has
label frequencies 0 where the code divides by 0. As in the code, the condition vectors are made of
the client's own embeddings, before the received ones replace them, and are 0 in round 0. The
variant `paper` makes them of the received embeddings, in every round, divides the personal one by C
(Eq. 7), and penalises the norms of embeddings and condition network where the code decays their
weights; its learning rate is that of the four-layer CNN.

Shape suffixes: B samples, K features, C classes, P parameters that travel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

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
from edgeloop.knowledge import weights
from edgeloop.knowledge.weights import Vector, WeightsUpload
from edgeloop.models.split import SplitModel
from edgeloop.seeds import derive, drawing
from edgeloop.training.sgd import cross_entropy, train_sgd

INFO = AlgorithmInfo(
    title="GPFL",
    runs_in=("simulation", "mqtt"),
    up="base, category embeddings and condition network (P floats)",
    down="base, category embeddings and condition network (P floats)",
    paper="Zhang et al., ICCV 2023, arXiv:2308.10279",
    variants={
        "released": {},
        "pfllib": PFLLIB,
        "pfllib-resnet18": {"local_lr": 0.1, "pull": 0.0001, "decay": 0.0},
        "pfllib-har": {"local_lr": 0.01, "decay": 1.0},
        "paper": {"conditions": "received", "divided": True, "penalty": "norm", **PFLLIB},
    },
    same_architecture=True,
)


@dataclass(frozen=True)
class Config(ModelConfig):
    """Hyperparameters.

    Attributes:
        seed: the run's seed; the first weights are drawn from it.
        pull: weight of the distance to the received embeddings (lambda).
        decay: weight of the penalty on embeddings and condition network (mu).
        conditions: embeddings that the condition vectors are computed from: the client's "own", or
            the "received" ones.
        divided: divide the personal condition by C.
        penalty: penalty that mu weights: "decay", half of the sum of squares; or "norm", the
            Euclidean norms.
    """

    pull: NotNegative = 0.01
    decay: NotNegative = 0.1
    conditions: Literal["own", "received"] = "own"
    divided: bool = False
    penalty: Literal["decay", "norm"] = "decay"


@dataclass(frozen=True, eq=False)
class Shared:
    """What the server gives to every client, and keeps.

    Attributes:
        rounds: how many rounds it has averaged.
        weights_P: of base, embeddings and condition network, flattened.
    """

    rounds: int
    weights_P: Vector


class ConditionalValve(nn.Module):
    """The conditional valve CoV: scales and shifts features by what it makes of a condition."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = self._network(width)
        self.shift = self._network(width)

    @staticmethod
    def _network(width: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.LayerNorm(width))

    def forward(self, features_BK: Tensor, condition_K: Tensor) -> Tensor:
        """Return relu((gamma + 1) * z + beta), (B, K), gamma and beta made of the condition."""
        condition_1K = condition_K.unsqueeze(0)
        return F.relu((self.scale(condition_1K) + 1) * features_BK + self.shift(condition_1K))


class Conditions(nn.Module):
    """What a client keeps and does not train.

    Attributes:
        general_K: g, the condition of the global route.
        personal_K: p, the condition of the personal route.
        received_CK: the embeddings as they were received.
    """

    general_K: Tensor
    personal_K: Tensor
    received_CK: Tensor

    def __init__(self, embeddings_CK: Tensor) -> None:
        super().__init__()
        self.register_buffer("general_K", torch.zeros(embeddings_CK.shape[1]))
        self.register_buffer("personal_K", torch.zeros(embeddings_CK.shape[1]))
        self.register_buffer("received_CK", embeddings_CK.detach().clone())


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
        train_sgd(
            model,
            batches,
            lambda forward, batch: objective(model, batch, config),
            epochs=config.local_epochs,
            lr=config.local_lr,
            extra_params=own_parameters(model),
        )
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
        load_broadcast=partial(load_broadcast, config=config),
    )


def init_client_state(model: SplitModel, config: Config) -> None:
    """Add embeddings, condition network and conditions to a client's model."""
    with drawing(derive(config.seed, "embeddings and bending")):
        embeddings = nn.Embedding(config.classes, config.width)
        model.kept["bending"] = ConditionalValve(config.width)
    model.kept["embeddings"] = embeddings
    model.kept["conditions"] = Conditions(embeddings.weight)


def load_broadcast(model: SplitModel, batches: Batches, broadcast: Shared, config: Config) -> None:
    """Take the shared weights over, and make the conditions that the configuration asks for."""
    if config.conditions == "own" and broadcast.rounds:
        set_conditions(model, batches, divided=config.divided)
    weights.assign(shared_parameters(model), broadcast.weights_P)
    conditions_of(model).received_CK.copy_(embeddings_of(model).detach())
    if config.conditions == "received":
        set_conditions(model, batches, divided=config.divided)


def shared_parameters(model: SplitModel) -> list[nn.Parameter]:
    """Return the parameters of base, embeddings and condition network; the head stays."""
    return [*model.base.parameters(), *own_parameters(model)]


def own_parameters(model: SplitModel) -> list[nn.Parameter]:
    """Return the parameters of embeddings and condition network."""
    parts = model.kept["embeddings"], model.kept["bending"]
    return [parameter for part in parts for parameter in part.parameters()]


def embeddings_of(model: SplitModel) -> Tensor:
    """Return the trainable category embeddings (C, K)."""
    return cast(nn.Embedding, model.kept["embeddings"]).weight


def conditions_of(model: SplitModel) -> Conditions:
    """Return the condition vectors and the received embeddings."""
    return cast(Conditions, model.kept["conditions"])


@torch.no_grad()
def set_conditions(model: SplitModel, batches: Batches, *, divided: bool) -> None:
    """Make both condition vectors (K,) of the embeddings that the model holds now.

    The general one is their mean, the personal one their sum by label frequency in the
    training batches (Eq. 7), with `divided` divided by C; 0 where there is no batch.
    """
    embeddings_CK = embeddings_of(model)
    classes = len(embeddings_CK)
    used = len(batches) * batches.size
    counts_C = torch.bincount(batches.labels[:used], minlength=classes)
    shares_C = counts_C.to(embeddings_CK.dtype) / max(used, 1)
    personal_K = shares_C @ embeddings_CK
    conditions_of(model).general_K.copy_(embeddings_CK.mean(0))
    conditions_of(model).personal_K.copy_(personal_K / classes if divided else personal_K)


def objective(model: SplitModel, batch: Batch, config: Config) -> Tensor:
    """Return what a client minimises, a scalar; it needs the modules in `kept`, not outputs alone.

    Cross-entropy of the head on the personal route, plus cross-entropy over the cosines of the
    global route with every embedding, plus lambda times the Euclidean norm of the whole batch's gap
    to the received embeddings of its labels, plus the penalty. The algorithm's `loss` is the
    cross-entropy of the head on features that no condition has bent.
    """
    inputs, labels_B = batch
    features_BK = model(inputs)[0]
    conditions, embeddings_CK = conditions_of(model), embeddings_of(model)
    logits_BC = model.head(model.kept["bending"](features_BK, conditions.personal_K))
    general_BK = model.kept["bending"](features_BK, conditions.general_K)
    cosines_BC = F.linear(F.normalize(general_BK), F.normalize(embeddings_CK))
    away: Tensor = torch.linalg.vector_norm(general_BK - conditions.received_CK[labels_B])
    guided = F.cross_entropy(cosines_BC, labels_B) + config.pull * away
    return F.cross_entropy(logits_BC, labels_B) + guided + penalty(model, config)


def penalty(model: SplitModel, config: Config) -> Tensor:
    """Return the penalty of embeddings and condition network, a scalar.

    With "decay", mu / 2 times the sum of their squares, whose slope is weight decay's; with "norm",
    mu times the Euclidean norm of the embeddings plus that of the network.
    """
    parts = model.kept["embeddings"], model.kept["bending"]
    vectors = [torch.cat([tensor.reshape(-1) for tensor in part.parameters()]) for part in parts]
    if config.penalty == "norm":
        norms = [torch.linalg.vector_norm(vector) for vector in vectors]
        return config.decay * torch.stack(norms).sum()
    return config.decay / 2 * torch.cat(vectors).square().sum()


def predict(model: SplitModel, inputs: Tensor, targets: None) -> Tensor:
    """Return the head's logits (B, C) of the personal route."""
    features_BK = model(inputs)[0]
    personal_BK = model.kept["bending"](features_BK, conditions_of(model).personal_K)
    scores_BC: Tensor = model.head(personal_BK)
    return scores_BC
