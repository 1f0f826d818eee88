"""LG-FedAvg: every client has a base of its own, the server averages the heads.

Liang, Liu, Ziyin, Salakhutdinov and Morency, FL at NeurIPS 2019. https://arxiv.org/abs/2001.01523

Differences from the released code (HtFLlib's LG-FedAvg), which the defaults follow: none in the
formulas. The first global head is the first client's, as there. The accuracy is that of each
client's own base under the global head, before the round's training.

Shape suffixes: C classes, K features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from torch import Tensor

from edgeloop import models, weights
from edgeloop.algorithm import Algorithm, Batch, Batches, Card, Count, Forward, Positive
from edgeloop.models.split import SplitModel
from edgeloop.training import descend

CARD = Card(
    title="LG-FedAvg",
    runs=("simulation", "mqtt"),
    up="the head (C x K + C floats)",
    down="the head (C x K + C floats)",
    paper="Liang et al., FL at NeurIPS 2019, arXiv:2001.01523",
)


@dataclass(frozen=True)
class Config:
    """Hyperparameters.

    Attributes:
        classes: C.
        width: K, the unified feature width.
        shape: of one input, channels first.
        architecture: of the client whose first head is everybody's.
        seed: the run's seed; the first head is drawn from it.
        local_epochs: E.
        local_lr: eta.
    """

    classes: Count
    width: Count
    shape: tuple[int, ...] = (3, 32, 32)
    architecture: str = "cnn"
    seed: int = 0
    local_epochs: Count = 1
    local_lr: Positive = 0.01


@dataclass(frozen=True, eq=False)
class Head:
    """The head that the server gives to every client, and keeps.

    Attributes:
        head_CK: its weights.
        bias_C: its bias.
    """

    head_CK: npt.NDArray[np.float32]
    bias_C: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class HeadUpload:
    """One client's head after its training.

    Attributes:
        samples: how many training samples the client has.
        head_CK: its weights.
        bias_C: its bias.

    Raises:
        ValueError: if the number of samples is negative.
    """

    samples: int
    head_CK: npt.NDArray[np.float32]
    bias_C: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.samples < 0:
            raise ValueError("a negative number of samples")


def build(config: Config) -> Algorithm[Head, HeadUpload, Head]:
    """Bind both halves to one configuration."""

    def start() -> tuple[Head, Head]:
        first = first_head(config)
        return first, first

    def aggregate(state: Head, uploads: Sequence[HeadUpload]) -> tuple[Head, Head]:
        mean = average(uploads)
        return mean, mean

    def train(model: SplitModel, batches: Batches, broadcast: Head) -> HeadUpload:
        descend(
            model,
            batches,
            lambda forward, batch: loss(forward, batch, None),
            epochs=config.local_epochs,
            lr=config.local_lr,
        )
        return HeadUpload(len(batches.labels), *arrays(model))

    return Algorithm(
        state=Head,
        upload=HeadUpload,
        broadcast=Head,
        sizes={"C": config.classes, "K": config.width},
        start=start,
        aggregate=aggregate,
        check=lambda upload: None,
        targets=lambda broadcast, device: None,
        loss=loss,
        train=train,
        predict=lambda model, inputs, targets: model(inputs)[1],
        receive=lambda model, batches, broadcast: take_over(model, broadcast),
    )


def first_head(config: Config) -> Head:
    """Return the head that the first client starts with."""
    model = models.build(
        config.architecture, config.shape, config.classes, config.width, config.seed
    )
    return Head(*arrays(model))


def arrays(model: SplitModel) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return copies of a model's head (C, K) and its bias (C,)."""
    head = model.head
    return weights.flat([head.weight]).reshape(head.weight.shape), weights.flat([head.bias])


def take_over(model: SplitModel, broadcast: Head) -> None:
    """Put the global head into a client's model."""
    parts = [broadcast.head_CK.ravel(), broadcast.bias_C]
    weights.assign([model.head.weight, model.head.bias], np.concatenate(parts))


def average(uploads: Sequence[HeadUpload]) -> Head:
    """Return the mean head; a client counts by its samples."""
    parts = weights.shares(uploads)
    mean_P = weights.average([upload.head_CK.ravel() for upload in uploads], parts)
    mean_C = weights.average([upload.bias_C for upload in uploads], parts)
    return Head(mean_P.reshape(uploads[0].head_CK.shape), mean_C)


def loss(forward: Forward, batch: Batch, targets: None) -> Tensor:
    """Return the mean softmax cross-entropy of the head's logits."""
    inputs, labels_B = batch
    return F.cross_entropy(forward(inputs)[1], labels_B)
