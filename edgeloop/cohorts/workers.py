"""A cohort in worker processes on this machine, one thread each; a client stays in its process."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from edgeloop.answers import Answer, Report
from edgeloop.cohorts.local import LocalCohort
from edgeloop.errors import InputError
from edgeloop.runtime.worker_processes import WorkerDiedError as WorkerDiedError
from edgeloop.runtime.worker_processes import crew
from edgeloop.training.compute import enough_memory

U = TypeVar("U")
B = TypeVar("B")
T = TypeVar("T")
Build = Callable[[Sequence[str]], LocalCohort[B, U]]
"""Makes the cohort of the named clients; pickled to the worker that will own them."""


def shares(costs: Mapping[str, float], workers: int) -> list[list[str]]:
    """Deal clients to workers so that their sums of costs are near each other, dearest first."""
    hands: list[list[str]] = [[] for _ in range(min(workers, len(costs)))]
    sums = [0.0] * len(hands)
    for name in sorted(costs, key=lambda name: (-costs[name], name)):
        lightest = sums.index(min(sums))
        hands[lightest].append(name)
        sums[lightest] += costs[name]
    return hands


class WorkerCohort(Generic[B, U]):
    """Asks all workers at once; gives what a `LocalCohort` of all the clients would give.

    Args:
        build: makes the cohort of some of the clients; must be picklable.
        costs: what a round of each client takes, in any unit.
        workers: how many processes.
    """

    def __init__(self, build: Build[B, U], costs: Mapping[str, float], workers: int) -> None:
        hands = [(build, names) for names in shares(costs, workers)]
        self._stack = ExitStack()
        self._workers = self._stack.enter_context(crew(_work, hands, daemon=True))
        try:
            self._call("ready")
        except BaseException:
            self.close()
            raise

    def ask(
        self, round_number: int, broadcast: B, joining: Collection[str] | None = None
    ) -> Mapping[str, Answer[U]]:
        """Open a round and return its answers by client; who does not join only evaluates."""
        return self._merged("ask", round_number, broadcast, joining)

    def finish(self, round_number: int, broadcast: B) -> Mapping[str, Report]:
        """Have every member evaluate the last broadcast."""
        return self._merged("finish", round_number, broadcast)

    def hits(self) -> Mapping[str, bytes]:
        """Return what every member's last evaluation has right; see `Member.hits`."""
        return self._merged("hits")

    def each(self, what: Callable[[str, Any], T]) -> Mapping[str, T]:
        """Return what a function, which must be picklable, tells of every member; where it lives.

        Args:
            what: of a client's name and its half.
        """
        return self._merged("each", what)

    def save(self, folder: Path) -> None:
        """Write every member's model to a file of its own in an existing folder."""
        self._call("save", folder)

    def restore(self, folder: Path) -> None:
        """Take over the models that `save` wrote."""
        self._call("restore", folder)

    def close(self) -> None:
        """End the workers; what they compute now, nobody waits for."""
        self._stack.close()

    def _merged(self, what: str, *arguments: Any) -> dict[str, Any]:
        parts = self._call(what, *arguments)
        return dict(sorted((name, value) for part in parts for name, value in part.items()))

    def _call(self, what: str, *arguments: Any) -> list[Any]:
        for worker in self._workers:
            worker.send((what, arguments))
        results = [worker.receive() for worker in self._workers]
        for result in results:
            if isinstance(result, InputError):
                raise result
        return results


def _work(end: "Connection[Any, Any]", build: Build[Any, Any], names: Sequence[str]) -> None:
    """Serve a cohort's calls."""
    torch.set_num_threads(1)
    cohort: LocalCohort[Any, Any] | None = None
    while True:
        what, arguments = end.recv()
        try:
            with enough_memory("cpu"):
                cohort = cohort or build(names)
                result = None if what == "ready" else getattr(cohort, what)(*arguments)
        except InputError as error:
            result = error
        end.send(result)
