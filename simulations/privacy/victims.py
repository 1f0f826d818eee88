"""Whose images are attacked, with which model: a client's batch, and its other images beside it."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from edgeloop import models
from edgeloop.algorithm import Batches
from edgeloop.data import Samples
from edgeloop.errors import DataError, ModelError
from edgeloop.models.split import SplitModel
from edgeloop.seeds import derive
from edgeloop.training.sgd import cross_entropy, train_sgd

BATCH = 10
RATE = 0.01
"""Samples a batch, and the learning rate, of the rounds before the one that is attacked."""


@dataclass(frozen=True, eq=False)
class Victims:
    """One batch of a client, and its other training images, which the attacker does not have.

    Attributes:
        inputs: (B, C, H, W) in [-1, 1].
        labels_B: theirs.
        others: (M, C, H, W), the client's other training images.
        other_labels_M: theirs.
    """

    inputs: Tensor
    labels_B: Tensor
    others: Tensor
    other_labels_M: Tensor

    @property
    def batch(self) -> tuple[Tensor, Tensor]:
        """What the client trains on."""
        return self.inputs, self.labels_B

    def like(self, label: int) -> Tensor:
        """Return the client's other images of a class."""
        return self.others[self.other_labels_M == label]


def draw(samples: Samples, count: int, one_class: bool, seed: int) -> Victims:
    """Draw a batch from a client's training samples; at least one other of each class stays.

    Args:
        samples: of the client.
        count: B.
        one_class: whether they are all of one class, drawn too; else any that come.
        seed: of the draw.

    Raises:
        DataError: if the client has too few.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(samples))
    labels = samples.labels
    per_class = np.bincount(labels)
    large = np.flatnonzero(per_class > (count if one_class else 1))
    if one_class and len(large):
        large = random.choice(large, 1)
    order = order[np.isin(labels[order], large)]
    chosen = _one_left_of_each(order, labels, count)
    if len(chosen) < count:
        kind = "of one class" if one_class else "of classes with another one"
        problem = f"{count}, but the client has too few images {kind}"
        raise DataError("samples", problem, "ask for fewer, or for fewer --clients")
    rest = np.setdiff1d(np.arange(len(samples)), chosen)
    inputs, every = torch.tensor(samples.inputs), torch.tensor(labels)
    return Victims(inputs[chosen], every[chosen], inputs[rest], every[rest])


def _one_left_of_each(
    order: np.ndarray[tuple[int], np.dtype[np.int64]],
    labels: np.ndarray[tuple[int], np.dtype[np.int64]],
    count: int,
) -> list[int]:
    """Return the first `count` of an order, but never the last one of a class."""
    left = np.bincount(labels)
    chosen: list[int] = []
    for place in order:
        if len(chosen) < count and left[labels[place]] > 1:
            left[labels[place]] -= 1
            chosen.append(int(place))
    return chosen


def build(
    architecture: str, shape: tuple[int, ...], classes: int, smooth: bool, width: int, seed: int
) -> SplitModel:
    """Return a client's model with fresh weights.

    Args:
        architecture: of `edgeloop.models`.
        shape: of one image, channels first.
        classes: C.
        smooth: put GELU in the place of ReLU, and averages in the place of maxima.
        width: K.
        seed: of the weights.

    Raises:
        ModelError: as `models.build`, and for a model that draws random numbers.
    """
    model = models.build(architecture, shape, classes, width, seed)
    if model.draws:
        problem = f"{architecture} drops out, so that no upload can be made again"
        raise ModelError("model", problem, "choose one without dropout")
    return smooth_model(model) if smooth else model


def smooth_model(model: SplitModel) -> SplitModel:
    """Replace ReLU by GELU and maxima by averages, in place; every parameter stays.

    Matching gradients needs second derivatives, and ReLU's are 0 almost everywhere.
    """
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.ReLU):
                setattr(parent, name, nn.GELU())
            elif isinstance(child, nn.MaxPool2d):
                pooling = nn.AvgPool2d(child.kernel_size, child.stride, child.padding)
                setattr(parent, name, pooling)
    return model


def train(model: SplitModel, victims: Victims, epochs: int, seed: int) -> None:
    """Train a model in place on a client's other images, as rounds before the attack would."""
    if epochs == 0:
        return
    order = torch.randperm(
        len(victims.other_labels_M), generator=torch.Generator().manual_seed(derive(seed, "order"))
    )
    batches = Batches(victims.others[order], victims.other_labels_M[order], BATCH)
    train_sgd(model, batches, cross_entropy, epochs=epochs, lr=RATE)
