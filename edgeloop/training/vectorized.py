"""Many clients' models as one: a step of all of them at once, through torch.func.

Every parameter gets a leading axis of models; the loss of a recipe, a function of one model's
outputs, is mapped over it. Models with more batches than others go on when those are done: the
models are sorted, so that those at work are always the first rows. For each number of models at
work a step is captured as a CUDA graph on a GPU, and replayed; on a CPU its operations are recorded
(`recorded`).

The models train as they would alone, up to rounding: sums may be in another order.

Shape suffixes: M models, A of them at work, N samples, B of them in a batch, S steps.
"""

import copy
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from edgeloop.algorithm import Batches, Recipe, Seen
from edgeloop.models.split import SplitModel
from edgeloop.training.cuda_graphs import Replays
from edgeloop.training.sgd import OUTPUTS, looked, with_fields
from edgeloop.training.traced_step import Recorded

U = TypeVar("U")
B = TypeVar("B")

Tensors = dict[str, Tensor]
Slopes = tuple[Tensor | None, ...]

SMALLEST = 1e-6
"""Added to a norm before it divides, as `torch.nn.utils.clip_grad_norm_` does."""


@dataclass(frozen=True)
class Turn:
    """One client's training in a round.

    Attributes:
        model: trained in place.
        batches: its samples.
    """

    model: SplitModel
    batches: Batches


class Stack(Generic[U, B]):
    """Trains models of one architecture together.

    Args:
        recipe: how.
        model: one of that architecture; not changed.
        size: how many there are room for.
        device: where they train.
    """

    def __init__(
        self, recipe: Recipe[U, B], model: SplitModel, size: int, device: torch.device
    ) -> None:
        self._recipe = recipe
        self._device = device
        self._alone = copy.deepcopy(model).to(device).train()
        learning = {id(parameter) for parameter in self._alone.own()}
        self._learning: Tensors = {}
        self._still: Tensors = {}
        for name, tensor in _named(self._alone).items():
            kind = self._learning if id(tensor) in learning else self._still
            kind[name] = _room(size, tensor, device)
        self._guesses: Tensors = {}
        self._goal: Any = None
        self._replays = Replays(self._step) if device.type == "cuda" else None
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._slopes = self._sloped if device.type == "cuda" else Recorded(self._sloped)

    def context(self) -> AbstractContextManager[Any]:
        """Return what the stack's work is to be done in: its own stream on a GPU."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def begin(self) -> None:
        """Let the stack's work wait for what has been asked of the GPU so far."""
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._device))

    def end(self) -> None:
        """Let what will be asked of the GPU wait for the stack's work."""
        if self._stream is not None:
            torch.cuda.current_stream(self._device).wait_stream(self._stream)

    def train(self, turns: Sequence[Turn], broadcast: B) -> list[U]:
        """Train all models in place; return the clients' messages in the order of the turns."""
        (uploads,) = in_turn([(self, turns)], broadcast)
        return uploads

    def steps(self, turns: Sequence[Turn], broadcast: B) -> Generator[None, None, list[U]]:
        """Train as `train` does, and stop after every step for somebody else's."""
        order = sorted(range(len(turns)), key=lambda number: -len(turns[number].batches))
        ranked = [turns[number] for number in order]
        recipe = self._recipe
        self._aim(recipe.targets(broadcast, self._device), len(turns))
        before = recipe.when == "before"
        seen = [looked(recipe, *_of(turn)) if before else [] for turn in ranked]
        _load(self._state(), [_named(turn.model) for turn in ranked])
        for noted, labels_AB in self._descent(ranked):
            if noted is not None:
                _file(noted, labels_AB, seen)
            yield
        _unload(self._state(), [_named(turn.model) for turn in ranked])
        if recipe.when == "after":
            seen = [looked(recipe, *_of(turn)) for turn in ranked]
        uploads = [
            recipe.upload(*_of(turn), noted) for turn, noted in zip(ranked, seen, strict=True)
        ]
        return [uploads[order.index(number)] for number in range(len(turns))]

    def _state(self) -> Tensors:
        return {**self._learning, **self._still}

    def _aim(self, goal: Any, count: int) -> None:
        """Take over a round's goal; where its shapes are the last one's, into the same memory."""
        guesses = {name: getattr(goal, name) for name in self._recipe.learns(goal)}
        if _shapes(goal) == _shapes(self._goal) and list(guesses) == list(self._guesses):
            for ours, theirs in zip(self._goal or (), goal or (), strict=True):
                ours.copy_(theirs)
        else:
            self._goal = goal
            size = len(next(iter(self._learning.values())))
            self._guesses = {
                name: tensor.expand(size, *tensor.shape).clone() for name, tensor in guesses.items()
            }
            if self._replays is not None:
                self._replays.forget()
        for name, tensor in guesses.items():
            self._guesses[name][:count] = tensor

    def _descent(self, ranked: Sequence[Turn]) -> Iterator[tuple[Tensor | None, Tensor]]:
        """Take all steps; yield what each saw (A, B, any), if the recipe sees anything then.

        Beside it are the labels (A, B) of what it saw.
        """
        inputs, labels = _samples(ranked)
        counts = [self._recipe.epochs * len(turn.batches) for turn in ranked]
        order_SMB = _schedule(ranked, self._recipe.epochs).to(self._device)
        rows_M1 = torch.arange(len(ranked), device=self._device).unsqueeze(1)
        drawn = [self._recipe.steps(self._goal, turn.batches.seed) for turn in ranked]
        step = self._replays or self._step
        for number in range(counts[0]):
            active = sum(count > number for count in counts)
            at = rows_M1[:active], order_SMB[number, :active]
            fields = _stacked([next(each) for each in drawn[:active]])
            labels_AB = labels[at]
            yield step({"inputs": inputs[at], "labels": labels_AB, **fields}), labels_AB

    def _step(self, batch: Mapping[str, Tensor]) -> Tensor | None:
        """Take one step of the first rows with a batch (A, B, ...) of each, in place."""
        active = len(batch["labels"])
        learning, guesses = (
            {name: tensor[:active] for name, tensor in each.items()}
            for each in (self._learning, self._guesses)
        )
        still = {name: tensor[:active] for name, tensor in self._still.items()}
        groups, noted = self._slopes(learning, guesses, still, self._goal, dict(batch))
        if self._recipe.clip is not None:
            for group in groups:
                _clip([slope for slope in group if slope is not None], self._recipe.clip)
        with torch.no_grad():
            for tensors, group in zip((learning, guesses), groups, strict=True):
                for tensor, slope in zip(tensors.values(), group, strict=True):
                    if slope is not None:
                        tensor.sub_(slope, alpha=self._recipe.lr)
        return noted if self._recipe.sees and self._recipe.when == "during" else None

    def _sloped(
        self, learning: Tensors, guesses: Tensors, still: Tensors, goal: Any, batch: Tensors
    ) -> tuple[tuple[Slopes, Slopes], Tensor]:
        """Return the gradients of what learns, and what the recipe sees of all models (A, B, any).

        The gradients are those of the models and of the guesses; None of what has no part in it.
        """
        ours, theirs = _leaves(learning), _leaves(guesses)
        losses_A, noted = vmap(partial(self._loss, goal))(ours, still, theirs, batch)
        leaves = [*ours.values(), *theirs.values()]
        slopes = torch.autograd.grad(losses_A.sum(), leaves, allow_unused=True)
        return (slopes[: len(ours)], slopes[len(ours) :]), noted

    def _loss(
        self, goal: Any, learning: Tensors, still: Tensors, guesses: Tensors, batch: Tensors
    ) -> tuple[Tensor, Tensor]:
        """Return one model's loss on its batch, and what its recipe sees of the outputs."""
        noted: list[Tensor] = []
        number = OUTPUTS.index(self._recipe.sees or "features")

        def forward(inputs: Tensor) -> tuple[Tensor, Tensor]:
            outputs: tuple[Tensor, Tensor] = functional_call(
                self._alone, {**learning, **still}, (inputs,)
            )
            noted.append(outputs[number].detach())
            return outputs

        fields = {name: batch[name] for name in batch if name not in ("inputs", "labels")}
        sought = with_fields(goal, {**guesses, **fields})
        loss = self._recipe.loss(forward, (batch["inputs"], batch["labels"]), sought)
        return loss, noted[0]


def in_turn(work: Sequence[tuple[Stack[U, B], Sequence[Turn]]], broadcast: B) -> list[list[U]]:
    """Train several stacks, a step of each in turn, so that a GPU has all of them in flight.

    Returns:
        the clients' messages, stack by stack, in the order of the turns.
    """
    for stack, _ in work:
        stack.begin()
    going = {number: stack.steps(turns, broadcast) for number, (stack, turns) in enumerate(work)}
    uploads: dict[int, list[U]] = {}
    while going:
        for number, steps in list(going.items()):
            try:
                with work[number][0].context():
                    next(steps)
            except StopIteration as ended:
                uploads[number] = ended.value
                del going[number]
    for stack, _ in work:
        stack.end()
    return [uploads[number] for number in range(len(work))]


def _of(turn: Turn) -> tuple[SplitModel, Batches]:
    return turn.model, turn.batches


def _named(model: nn.Module) -> Tensors:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@torch.no_grad()
def _load(state: Tensors, models: Sequence[Tensors]) -> None:
    for name, tensor in state.items():
        for row, model in enumerate(models):
            tensor[row] = model[name]


@torch.no_grad()
def _unload(state: Tensors, models: Sequence[Tensors]) -> None:
    for name, tensor in state.items():
        for row, model in enumerate(models):
            model[name].copy_(tensor[row])


def _leaves(tensors: Tensors) -> Tensors:
    """Return the same memory as leaves that gradients are asked of."""
    return {name: tensor.detach().requires_grad_(True) for name, tensor in tensors.items()}


def _room(size: int, tensor: Tensor, device: torch.device) -> Tensor:
    """Return room for so many of a tensor, with a leading axis.

    Matrices lie as their gradients do, whose rows a mapped linear layer makes columns: where the
    two lie alike, a step of SGD reads and writes memory in one run.
    """
    if tensor.ndim == 2:
        return torch.empty(size, *tensor.T.shape, dtype=tensor.dtype, device=device).mT
    return torch.empty(size, *tensor.shape, dtype=tensor.dtype, device=device)


def _shapes(goal: Any) -> list[torch.Size] | None:
    return None if goal is None else [tensor.shape for tensor in goal]


def _samples(ranked: Sequence[Turn]) -> tuple[Tensor, Tensor]:
    """Return inputs (M, N, ...) and labels (M, N) of all models, zeros behind the fewer."""
    most = max(len(turn.batches.labels) for turn in ranked)
    first = ranked[0].batches
    inputs = first.inputs.new_zeros(len(ranked), most, *first.inputs.shape[1:])
    labels = first.labels.new_zeros(len(ranked), most)
    for row, turn in enumerate(ranked):
        count = len(turn.batches.labels)
        inputs[row, :count] = turn.batches.inputs
        labels[row, :count] = turn.batches.labels
    return inputs, labels


def _schedule(ranked: Sequence[Turn], epochs: int) -> Tensor:
    """Return which samples (S, M, B) each model reads in each step; zeros when it is done."""
    orders = [torch.cat([turn.batches.order(epoch) for epoch in range(epochs)]) for turn in ranked]
    return nn.utils.rnn.pad_sequence(orders)


def _stacked(fields: Sequence[Mapping[str, Tensor]]) -> Tensors:
    return {name: torch.stack([each[name] for each in fields]) for name in fields[0]}


def _file(noted: Tensor, labels_AB: Tensor, seen: Sequence[Seen]) -> None:
    """Give every model at work what was seen of its step."""
    for mine, noted_B, labels_B in zip(seen, noted, labels_AB, strict=False):
        mine.append((noted_B, labels_B))


def _clip(slopes: Sequence[Tensor], largest: float) -> None:
    """Scale each model's gradients (A, ...), in place, so that their joint norm is not larger."""
    if not slopes:
        return
    squares_A = torch.stack([slope.flatten(1).square().sum(1) for slope in slopes]).sum(0)
    factor_A = (largest / (squares_A.sqrt() + SMALLEST)).clamp(max=1.0)
    for slope in slopes:
        slope.mul_(factor_A.view(-1, *[1] * (slope.ndim - 1)))
