"""FedORGP, experimental: global prototypes that the server trains to be orthogonal to one another.

After Guo, Luan, Li, Zhao and Jiang, 2025. https://arxiv.org/abs/2502.16119

What is whose: only the paper's abstract was read, and the code published under its name
(https://github.com/wisheverybodyhapi/FedORGP). From that code are the network from a class to its
prototype (which is FedTGP's), the upload of the trained weights' prototypes, inference by cosine,
and the client's loss: cross-entropy plus lambda times 1 minus the cosine to the own class's global
prototype. The rest of the defaults is ours, and no result of the paper was reproduced with them.
Ours is the server's loss: cross-entropy over the cosines of an uploaded prototype to all global
ones, plus gamma times the mean squared (or absolute) cosine between the global prototypes of
different classes, also of classes that nobody has. Ours are also the means over a batch, all
weights and sizes, and that a vector of length 0 has cosine 0 to every other.

The variant `published` has that code's server loss: 1 minus the cosine to the own class's global
prototype, plus gamma times the absolute cosines to all others, summed over a batch; and one server
epoch, as in its scripts. The code and its weights changed often: lambda and gamma are its flags'
defaults of 1, and its client's loss is a sum over a batch too, so that lambda there is 10 here with
batches of 10. It evaluates after a round with the new prototypes; here the accuracy is that before
the round's training, and before there are prototypes no sample has a class.

Shape suffixes: B samples or uploaded prototypes, N uploads, C classes, K features (D on the wire).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
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
)
from edgeloop.knowledge import prototypes
from edgeloop.knowledge.prototype_algorithm import prototype_algorithm
from edgeloop.knowledge.prototype_network import (
    PrototypeTraining,
    State,
    gradient_of,
    initial_state,
    train_prototypes,
)
from edgeloop.knowledge.prototypes import GlobalPrototypes, PrototypeUpload, Targets

INFO = AlgorithmInfo(
    title="FedORGP",
    runs_in=("simulation", "mqtt"),
    up="one prototype (K floats) for each class of the client",
    down="one prototype (K floats) for every class",
    paper="after Guo et al. 2025, arXiv:2502.16119",
    variants={"published": {"pull": 10.0, "objective": "angular", "server_epochs": 1}},
    experimental=True,
)


@dataclass(frozen=True)
class Config(TrainingConfig):
    """Hyperparameters.

    Attributes:
        pull: weight of the clients' alignment with the global prototypes (lambda).
        objective: loss of the server: "softmax", cross-entropy over cosines; or "angular", the
            published code's.
        apart: weight of the orthogonality of different classes (gamma).
        penalty: penalty on the cosines between global prototypes, for "softmax": "squared" or
            "absolute".
        server_epochs: server epochs per round (S).
        server_lr: learning rate of the server.
        server_batch: batch size on the server, in prototypes.
        own_prior: score a class by the cosine plus the log of the client's own class prior, (n_c +
            0.1) / (n + 0.1 C), where n_c of its n training samples are of class c; ours.
    """

    pull: NotNegative = 1.0
    objective: Literal["softmax", "angular"] = "softmax"
    apart: NotNegative = 1.0
    penalty: Literal["squared", "absolute"] = "squared"
    server_epochs: Count = 100
    server_lr: Positive = 0.01
    server_batch: Count = 10
    own_prior: bool = False


def build(config: Config) -> Algorithm[State, PrototypeUpload, GlobalPrototypes]:
    """Bind server and client to one configuration."""
    schedule = PrototypeTraining(
        config.server_epochs, config.server_lr, config.server_batch, config.seed
    )

    def aggregate(
        state: State, uploads: Sequence[PrototypeUpload]
    ) -> tuple[State, GlobalPrototypes]:
        labels_N, _, uploaded_NK = prototypes.concatenated(uploads)
        chosen = softmax_loss if config.objective == "softmax" else angular_loss
        gradient = gradient_of(partial(chosen, config=config))
        return train_prototypes(state, uploaded_NK, labels_N, gradient, schedule)

    def loss(forward: Forward, batch: Batch, goal: Targets) -> Tensor:
        inputs, labels_B = batch
        features_BK, logits_BC = forward(inputs)
        away = alignment(features_BK, labels_B, goal)
        return F.cross_entropy(logits_BC, labels_B) + config.pull * away

    recipe = Recipe[PrototypeUpload, GlobalPrototypes](
        targets=prototypes.targets,
        loss=loss,
        epochs=config.local_epochs,
        lr=config.local_lr,
        collect="features",
        collect_at="after",
        upload=partial(prototypes.upload_collected, classes=config.classes, width=config.width),
    )

    return prototype_algorithm(
        config,
        recipe,
        state=State,
        start=partial(initial_state, config.classes, config.width, config.seed),
        aggregate=aggregate,
        scores=directions,
    )


def cosines(ours_BK: Tensor, theirs_CK: Tensor) -> Tensor:
    """Return the cosines (B, C) between two sets of vectors; 0 for a vector of length 0."""
    return F.normalize(ours_BK, dim=1) @ F.normalize(theirs_CK, dim=1).T


def alignment(features_BK: Tensor, labels_B: Tensor, goal: Targets) -> Tensor:
    """Return 1 minus the cosine to the own class's prototype, the mean of a batch, a scalar.

    A sample whose class has no prototype adds 0 and still counts in the mean.
    """
    own_BK = goal.prototypes_CK[labels_B]
    cosine_B = (F.normalize(features_BK, dim=1) * F.normalize(own_BK, dim=1)).sum(1)
    return ((1 - cosine_B) * goal.known_C[labels_B]).mean()


def directions(features_BK: Tensor, goal: Targets, prior_C: Tensor | None = None) -> Tensor:
    """Return the scores (B, C): cosines; minus infinity for a class without a prototype.

    A prior, `prototypes.log_prior`, is added: a cosine is, up to a constant, minus half of the
    squared gap between vectors of length 1.
    """
    cosines_BC = cosines(features_BK, goal.prototypes_CK)
    scores_BC = cosines_BC if prior_C is None else cosines_BC + prior_C
    return scores_BC.masked_fill(~goal.known_C, -torch.inf)


def overlap(learned_CK: Tensor, penalty: str) -> Tensor:
    """Return the mean squared or absolute cosine of different classes' prototypes, a scalar.

    A single class has no other: 0.
    """
    classes = len(learned_CK)
    cosines_CC = cosines(learned_CK, learned_CK)
    size_CC = cosines_CC.square() if penalty == "squared" else cosines_CC.abs()
    others_CC = 1 - torch.eye(classes, device=learned_CK.device)
    return (size_CC * others_CC).sum() / max(classes * (classes - 1), 1)


def softmax_loss(
    uploaded_BK: Tensor, labels_B: Tensor, learned_CK: Tensor, config: Config
) -> Tensor:
    """Return our server's loss, a scalar: cross-entropy over cosines, plus gamma x `overlap`."""
    likely = F.cross_entropy(cosines(uploaded_BK, learned_CK), labels_B)
    return likely + config.apart * overlap(learned_CK, config.penalty)


def angular_loss(
    uploaded_BK: Tensor, labels_B: Tensor, learned_CK: Tensor, config: Config
) -> Tensor:
    """Return the published server's loss, a scalar, summed over the batch.

    1 - cos to the own class's global prototype + gamma x the sum of |cos| to the others'.
    """
    cosines_BC = cosines(uploaded_BK, learned_CK)
    own_BC = F.one_hot(labels_B, len(learned_CK))
    return ((1 - cosines_BC) * own_BC + config.apart * cosines_BC.abs() * (1 - own_BC)).sum()
