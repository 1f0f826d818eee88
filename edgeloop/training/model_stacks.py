"""The memory of many models as one: their parameters, samples and schedules with a leading axis.

Shape suffixes: M models, A of them at work, N samples, B of them in a batch, S steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgeloop.algorithm import Batches, CollectedOutputs
from edgeloop.models.split import SplitModel

Tensors = dict[str, Tensor]

SMALLEST = 1e-6
"""Added to a norm before it divides, as `torch.nn.utils.clip_grad_norm_` does."""


@dataclass(frozen=True)
class ClientBatch:
    """One client's training in a round.

    Attributes:
        model: trained in place.
        batches: its samples.
    """

    model: SplitModel
    batches: Batches


def named_tensors(model: nn.Module) -> Tensors:
    """Return a model's parameters and buffers by name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@torch.no_grad()
def load(state: Tensors, models: Sequence[Tensors]) -> None:
    """Copy models into the first rows of a stack."""
    for name, tensor in state.items():
        for row, model in enumerate(models):
            tensor[row] = model[name]


@torch.no_grad()
def unload(state: Tensors, models: Sequence[Tensors]) -> None:
    """Copy the first rows of a stack into models."""
    for name, tensor in state.items():
        for row, model in enumerate(models):
            model[name].copy_(tensor[row])


def leaves(tensors: Tensors) -> Tensors:
    """Return the same memory as leaves that gradients are asked of."""
    return {name: tensor.detach().requires_grad_(True) for name, tensor in tensors.items()}


def empty_stack(size: int, tensor: Tensor, device: torch.device) -> Tensor:
    """Return room for so many of a tensor, with a leading axis.

    Matrices lie as their gradients do, whose rows a mapped linear layer makes columns: where the
    two lie alike, a step of SGD reads and writes memory in one run.
    """
    if tensor.ndim == 2:
        return torch.empty(size, *tensor.T.shape, dtype=tensor.dtype, device=device).mT
    return torch.empty(size, *tensor.shape, dtype=tensor.dtype, device=device)


def shapes(goal: Any) -> list[torch.Size] | None:
    """Return the shapes of targets; None where there are none."""
    return None if goal is None else [tensor.shape for tensor in goal]


def padded_samples(ranked: Sequence[ClientBatch]) -> tuple[Tensor, Tensor]:
    """Return inputs (M, N, ...) and labels (M, N) of all models, zeros behind the fewer."""
    most = max(len(client_batch.batches.labels) for client_batch in ranked)
    first = ranked[0].batches
    inputs = first.inputs.new_zeros(len(ranked), most, *first.inputs.shape[1:])
    labels = first.labels.new_zeros(len(ranked), most)
    for row, client_batch in enumerate(ranked):
        count = len(client_batch.batches.labels)
        inputs[row, :count] = client_batch.batches.inputs
        labels[row, :count] = client_batch.batches.labels
    return inputs, labels


def schedule(ranked: Sequence[ClientBatch], epochs: int) -> Tensor:
    """Return which samples (S, M, B) each model reads in each step; zeros when it is done."""
    orders = [
        torch.cat([client_batch.batches.order(epoch) for epoch in range(epochs)])
        for client_batch in ranked
    ]
    return nn.utils.rnn.pad_sequence(orders)


def stack_fields(fields: Sequence[Mapping[str, Tensor]]) -> Tensors:
    """Return the models' fields as one of each name, with a leading axis."""
    return {name: torch.stack([each[name] for each in fields]) for name in fields[0]}


def append_collected(noted: Tensor, labels_AB: Tensor, seen: Sequence[CollectedOutputs]) -> None:
    """Give every model at work what was seen of its step."""
    for mine, noted_B, labels_B in zip(seen, noted, labels_AB, strict=False):
        mine.append((noted_B, labels_B))


def clip(gradients: Sequence[Tensor], largest: float) -> None:
    """Scale each model's gradients (A, ...), in place, so that their joint norm is not larger."""
    if not gradients:
        return
    squares_A = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0)
    factor_A = (largest / (squares_A.sqrt() + SMALLEST)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor_A.view(-1, *[1] * (gradient.ndim - 1)))
