"""FedTGP: trainable global prototypes, learned with an adaptive margin.

Zhang, Liu, Hua and Cao, AAAI 2024. https://arxiv.org/abs/2401.03230

Differences from the released code (FedTGP and HtFLlib), which the defaults follow: the distance of
a prototype to itself has gradient 0 where the code's square root gives NaN; shuffles come from the
run's seed and the round. A client there uploads the prototypes of the weights it had before the
round's training, and so does the variant `noisy_class_means`; `paper` uploads those of the trained
weights (Algorithm 1), takes the Euclidean distance with weight 0.1 for the clients' pull where the
code takes the mean over all entries of the squared gap with weight 10, and the largest distance of
any two classes for the margin (Eq. 9) where the code takes the largest distance of a class to its
nearest other class (the paper's Fig. 1). The paper's Table 6 leaves parts out: `margin_cap=0` is
its SCL, `margin="fixed"` its FM, of a size that it does not tell, and `network=false` its w/o F.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from edgeloop.algorithm import (
    Algorithm,
    AlgorithmInfo,
    Batch,
    Count,
    Forward,
    NotNegative,
    Positive,
    Recipe,
    TrainingConfig,
    UploadKind,
)
from edgeloop.hyperparameters import Distances
from edgeloop.knowledge import prototypes
from edgeloop.knowledge.contrastive_loss import (
    adaptive_margin,
    contrastive_gradient,
    contrastive_loss,
)
from edgeloop.knowledge.prototype_algorithm import prototype_algorithm
from edgeloop.knowledge.prototype_network import (
    PrototypeTraining,
    State,
    initial_state,
    train_prototypes,
)
from edgeloop.knowledge.prototypes import GlobalPrototypes, PrototypeUpload, Targets

INFO = AlgorithmInfo(
    title="FedTGP",
    runs_in=("simulation", "mqtt"),
    up="one prototype (K floats) for each class of the client",
    down="one prototype (K floats) for every class",
    paper="Zhang et al., AAAI 2024, arXiv:2401.03230",
    variants={
        "released": {},
        "paper": {"pull": 0.1, "distance": "euclidean", "margin": "all-pairs", "stale": False},
    },
    upload=UploadKind("features"),
    numbers=("K S", "M K C"),
)


@dataclass(frozen=True)
class Config(TrainingConfig):
    """Hyperparameters.

    Attributes:
        pull: weight of the distance to the global prototypes (lambda).
        distance: distance to the global prototypes: "mse", the mean squared error; or "euclidean".
        stale: upload prototypes of the weights before the round's training.
        server_epochs: server epochs per round (S).
        server_lr: learning rate of the server.
        server_batch: batch size on the server, in prototypes.
        network: train a network of two layers on the classes' embedding (F); otherwise the
            embedding alone.
        margin: the margin is the largest distance of a class to its nearest other class
            ("nearest"), the largest between any two ("all-pairs"), or always tau ("fixed").
        margin_cap: largest margin (tau).
        own_prior: score a class by minus half of the squared distance plus the log of the client's
            own class prior, (n_c + 0.1) / (n + 0.1 C); ours, and it does not help here.
    """

    pull: NotNegative = 10.0
    distance: Literal["mse", "euclidean"] = "mse"
    stale: bool = True
    server_epochs: Count = 100
    server_lr: Positive = 0.01
    server_batch: Count = 10
    network: bool = True
    margin: Distances | Literal["fixed"] = "nearest"
    margin_cap: NotNegative = 100.0
    own_prior: bool = False


def build(config: Config) -> Algorithm[State, PrototypeUpload, GlobalPrototypes]:
    """Bind server and client to one configuration."""
    schedule = PrototypeTraining(
        epochs=config.server_epochs,
        lr=config.server_lr,
        batch=config.server_batch,
        seed=config.seed,
        network=config.network,
    )

    def aggregate(
        state: State, uploads: Sequence[PrototypeUpload]
    ) -> tuple[State, GlobalPrototypes]:
        labels_N, _, uploaded_NK = prototypes.concatenated(uploads)
        gradient = contrastive_gradient(config.classes, _margin_of(config, uploaded_NK, labels_N))
        return train_prototypes(state, uploaded_NK, labels_N, gradient, schedule)

    def loss(forward: Forward, batch: Batch, goal: Targets) -> Tensor:
        return prototypes.attraction_loss(
            forward, batch, goal, weight=config.pull, distance=config.distance
        )

    recipe = Recipe[PrototypeUpload, GlobalPrototypes](
        targets=prototypes.targets,
        loss=loss,
        epochs=config.local_epochs,
        lr=config.local_lr,
        collect="features",
        collect_at="before" if config.stale else "after",
        upload=partial(prototypes.upload_collected, classes=config.classes, width=config.width),
    )

    return prototype_algorithm(
        config,
        recipe,
        state=State,
        start=partial(initial_state, config.classes, config.width, config.seed),
        aggregate=aggregate,
        round_metrics=partial(_round_metrics, config),
    )


def _margin_of(config: Config, uploaded_NK: Tensor, labels_N: Tensor) -> float:
    if config.margin == "fixed":
        return config.margin_cap
    return adaptive_margin(uploaded_NK, labels_N, config.classes, config.margin, config.margin_cap)


def _round_metrics(
    config: Config, uploads: Sequence[PrototypeUpload], _: State, broadcast: GlobalPrototypes
) -> dict[str, float]:
    labels_N, _counts, uploaded_NK = prototypes.concatenated(uploads)
    margin = _margin_of(config, uploaded_NK, labels_N)
    learned_CK = torch.from_numpy(broadcast.prototypes_CD)
    loss = contrastive_loss(uploaded_NK, labels_N, learned_CK, margin)
    return {"margin": margin, "loss": loss.item()}
