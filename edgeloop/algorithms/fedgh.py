"""FedGH: clients share class prototypes; on those the server trains one head for all.

Yi, Wang, Liu, Shi and Yu, ACM Multimedia 2023. https://arxiv.org/abs/2303.13137

Differences from the released code (HtFLlib's FedGH), which the defaults follow: none in the
formulas. Shuffles on the server come from the run's seed and the round. The server's epoch and
batch size are those of HtFLlib's published command line; its default of 100 epochs is another.

Shape suffixes: N uploaded prototypes, B prototypes of a batch, C classes, K features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeloop import models
from edgeloop.algorithm import (
    Algorithm,
    AlgorithmInfo,
    Count,
    ModelConfig,
    Positive,
    Recipe,
    UploadKind,
)
from edgeloop.knowledge import heads, prototypes
from edgeloop.knowledge.heads import Head
from edgeloop.knowledge.prototypes import PrototypeUpload
from edgeloop.seeds import derive
from edgeloop.training.sgd import clear_gradients, cross_entropy, descend

INFO = AlgorithmInfo(
    title="FedGH",
    runs_in=("simulation", "mqtt"),
    up="one prototype (K floats) for each class of the client",
    down="the head (C x K + C floats)",
    paper="Yi et al., ACM Multimedia 2023, arXiv:2303.13137",
    linear_head_only=True,
    upload=UploadKind("features", "after"),
    numbers=("K S", "M (K + 1) C"),
)


@dataclass(frozen=True)
class Config(ModelConfig):
    """Hyperparameters.

    Attributes:
        architecture: of the client whose first head is everybody's.
        seed: the run's seed; the first head and the server's shuffles are drawn from it.
        server_epochs: server epochs per round (S).
        server_lr: learning rate of the server.
        server_batch: batch size on the server, in prototypes.
    """

    server_epochs: Count = 1
    server_lr: Positive = 0.01
    server_batch: Count = 10


@dataclass(frozen=True, eq=False)
class State(Head):
    """The server's head.

    Attributes:
        rounds: how often it has learned.
    """

    rounds: int


def build(config: Config) -> Algorithm[State, PrototypeUpload, Head]:
    """Bind server and client to one configuration."""

    def start() -> tuple[State, Head]:
        first = heads.arrays(models.initial_model(config))
        return State(*first, rounds=0), Head(*first)

    def aggregate(state: State, uploads: Sequence[PrototypeUpload]) -> tuple[State, Head]:
        labels_N, _, prototypes_NK = prototypes.concatenated(uploads)
        head = train_head(state, prototypes_NK, labels_N, config)
        return State(head.head_CK, head.bias_C, state.rounds + 1), head

    recipe = Recipe[PrototypeUpload, Head](
        loss=cross_entropy,
        epochs=config.local_epochs,
        lr=config.local_lr,
        collect="features",
        collect_at="after",
        upload=partial(prototypes.upload_collected, classes=config.classes, width=config.width),
    )

    return Algorithm(
        state=State,
        upload=PrototypeUpload,
        broadcast=Head,
        sizes={"C": config.classes, "D": config.width, "K": config.width},
        start=start,
        aggregate=aggregate,
        check=lambda upload: prototypes.check_labels(upload, config.classes),
        recipe=recipe,
        load_broadcast=heads.load_broadcast,
    )


def train_head(state: State, prototypes_NK: Tensor, labels_N: Tensor, config: Config) -> Head:
    """Train the head on one round's prototypes, if any: S epochs of plain SGD, none averaged."""
    head_CK, bias_C = (torch.tensor(array) for array in (state.head_CK, state.bias_C))
    parameters = [head_CK.requires_grad_(True), bias_C.requires_grad_(True)]
    random = torch.Generator().manual_seed(derive(config.seed, "server", state.rounds))
    for _ in range(config.server_epochs if len(labels_N) else 0):
        order_N = torch.randperm(len(labels_N), generator=random)
        for rows_B in order_N.split(config.server_batch):
            clear_gradients(parameters)
            logits_BC = F.linear(prototypes_NK[rows_B], head_CK, bias_C)
            F.cross_entropy(logits_BC, labels_N[rows_B]).backward()
            descend(parameters, config.server_lr)
    return Head(head_CK.detach().numpy(), bias_C.detach().numpy())
