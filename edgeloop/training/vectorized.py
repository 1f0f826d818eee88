"""Many clients' models as one: a step of all of them at once, through torch.func.

Every parameter gets a leading axis of models; the loss of a recipe, a function of one model's
outputs, is mapped over it. Models with more batches than others continue when those are done: the
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

from edgeloop.algorithm import Batches, CollectedOutputs, Recipe
from edgeloop.models.split import SplitModel
from edgeloop.training.cuda_graphs import CudaGraphs
from edgeloop.training.sgd import OUTPUTS, collect_outputs, with_fields
from edgeloop.training.traced_step import TracedFunction

U = TypeVar("U")
B = TypeVar("B")

Tensors = dict[str, Tensor]
Gradients = tuple[Tensor | None, ...]

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


class VectorizedTrainer(Generic[U, B]):
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
        self._template = copy.deepcopy(model).to(device).train()
        learning = {id(parameter) for parameter in self._template.own()}
        self._learning: Tensors = {}
        self._frozen: Tensors = {}
        for name, tensor in _named(self._template).items():
            kind = self._learning if id(tensor) in learning else self._frozen
            kind[name] = _empty_stack(size, tensor, device)
        self._extra_params: Tensors = {}
        self._goal: Any = None
        self._cuda_graphs = CudaGraphs(self._step) if device.type == "cuda" else None
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._gradients = (
            self._compute_gradients
            if device.type == "cuda"
            else TracedFunction(self._compute_gradients)
        )

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

    def train(self, client_batches: Sequence[ClientBatch], broadcast: B) -> list[U]:
        """Train all models in place; return the clients' messages in the order of the turns."""
        (uploads,) = train_interleaved([(self, client_batches)], broadcast)
        return uploads

    def steps(
        self, client_batches: Sequence[ClientBatch], broadcast: B
    ) -> Generator[None, None, list[U]]:
        """Train as `train` does, and stop after every step for somebody else's."""
        order = sorted(
            range(len(client_batches)), key=lambda number: -len(client_batches[number].batches)
        )
        ranked = [client_batches[number] for number in order]
        recipe = self._recipe
        self._set_goal(recipe.targets(broadcast, self._device), len(client_batches))
        before = recipe.collect_at == "before"
        seen = [
            collect_outputs(recipe, *_model_and_batches(client_batch)) if before else []
            for client_batch in ranked
        ]
        _load(self._state(), [_named(client_batch.model) for client_batch in ranked])
        for noted, labels_AB in self._train_steps(ranked):
            if noted is not None:
                _append_collected(noted, labels_AB, seen)
            yield
        _unload(self._state(), [_named(client_batch.model) for client_batch in ranked])
        if recipe.collect_at == "after":
            seen = [
                collect_outputs(recipe, *_model_and_batches(client_batch))
                for client_batch in ranked
            ]
        uploads = [
            recipe.upload(*_model_and_batches(client_batch), noted)
            for client_batch, noted in zip(ranked, seen, strict=True)
        ]
        return [uploads[order.index(number)] for number in range(len(client_batches))]

    def _state(self) -> Tensors:
        return {**self._learning, **self._frozen}

    def _set_goal(self, goal: Any, count: int) -> None:
        """Take over a round's goal; where its shapes are the last one's, into the same memory."""
        guesses = {name: getattr(goal, name) for name in self._recipe.extra_params(goal)}
        if _shapes(goal) == _shapes(self._goal) and list(guesses) == list(self._extra_params):
            for ours, theirs in zip(self._goal or (), goal or (), strict=True):
                ours.copy_(theirs)
        else:
            self._goal = goal
            size = len(next(iter(self._learning.values())))
            self._extra_params = {
                name: tensor.expand(size, *tensor.shape).clone() for name, tensor in guesses.items()
            }
            if self._cuda_graphs is not None:
                self._cuda_graphs.clear()
        for name, tensor in guesses.items():
            self._extra_params[name][:count] = tensor

    def _train_steps(self, ranked: Sequence[ClientBatch]) -> Iterator[tuple[Tensor | None, Tensor]]:
        """Take all steps; yield what each saw (A, B, any), if the recipe sees anything then.

        Beside it are the labels (A, B) of what it saw.
        """
        inputs, labels = _samples(ranked)
        counts = [self._recipe.epochs * len(client_batch.batches) for client_batch in ranked]
        order_SMB = _schedule(ranked, self._recipe.epochs).to(self._device)
        rows_M1 = torch.arange(len(ranked), device=self._device).unsqueeze(1)
        drawn = [
            self._recipe.step_inputs(self._goal, client_batch.batches.seed)
            for client_batch in ranked
        ]
        step = self._cuda_graphs or self._step
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
            for each in (self._learning, self._extra_params)
        )
        still = {name: tensor[:active] for name, tensor in self._frozen.items()}
        groups, noted = self._gradients(learning, guesses, still, self._goal, dict(batch))
        if self._recipe.clip is not None:
            for group in groups:
                _clip([gradient for gradient in group if gradient is not None], self._recipe.clip)
        with torch.no_grad():
            for tensors, group in zip((learning, guesses), groups, strict=True):
                for tensor, gradient in zip(tensors.values(), group, strict=True):
                    if gradient is not None:
                        tensor.sub_(gradient, alpha=self._recipe.lr)
        return noted if self._recipe.collect and self._recipe.collect_at == "during" else None

    def _compute_gradients(
        self, learning: Tensors, guesses: Tensors, still: Tensors, goal: Any, batch: Tensors
    ) -> tuple[tuple[Gradients, Gradients], Tensor]:
        """Return the gradients of what learns, and what the recipe sees of all models (A, B, any).

        The gradients are those of the models and of the guesses; None of what has no part in it.
        """
        ours, theirs = _leaves(learning), _leaves(guesses)
        losses_A, noted = vmap(partial(self._loss, goal))(ours, still, theirs, batch)
        leaves = [*ours.values(), *theirs.values()]
        gradients = torch.autograd.grad(losses_A.sum(), leaves, allow_unused=True)
        return (gradients[: len(ours)], gradients[len(ours) :]), noted

    def _loss(
        self, goal: Any, learning: Tensors, still: Tensors, guesses: Tensors, batch: Tensors
    ) -> tuple[Tensor, Tensor]:
        """Return one model's loss on its batch, and what its recipe sees of the outputs."""
        noted: list[Tensor] = []
        number = OUTPUTS.index(self._recipe.collect or "features")

        def forward(inputs: Tensor) -> tuple[Tensor, Tensor]:
            outputs: tuple[Tensor, Tensor] = functional_call(
                self._template, {**learning, **still}, (inputs,)
            )
            noted.append(outputs[number].detach())
            return outputs

        fields = {name: batch[name] for name in batch if name not in ("inputs", "labels")}
        sought = with_fields(goal, {**guesses, **fields})
        loss = self._recipe.loss(forward, (batch["inputs"], batch["labels"]), sought)
        return loss, noted[0]


def train_interleaved(
    work: Sequence[tuple[VectorizedTrainer[U, B], Sequence[ClientBatch]]], broadcast: B
) -> list[list[U]]:
    """Train several stacks, a step of each in turn, so that a GPU has all of them in flight.

    Returns:
        the clients' messages, stack by stack, in the order of the turns.
    """
    for stack, _ in work:
        stack.begin()
    going = {
        number: stack.steps(client_batches, broadcast)
        for number, (stack, client_batches) in enumerate(work)
    }
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


def _model_and_batches(client_batch: ClientBatch) -> tuple[SplitModel, Batches]:
    return client_batch.model, client_batch.batches


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


def _empty_stack(size: int, tensor: Tensor, device: torch.device) -> Tensor:
    """Return room for so many of a tensor, with a leading axis.

    Matrices lie as their gradients do, whose rows a mapped linear layer makes columns: where the
    two lie alike, a step of SGD reads and writes memory in one run.
    """
    if tensor.ndim == 2:
        return torch.empty(size, *tensor.T.shape, dtype=tensor.dtype, device=device).mT
    return torch.empty(size, *tensor.shape, dtype=tensor.dtype, device=device)


def _shapes(goal: Any) -> list[torch.Size] | None:
    return None if goal is None else [tensor.shape for tensor in goal]


def _samples(ranked: Sequence[ClientBatch]) -> tuple[Tensor, Tensor]:
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


def _schedule(ranked: Sequence[ClientBatch], epochs: int) -> Tensor:
    """Return which samples (S, M, B) each model reads in each step; zeros when it is done."""
    orders = [
        torch.cat([client_batch.batches.order(epoch) for epoch in range(epochs)])
        for client_batch in ranked
    ]
    return nn.utils.rnn.pad_sequence(orders)


def _stacked(fields: Sequence[Mapping[str, Tensor]]) -> Tensors:
    return {name: torch.stack([each[name] for each in fields]) for name in fields[0]}


def _append_collected(noted: Tensor, labels_AB: Tensor, seen: Sequence[CollectedOutputs]) -> None:
    """Give every model at work what was seen of its step."""
    for mine, noted_B, labels_B in zip(seen, noted, labels_AB, strict=False):
        mine.append((noted_B, labels_B))


def _clip(gradients: Sequence[Tensor], largest: float) -> None:
    """Scale each model's gradients (A, ...), in place, so that their joint norm is not larger."""
    if not gradients:
        return
    squares_A = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0)
    factor_A = (largest / (squares_A.sqrt() + SMALLEST)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor_A.view(-1, *[1] * (gradient.ndim - 1)))
