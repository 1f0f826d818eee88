"""The client's inner loops, shared by the algorithms: gradient descent, and passes without one.

Shape suffixes: B samples of a batch, N samples, K features, C classes.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from edgeloop.algorithm import Batch, Batches, Forward
from edgeloop.models.split import SplitModel

PASS_SIZE = 256
"""Samples a batch where nothing is learned; benchmarks/choices.py times it beside others."""


def descend(
    model: SplitModel,
    batches: Batches,
    loss: Callable[[Forward, Batch], Tensor],
    *,
    epochs: int,
    lr: float,
) -> None:
    """Train in place: SGD without momentum or decay, a new optimiser each round, as released."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for _ in range(epochs):
        for batch in batches:
            optimizer.zero_grad()
            loss(model, batch).backward()
            optimizer.step()


@torch.no_grad()
def features_of(model: SplitModel, batches: Batches) -> tuple[Tensor, Tensor]:
    """Return the training samples' features (N, K) and labels (N,), in evaluation mode."""
    model.eval()
    parts = [(model(inputs)[0], labels) for inputs, labels in batches.resized(PASS_SIZE)]
    if not parts:
        width = model.head.in_features
        return batches.inputs.new_zeros(0, width), batches.labels[:0]
    features, labels = zip(*parts, strict=True)
    return torch.cat(features), torch.cat(labels)


@torch.no_grad()
def count_correct(predict: Callable[[Tensor], Tensor], inputs: Tensor, labels: Tensor) -> int:
    """Count the samples whose highest finite score is their label's.

    Args:
        predict: inputs (B, ...) to scores (B, C).
        inputs: (N, ...).
        labels: (N,).
    """
    correct = 0
    for inputs_B, labels_B in zip(inputs.split(PASS_SIZE), labels.split(PASS_SIZE), strict=True):
        best = predict(inputs_B).max(dim=1)
        correct += int(((best.indices == labels_B) & best.values.isfinite()).sum())
    return correct
