"""A cohort in this process that trains clients of one architecture in one step."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from typing import Generic, TypeVar

import torch

from edgeloop.algorithm import Recipe
from edgeloop.answers import Answer
from edgeloop.client import Client, EvaluatedRound
from edgeloop.cohorts.local import LocalCohort
from edgeloop.training.vectorized import ClientBatch, VectorizedTrainer, train_interleaved

U = TypeVar("U")
B = TypeVar("B")

SIZE = 32
"""Models of a stack, at most: what they need beside their own memory grows with it."""


@dataclass(frozen=True)
class _Group(Generic[U, B]):
    """Clients that train together in a round, and their stack."""

    stack: VectorizedTrainer[U, B]
    names: Sequence[str]


class StackedCohort(LocalCohort[B, U]):
    """Asks clients of the same kind together, and the others in turn.

    Args:
        clients: by name.
        recipe: of the algorithm.
        kinds: the architecture of each client to be stacked; who is not in it answers alone.
        device: where they train.
    """

    def __init__(
        self,
        clients: Mapping[str, Client[U, B]],
        recipe: Recipe[U, B],
        kinds: Mapping[str, str],
        device: torch.device,
    ) -> None:
        super().__init__(clients)
        self._networks = dict(clients)
        self._recipe = recipe
        self._kinds = kinds
        self._device = device
        self._stacks: dict[tuple[str, int], VectorizedTrainer[U, B]] = {}

    def ask(
        self, round_number: int, broadcast: B, participants: Collection[str] | None = None
    ) -> Mapping[str, Answer[U]]:
        """Open a round and return its answers by client; who does not join only evaluates."""
        together = [
            name
            for name in self._clients
            if name in self._kinds and _takes_part(name, participants)
        ]
        alone = {
            name: client.answer(round_number, broadcast, _takes_part(name, participants))
            for name, client in self._clients.items()
            if name not in together
        }
        return dict(sorted({**alone, **self._together(together, round_number, broadcast)}.items()))

    def _together(
        self, names: Sequence[str], round_number: int, broadcast: B
    ) -> dict[str, Answer[U]]:
        with ExitStack() as awake:
            for name in names:
                awake.enter_context(self._networks[name].on_device())
            opened = {
                name: self._networks[name].evaluate_round(round_number, broadcast) for name in names
            }
            begun = time.perf_counter()
            uploads = self._trained(opened, broadcast)
            seconds = time.perf_counter() - begun
        samples = sum(len(each.batches) for each in opened.values()) or 1
        return {
            name: self._networks[name].make_answer(
                each, uploads[name], seconds * len(each.batches) / samples
            )
            for name, each in opened.items()
        }

    def _trained(self, opened: Mapping[str, EvaluatedRound], broadcast: B) -> dict[str, U]:
        groups = list(self._groups(opened))
        work = [
            (group.stack, [self._client_batch(name, opened[name]) for name in group.names])
            for group in groups
        ]
        uploads = train_interleaved(work, broadcast)
        for group, (stack, batches) in zip(groups, work, strict=True):
            for name, loss in zip(group.names, stack.mean_losses(batches), strict=True):
                self._networks[name].training_loss = loss
        return {
            name: upload
            for group, parts in zip(groups, uploads, strict=True)
            for name, upload in zip(group.names, parts, strict=True)
        }

    def _client_batch(self, name: str, opened: EvaluatedRound) -> ClientBatch:
        return ClientBatch(self._networks[name].model, opened.batches)

    def _groups(self, opened: Mapping[str, EvaluatedRound]) -> Iterable[_Group[U, B]]:
        """Deal clients of a kind to stacks, those with as many batches to the same one."""
        ranked = sorted(opened, key=lambda name: (self._kinds[name], -len(opened[name].batches)))
        for kind, names in groupby(ranked, self._kinds.__getitem__):
            clients = list(names)
            for number, start in enumerate(range(0, len(clients), SIZE)):
                chosen = clients[start : start + SIZE]
                yield _Group(self._stack(kind, number, chosen[0]), chosen)

    def _stack(self, kind: str, number: int, example: str) -> VectorizedTrainer[U, B]:
        """Return the kind's stack of this number; it stays for later rounds."""
        key = kind, number
        if key not in self._stacks:
            count = sum(each == kind for each in self._kinds.values())
            size = min(SIZE, count - number * SIZE)
            model = self._networks[example].model
            self._stacks[key] = VectorizedTrainer(self._recipe, model, size, self._device)
        return self._stacks[key]


def _takes_part(name: str, participants: Collection[str] | None) -> bool:
    return participants is None or name in participants
