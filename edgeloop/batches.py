"""The batches that a client trains on in a round.

Shape suffixes: N samples, B of them in a batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeloop.seeds import derive

if TYPE_CHECKING:  # a device may know its task's algorithm without torch
    from torch import Tensor

Batch = tuple["Tensor", "Tensor"]
"""Inputs (B, ...) and labels (B,)."""


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
    """

    inputs: "Tensor"
    labels: "Tensor"
    size: int
    seed: int = 0
    shuffle: bool = False

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
        """Return an epoch's batches; the argument is that of `order`."""
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
