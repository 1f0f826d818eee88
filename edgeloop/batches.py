"""The batches that a client trains on in a round.

Shape suffixes: N samples, B of them in a batch.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeloop.seeds import derive, drawing

if TYPE_CHECKING:  # a device may know its task's algorithm without torch
    from torch import Tensor

Batch = tuple["Tensor", "Tensor"]
"""Inputs (B, ...) and labels (B,)."""


@dataclass
class Descent:
    """How a client descends in a round, where it is otherwise than by plain SGD.

    Attributes:
        optimizer: makes a `torch.optim.Optimizer` of parameters and a learning rate; None for SGD.
        factor: of the algorithm's learning rate.
        augment: inputs (B, ...) to such inputs, before each step; None for none.
        taken: whether a step was taken so: an algorithm may have steps of its own.
    """

    optimizer: "Callable[[Sequence[Tensor], float], Any] | None" = None
    factor: float = 1.0
    augment: "Callable[[Tensor], Tensor] | None" = None
    taken: bool = False


@dataclass(frozen=True)
class Batches:
    """A client's training samples of one round, in batches of one size.

    Attributes:
        inputs: (N, ...) float32, on the device that trains.
        labels: (N,) int64, on the same device.
        size: samples a batch; the last N mod size samples of an epoch are left out, as the
            reference does.
        seed: of this client's randomness in this round.
        shuffle: take the samples in a new order in each epoch; else as they lie, in every epoch.
        descent: how they are learned from, where it is otherwise than by plain SGD.
    """

    inputs: "Tensor"
    labels: "Tensor"
    size: int
    seed: int = 0
    shuffle: bool = False
    descent: Descent | None = None

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self.labels) // self.size

    def order(self, epoch: int | str) -> "Tensor":
        """Return the samples' numbers in an epoch's batches, (batches, size), on the CPU.

        Args:
            epoch: its number in the round, or what it is for; each has an order of its own.
        """
        import torch  # whoever has a batch has torch

        used = len(self) * self.size
        numbers = torch.arange(used)
        if self.shuffle:
            random = torch.Generator().manual_seed(derive(self.seed, "order", epoch))
            numbers = torch.randperm(len(self.labels), generator=random)[:used]
        return numbers.view(len(self), self.size)

    def epoch(self, epoch: int | str) -> Iterator[Batch]:
        """Return an epoch's batches, augmented where that is asked; the argument is `order`'s."""
        augment = None if self.descent is None else self.descent.augment
        for number, (inputs, labels) in enumerate(self._plain_epoch(epoch)):
            if augment is not None:
                seed = derive(self.seed, "augment", epoch, number)
                with drawing(seed, inputs.device):
                    inputs = augment(inputs)
            yield inputs, labels

    def _plain_epoch(self, epoch: int | str) -> Iterator[Batch]:
        if self.shuffle:
            for rows_B in self.order(epoch).to(self.labels.device):
                yield self.inputs[rows_B], self.labels[rows_B]
            return
        for start in range(0, len(self) * self.size, self.size):
            yield self.inputs[start : start + self.size], self.labels[start : start + self.size]

    def resized(self, size: int) -> Iterator[Batch]:
        """Return the first samples, as many as an epoch has, in batches of another size.

        They are in their own order, and the last batch is as it comes.
        """
        used = len(self) * self.size
        return zip(self.inputs[:used].split(size), self.labels[:used].split(size), strict=True)
