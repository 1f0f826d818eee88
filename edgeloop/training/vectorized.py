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
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from edgeloop.algorithm import Batches, Recipe
from edgeloop.models.split import SplitModel
from edgeloop.training import model_stacks as stacks
from edgeloop.training.cuda_graphs import CudaGraphs
from edgeloop.training.model_stacks import ClientBatch as ClientBatch
from edgeloop.training.model_stacks import Tensors
from edgeloop.training.sgd import OUTPUTS, collect_outputs, with_fields
from edgeloop.training.traced_step import TracedFunction

U = TypeVar("U")
B = TypeVar("B")

Gradients = tuple[Tensor | None, ...]


class VectorizedTrainer(Generic[U, B]):
    """Trains models of one architecture together.

    Args:
        recipe: how.
        model: one of that architecture; not changed.
        size: how many there are room for.
        device: where they train.
        captured: whether a GPU's step is captured as CUDA graphs.
    """

    def __init__(
        self,
        recipe: Recipe[U, B],
        model: SplitModel,
        size: int,
        device: torch.device,
        captured: bool = True,
    ) -> None:
        self._recipe = recipe
        self._device = device
        self._template = copy.deepcopy(model).to(device).train()
        learning = {id(parameter) for parameter in self._template.own()}
        self._learning: Tensors = {}
        self._frozen: Tensors = {}
        for name, tensor in stacks.named_tensors(self._template).items():
            kind = self._learning if id(tensor) in learning else self._frozen
            kind[name] = stacks.empty_stack(size, tensor, device)
        self._extra_params: Tensors = {}
        self._loss_sums_M = torch.zeros(size, dtype=torch.float64, device=device)
        self._goal: Any = None
        self._cuda_graphs = CudaGraphs(self._step) if captured and device.type == "cuda" else None
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
        order = _by_batches(client_batches)
        ranked = [client_batches[number] for number in order]
        recipe = self._recipe
        self._set_goal(recipe.targets(broadcast, self._device), len(client_batches))
        before = recipe.collect_at == "before"
        seen = [
            collect_outputs(recipe, *_model_and_batches(client_batch)) if before else []
            for client_batch in ranked
        ]
        stacks.load(
            self._state(),
            [stacks.named_tensors(client_batch.model) for client_batch in ranked],
        )
        self._loss_sums_M.zero_()
        for noted, labels_AB in self._train_steps(ranked):
            if noted is not None:
                stacks.append_collected(noted, labels_AB, seen)
            yield
        stacks.unload(
            self._state(),
            [stacks.named_tensors(client_batch.model) for client_batch in ranked],
        )
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

    def mean_losses(self, client_batches: Sequence[ClientBatch]) -> list[float | None]:
        """Return the mean of what each model descended when these were trained last.

        Args:
            client_batches: those of the last training, in their order.

        Returns:
            the mean over all steps; None of a model that took none.
        """
        found = dict(zip(_by_batches(client_batches), self._loss_sums_M.tolist(), strict=False))
        steps = [self._recipe.epochs * len(each.batches) for each in client_batches]
        return [found[number] / count if count else None for number, count in enumerate(steps)]

    def _state(self) -> Tensors:
        return {**self._learning, **self._frozen}

    def _set_goal(self, goal: Any, count: int) -> None:
        """Take over a round's goal; where its shapes are the last one's, into the same memory."""
        guesses = {name: getattr(goal, name) for name in self._recipe.extra_params(goal)}
        if stacks.shapes(goal) == stacks.shapes(self._goal) and list(guesses) == list(
            self._extra_params
        ):
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
        inputs, labels = stacks.padded_samples(ranked)
        counts = [self._recipe.epochs * len(client_batch.batches) for client_batch in ranked]
        order_SMB = stacks.schedule(ranked, self._recipe.epochs).to(self._device)
        rows_M1 = torch.arange(len(ranked), device=self._device).unsqueeze(1)
        drawn = [
            self._recipe.step_inputs(self._goal, client_batch.batches.seed)
            for client_batch in ranked
        ]
        step = self._cuda_graphs or self._step
        for number in range(counts[0]):
            active = sum(count > number for count in counts)
            at = rows_M1[:active], order_SMB[number, :active]
            fields = stacks.stack_fields([next(each) for each in drawn[:active]])
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
        groups, noted, losses_A = self._gradients(learning, guesses, still, self._goal, dict(batch))
        if self._recipe.clip is not None:
            for group in groups:
                stacks.clip(
                    [gradient for gradient in group if gradient is not None], self._recipe.clip
                )
        with torch.no_grad():
            self._loss_sums_M[:active].add_(losses_A)
            for tensors, group in zip((learning, guesses), groups, strict=True):
                for tensor, gradient in zip(tensors.values(), group, strict=True):
                    if gradient is not None:
                        tensor.sub_(gradient, alpha=self._recipe.lr)
        return noted if self._recipe.collect and self._recipe.collect_at == "during" else None

    def _compute_gradients(
        self, learning: Tensors, guesses: Tensors, still: Tensors, goal: Any, batch: Tensors
    ) -> tuple[tuple[Gradients, Gradients], Tensor, Tensor]:
        """Return the gradients of what learns, what the recipe sees (A, B, any), and losses (A,).

        The gradients are those of the models and of the guesses; None of what has no part in it.
        """
        ours, theirs = stacks.leaves(learning), stacks.leaves(guesses)
        losses_A, noted = vmap(partial(self._loss, goal))(ours, still, theirs, batch)
        leaves = [*ours.values(), *theirs.values()]
        gradients = torch.autograd.grad(losses_A.sum(), leaves, allow_unused=True)
        return (gradients[: len(ours)], gradients[len(ours) :]), noted, losses_A.detach()

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


def _by_batches(client_batches: Sequence[ClientBatch]) -> list[int]:
    """Return the order of a stack's rows: models with more batches before those with fewer."""
    return sorted(
        range(len(client_batches)), key=lambda number: -len(client_batches[number].batches)
    )


def _model_and_batches(client_batch: ClientBatch) -> tuple[SplitModel, Batches]:
    return client_batch.model, client_batch.batches
