"""The client's inner loops and the plainest loss, shared by the algorithms.

Shape suffixes: B samples of a batch, N samples, K features, C classes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from edgeloop.algorithm import Batch, Batches, CollectedOutputs, Forward, Recipe
from edgeloop.batches import Descent
from edgeloop.models.split import SplitModel
from edgeloop.training import losses

U = TypeVar("U")
B = TypeVar("B")

OUTPUTS = ("features", "logits")
"""Of a model's forward pass."""

PASS_SIZE = 256
"""Samples a batch where nothing is learned; benchmarks/choices.py times it beside others."""


def cross_entropy(forward: Forward, batch: Batch, targets: None = None) -> Tensor:
    """Return the mean softmax cross-entropy of the head's logits, a scalar.

    The `loss` of most algorithms; where a client's objective has more, their files say what.
    """
    inputs, labels_B = batch
    return F.cross_entropy(forward(inputs)[1], labels_B)


def train_recipe(recipe: Recipe[U, B], model: SplitModel, batches: Batches, broadcast: B) -> U:
    """Train one model in place as a recipe says; return the client's message."""
    goal = recipe.targets(broadcast, batches.inputs.device)
    learned = {name: getattr(goal, name).requires_grad_(True) for name in recipe.extra_params(goal)}
    steps = recipe.step_inputs(goal, batches.seed)
    collected = collect_outputs(recipe, model, batches) if recipe.collect_at == "before" else []

    def loss(forward: Forward, batch: Batch) -> Tensor:
        if recipe.collect is not None and recipe.collect_at == "during":
            forward = collecting_forward(forward, batch[1], collected, recipe.collect)
        return recipe.loss(forward, batch, with_fields(goal, {**learned, **next(steps)}))

    also = list(learned.values())
    train_sgd(
        model,
        batches,
        loss,
        epochs=recipe.epochs,
        lr=recipe.lr,
        extra_params=also,
        clip=recipe.clip,
    )
    if recipe.collect_at == "after":
        collected = collect_outputs(recipe, model, batches)
    return recipe.upload(model, batches, collected)


def collect_outputs(
    recipe: Recipe[Any, Any], model: SplitModel, batches: Batches
) -> CollectedOutputs:
    """Return what a recipe sees of all training samples, in evaluation mode."""
    number = OUTPUTS.index(recipe.collect) if recipe.collect else 0
    return [collect_pass(model, batches, lambda outputs: outputs[number])] if recipe.collect else []


def collecting_forward(
    forward: Forward, labels_B: Tensor, collected: CollectedOutputs, what: str
) -> Forward:
    """Return the same forward pass, which also notes a batch's outputs before its step.

    Args:
        forward: the model, while it trains.
        labels_B: the batch's labels.
        collected: where the outputs are noted.
        what: which of `OUTPUTS`.
    """

    def collecting(inputs: Tensor) -> tuple[Tensor, Tensor]:
        outputs = forward(inputs)
        collected.append((outputs[OUTPUTS.index(what)].detach(), labels_B))
        return outputs

    return collecting


def with_fields(goal: Any, fields: Mapping[str, Tensor]) -> Any:
    """Return a goal with some of its tensors replaced."""
    return goal._replace(**fields) if fields else goal


def train_sgd(  # noqa: PLR0913 - keywords but three, most with defaults
    model: SplitModel,
    batches: Batches,
    loss: Callable[[Forward, Batch], Tensor],
    *,
    epochs: int,
    lr: float,
    first_epoch: int = 0,
    extra_params: Sequence[Tensor] = (),
    params: Sequence[Tensor] | None = None,
    clip: float | None = None,
) -> None:
    """Train in place: SGD without momentum or decay, as released, or by the batches' descent.

    Args:
        model: whose base and head to train; what it keeps is left alone.
        batches: local samples.
        loss: of a batch.
        epochs: E.
        lr: eta.
        first_epoch: the number of the first epoch in the round, where the round has had others.
        extra_params: further tensors that learn with the model.
        params: which of the model's parameters learn; None for base and head, all of them.
        clip: the largest norm of the model's gradient, and of theirs.
    """
    model.train()
    mine = model.own() if params is None else params
    groups = [list(group) for group in (mine, extra_params) if group]
    learning = [tensor for group in groups for tensor in group]
    step = _step(learning, lr, batches.descent)
    for epoch in range(first_epoch, first_epoch + epochs):
        for batch in batches.epoch(epoch):
            clear_gradients(learning)
            value = loss(model, batch)
            value.backward(inputs=learning)
            losses.note(value)
            if clip is not None:
                for group in groups:
                    clip_grad_norm_(group, clip)
            step()
    clear_gradients(learning)  # who waits for its next round holds no gradients


def _step(learning: Sequence[Tensor], lr: float, how: Descent | None) -> Callable[[], object]:
    """Return what takes a step by the gradients that are there."""
    if how is None:
        return partial(descend, learning, lr)
    how.taken = True
    if how.optimizer is None:
        return partial(descend, learning, lr * how.factor)
    step: Callable[[], object] = how.optimizer(learning, lr * how.factor).step
    return step


def clear_gradients(params: Iterable[Tensor]) -> None:
    """Forget the gradients of the step before."""
    for param in params:
        param.grad = None


@torch.no_grad()
def descend(params: Iterable[Tensor], lr: float) -> None:
    """Take a step of plain SGD, where there is a gradient: `torch.optim.SGD`'s, to the bit.

    The first step of torch's own imports its compiler: 65 MB and a second that a small device has
    to spare no more than a test.

    Args:
        params: that learn; each has its gradient.
        lr: eta.
    """
    learned = [(param, param.grad) for param in params if param.grad is not None]
    if learned and learned[0][0].is_cuda:
        tensors, gradients = zip(*learned, strict=True)
        torch._foreach_add_(tensors, gradients, alpha=-lr)  # one kernel for all
        return
    for param, gradient in learned:
        param.add_(gradient, alpha=-lr)


@torch.no_grad()
def collect_pass(
    model: SplitModel, batches: Batches, take: Callable[[tuple[Tensor, Tensor]], Tensor]
) -> tuple[Tensor, Tensor]:
    """Return what is taken of the training samples' outputs, and the labels, evaluation mode.

    Args:
        model: not changed.
        batches: the samples; where they make no batch, nothing (0, ...) is returned.
        take: features (B, K) and logits (B, C), to one of them or what is made of them.
    """
    model.eval()
    parts = [(take(model(inputs)), labels) for inputs, labels in batches.resized(PASS_SIZE)]
    if not parts:
        nothing = (
            batches.inputs.new_zeros(0, model.width),
            batches.inputs.new_zeros(0, model.classes),
        )
        return take(nothing), batches.labels[:0]
    taken, labels = zip(*parts, strict=True)
    return torch.cat(taken), torch.cat(labels)


@torch.no_grad()
def hits(predict: Callable[[Tensor], Tensor], inputs: Tensor, labels: Tensor) -> Tensor:
    """Say of which samples the highest score is finite and their label's.

    Args:
        predict: inputs (B, ...) to scores (B, C).
        inputs: (N, ...).
        labels: (N,).

    Returns:
        bool (N,), where the labels are.
    """
    parts = []
    for inputs_B, labels_B in zip(inputs.split(PASS_SIZE), labels.split(PASS_SIZE), strict=True):
        best = predict(inputs_B).max(dim=1)
        parts.append((best.indices == labels_B) & best.values.isfinite())
    return torch.cat(parts)
