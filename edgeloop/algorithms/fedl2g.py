"""FedL2G: the server learns a vector for each class that clients are guided by as they train.

Zhang, Liu, Hua, Cao and Yang, 2024. https://arxiv.org/abs/2410.06490

A client trains on its cross-entropy plus the mean squared gap between a sample's features (or its
logits) and its class's guiding vector v. Then it says how the vectors should change: it takes one
step of that training on study batches, from its model as it is, and differentiates the
cross-entropy of samples that it held out, the quiz, by v through that step. The server takes a step
of SGD with the clients' mean gradient of each class, clients with the class counting alike. In the
first rounds, the warm-up, the vectors alone are learned.

What is done as in the released code (HtFLlib's FedL2G): the quiz is a client's first batches, which
it does not train on; gradients are clipped at a norm of 100; a class whose gradient is 0 is not
sent. The server's rates are those of its published commands, 100 for features and 0.1 for logits;
its default is 0.01. Differences: a client with too few samples for quiz and study trains on all of
them, and sends no gradient; the first vectors are drawn from a normal distribution; clients are
evaluated in the warm-up too, as they began; the study batches are the first of the round's order;
batch normalisation's statistics are not changed by that step.

Shape suffixes: B samples of a batch, C classes, D entries of a vector (K features or C logits), N
uploaded classes.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Annotated, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor
from torch.func import functional_call

from edgeloop.algorithm import (
    Algorithm,
    AlgorithmInfo,
    Batch,
    Batches,
    Count,
    Forward,
    Positive,
    TrainingConfig,
    check_frame_size,
)
from edgeloop.models.split import SplitModel
from edgeloop.seeds import derive
from edgeloop.training.sgd import cross_entropy, train_sgd

INFO = AlgorithmInfo(
    title="FedL2G",
    runs_in=("simulation", "mqtt"),
    up="the gradient of the guiding vector (K floats) of each class of the client",
    down="one guiding vector (K floats) for every class",
    paper="Zhang et al. 2024, arXiv:2410.06490",
    variants={"released": {}, "logits": {"guide": "logits", "server_lr": 0.1}},
    rounds=100,
    plain_sgd=True,
)


@dataclass(frozen=True)
class Config(TrainingConfig):
    """Hyperparameters.

    Attributes:
        seed: the run's seed; the first guiding vectors are drawn from it.
        guide: what the vectors guide: a model's features or its logits.
        server_lr: learning rate of the server.
        quiz_batches: batches of a client that are held out for the quiz.
        study_batches: batches of the step before the quiz.
        warm_up: rounds in which only the guiding vectors are learned.
        clip: largest norm of a gradient, on clients and server.
    """

    guide: Literal["features", "logits"] = "features"
    server_lr: Positive = 100.0
    quiz_batches: Count = 1
    study_batches: Count = 1
    warm_up: Annotated[int, Ge(0), Le(10**6)] = 50
    clip: Positive = 100.0


@dataclass(frozen=True, eq=False)
class State:
    """What the server keeps.

    Attributes:
        rounds: how many are done.
        vectors_CD: the guiding vectors.
    """

    rounds: int
    vectors_CD: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Guides:
    """What every client gets.

    Attributes:
        training: whether the warm-up is over, so that clients train.
        vectors_CD: the guiding vectors.
    """

    training: bool
    vectors_CD: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Gradients:
    """How a client would have the guiding vectors change.

    Attributes:
        labels_N: the classes, ascending, each once.
        gradients_ND: of the quiz's cross-entropy, by their vectors.

    Raises:
        ValueError: if the labels are not ascending class numbers.
    """

    labels_N: npt.NDArray[np.int64]
    gradients_ND: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        ascending = self.labels_N[1:] > self.labels_N[:-1]
        if (self.labels_N < 0).any() or not ascending.all():
            raise ValueError("the labels are not ascending class numbers")


class Targets(NamedTuple):
    """Guiding vectors as a tensor on the device that trains."""

    vectors_CD: Tensor


class Parts(NamedTuple):
    """A client's samples of one round.

    Attributes:
        training: what it trains on.
        study: batches that the step is taken on; none where there are too few samples.
        quiz: what its result is measured on.
    """

    training: Batches
    study: list[Batch]
    quiz: Batch


def build(config: Config) -> Algorithm[State, Gradients, Guides]:
    """Bind server and client to one configuration."""
    entries = config.width if config.guide == "features" else config.classes
    check_frame_size(guiding_vectors=config.classes * entries)

    def start() -> tuple[State, Guides]:
        random = torch.Generator().manual_seed(derive(config.seed, "guides"))
        vectors_CD = torch.randn(config.classes, entries, generator=random).numpy()
        return State(0, vectors_CD), Guides(config.warm_up == 0, vectors_CD)

    def aggregate(state: State, uploads: Sequence[Gradients]) -> tuple[State, Guides]:
        gradient_CD = clipped(mean_gradient(uploads, config.classes, entries), config.clip)
        vectors_CD = (state.vectors_CD - config.server_lr * gradient_CD).astype(np.float32)
        rounds = state.rounds + 1
        return State(rounds, vectors_CD), Guides(rounds >= config.warm_up, vectors_CD)

    def train(model: SplitModel, batches: Batches, broadcast: Guides) -> Gradients:
        goal = targets(broadcast, batches.inputs.device)
        parts = divide(batches, config)
        if broadcast.training:
            train_guided(model, parts.training, goal, config)
        return guide_gradients(model, parts, goal, config)

    return Algorithm(
        state=State,
        upload=Gradients,
        broadcast=Guides,
        sizes={"C": config.classes, "D": entries},
        start=start,
        aggregate=aggregate,
        check=lambda upload: check_labels(upload, config.classes),
        targets=targets,
        loss=partial(guided_loss, guide=config.guide),
        train=train,
    )


# ---- the client


def targets(broadcast: Guides, device: torch.device) -> Targets:
    """Put a broadcast's vectors on a device."""
    return Targets(torch.tensor(broadcast.vectors_CD, device=device))


def guided_loss(forward: Forward, batch: Batch, goal: Targets, guide: str) -> Tensor:
    """Return cross-entropy plus the mean squared gap to the classes' guiding vectors, a scalar."""
    inputs, labels_B = batch
    features_BK, logits_BC = forward(inputs)
    guided_BD = features_BK if guide == "features" else logits_BC
    away = F.mse_loss(guided_BD, goal.vectors_CD[labels_B])
    return F.cross_entropy(logits_BC, labels_B) + away


def train_guided(model: SplitModel, batches: Batches, goal: Targets, config: Config) -> None:
    """Train a client's model in place: plain SGD on the guided loss, each gradient clipped."""
    train_sgd(
        model,
        batches,
        lambda forward, batch: guided_loss(forward, batch, goal, config.guide),
        epochs=config.local_epochs,
        lr=config.local_lr,
        clip=config.clip,
    )


def divide(batches: Batches, config: Config) -> Parts:
    """Return a client's samples as what it trains on, and what it learns the vectors by."""
    held = config.quiz_batches * batches.size
    quiz = batches.inputs[:held], batches.labels[:held]
    rest = Batches(
        batches.inputs[held:], batches.labels[held:], batches.size, batches.seed, batches.shuffle
    )
    if not len(rest):
        return Parts(batches, [], quiz)
    return Parts(rest, list(islice(rest.epoch(0), config.study_batches)), quiz)


def guide_gradients(model: SplitModel, parts: Parts, goal: Targets, config: Config) -> Gradients:
    """Return the quiz's gradient by the guiding vectors, through a step on the study batches."""
    gradient_CD = torch.zeros_like(goal.vectors_CD)
    if parts.study:
        vectors_CD = goal.vectors_CD.clone().requires_grad_(True)
        quiz_loss = loss_after_step(model, parts, Targets(vectors_CD), config)
        gradient_CD = torch.autograd.grad(quiz_loss, vectors_CD)[0]
    sent = gradient_CD.ne(0).any(1)
    labels_N = sent.nonzero().squeeze(1).cpu().numpy()
    return Gradients(labels_N, gradient_CD[sent].cpu().numpy())


def loss_after_step(model: SplitModel, parts: Parts, goal: Targets, config: Config) -> Tensor:
    """Return the quiz's cross-entropy after one step on the study batches; the model stays.

    The step depends on the guiding vectors, and a gradient reaches them through it.
    """
    study = copy.deepcopy(model).train()  # its batch normalisation counts on a copy
    losses = [guided_loss(study, batch, goal, config.guide) for batch in parts.study]
    mean = torch.stack(losses).mean()
    own = {id(parameter) for parameter in study.own()}
    named = {name: each for name, each in study.named_parameters() if id(each) in own}
    slopes = torch.autograd.grad(mean, list(named.values()), create_graph=True)
    moved = {
        name: each - config.local_lr * slope
        for (name, each), slope in zip(named.items(), slopes, strict=True)
    }

    def forward(inputs: Tensor) -> tuple[Tensor, Tensor]:
        outputs: tuple[Tensor, Tensor] = functional_call(study, moved, (inputs,))
        return outputs

    return cross_entropy(forward, parts.quiz)


# ---- the server


def check_labels(upload: Gradients, classes: int) -> None:
    """Refuse an upload with a class that the task does not have.

    Raises:
        ValueError: naming the class.
    """
    beyond = upload.labels_N[upload.labels_N >= classes]
    if len(beyond):
        raise ValueError(f"class {beyond[-1]}, the task has {classes}")


def mean_gradient(
    uploads: Sequence[Gradients], classes: int, entries: int
) -> npt.NDArray[np.float64]:
    """Return each class's gradient, (C, D), the mean of those who sent one; zeros of none."""
    sums_CD, counts_C = np.zeros((classes, entries)), np.zeros(classes)
    for each in uploads:
        sums_CD[each.labels_N] += each.gradients_ND
        counts_C[each.labels_N] += 1
    means_CD: npt.NDArray[np.float64] = sums_CD / np.maximum(counts_C, 1)[:, None]
    return means_CD


def clipped(gradient_CD: npt.NDArray[np.float64], most: float) -> npt.NDArray[np.float64]:
    """Return a gradient, scaled to a norm of `most` where it is longer."""
    norm = float(np.linalg.norm(gradient_CD))
    return gradient_CD if norm <= most else gradient_CD * (most / norm)
