"""A cohort in worker processes on this machine, one thread each; a client stays in its process."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from edgeloop.answers import Answer, Report
from edgeloop.cohorts.local import LocalCohort
from edgeloop.errors import EdgeloopError
from edgeloop.runtime.worker_processes import WorkerDiedError as WorkerDiedError
from edgeloop.runtime.worker_processes import worker_processes
from edgeloop.training.compute import enough_memory

U = TypeVar("U")
B = TypeVar("B")
T = TypeVar("T")
Build = Callable[[Sequence[str]], LocalCohort[B, U]]
"""Makes the cohort of the named clients; pickled to the worker that will own them."""


def assign_clients(costs: Mapping[str, float], workers: int) -> list[list[str]]:
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
        hands = [(build, names) for names in assign_clients(costs, workers)]
        self._stack = ExitStack()
        self._workers = self._stack.enter_context(worker_processes(_work, hands, daemon=True))
        try:
            self._call("ready")
        except BaseException:
            self.close()
            raise

    def ask(
        self, round_number: int, broadcast: B, participants: Collection[str] | None = None
    ) -> Mapping[str, Answer[U]]:
        """Open a round and return its answers by client; who does not join only evaluates."""
        return self._merged("ask", round_number, broadcast, participants)

    def finish(self, round_number: int, broadcast: B) -> Mapping[str, Report]:
        """Have every client evaluate the last broadcast."""
        return self._merged("finish", round_number, broadcast)

    def hits(self) -> Mapping[str, bytes]:
        """Return what every client's last evaluation has right; see `Client.hits`."""
        return self._merged("hits")

    def map_clients(self, function: Callable[[str, Any], T]) -> Mapping[str, T]:
        """Return what a function, which must be picklable, tells of every client; where it lives.

        Args:
            function: of a client's name and the client.
        """
        return self._merged("map_clients", function)

    def save(self, folder: Path) -> None:
        """Write every client's model to a file of its own in an existing folder."""
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
            if isinstance(result, EdgeloopError):
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
        except EdgeloopError as error:
            result = error
        end.send(result)
