"""Where tasks are run: what a server sees there, and what it can do about them."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from cloud.console.reported import Aggregator, Reported
from cloud.console.settings import FollowedAggregator
from edgeloop.errors import EdgeloopError
from edgeloop.remote.models import Act, TaskState, Verb
from edgeloop.runtime.config import BrokerSettings

LOOKS = 16
"""Aggregators that are asked at the same time."""

T = TypeVar("T")
Kind = Literal["stack", "cluster", "aggregator"]


class ImpossibleError(EdgeloopError):
    """What is asked cannot be done to this task as it is."""


@dataclass(frozen=True)
class Sighting:
    """A task as a look has found it.

    Attributes:
        name: the task's.
        state: what it is doing.
        algorithm: its name, as far as is known without its aggregator.
        rounds: how many it has.
        reported: what its aggregator says; None while it does not answer.
        waits: why no round can continue.
        folder: where its aggregator keeps its files, if that is on this machine.
        agents: folders of its devices on this machine, by name.
        aggregator: its HTTP interface; None while it is not to run.
        class_names: one a class, as far as is known without its aggregator.
        shape: of one input, likewise.
    """

    name: str
    state: TaskState
    algorithm: str = ""
    rounds: int = 0
    reported: Reported | None = None
    waits: str = ""
    folder: Path | None = None
    agents: tuple[tuple[str, Path], ...] = ()
    aggregator: Aggregator | None = None
    class_names: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()


def looked(seen: Callable[[T], Sighting], wanted: Sequence[T]) -> list[Sighting]:
    """Return what a look finds of each, several at a time: one that does not answer takes long."""
    with ThreadPoolExecutor(LOOKS) as pool:
        return list(pool.map(seen, wanted))


class Source(Protocol):
    """Somewhere that tasks are run."""

    kind: Kind

    def look(self) -> list[Sighting]:
        """Return the tasks, as they are now.

        Raises:
            EdgeloopError: if nothing can be seen.
        """

    def has_gone(self, task: str) -> bool:
        """Return whether a task that the last look has not found is there no more."""

    def act(self, task: str, verb: Verb) -> Act:
        """Start, pause, resume or cancel a task.

        Raises:
            ImpossibleError: if that cannot be done to it.
            EdgeloopError: if it could not be done.
        """

    def evict(self, task: str, device: str) -> Act:
        """Have a device take no more part in a task; errors as above."""

    def create(self, table: Mapping[str, Any], namespace: str, begin: bool) -> Act:
        """Make a task.

        Args:
            table: as a task's TOML file has it.
            namespace: of a cluster; empty elsewhere.
            begin: whether it begins at once.

        Raises:
            ConfigError: if a key or a value is wrong.
            ImpossibleError: if no task can be made here, or there is one of that name.
        """

    def broker(self, task: str) -> BrokerSettings | None:
        """Return where a task's devices are reached, and as whom; None where nobody says."""

    def labelled(self, task: str, labels: dict[str, str]) -> frozenset[str]:
        """Return the names of devices with some labels.

        Raises:
            ImpossibleError: if devices have none there.
        """


class Followed:
    """Aggregators that somebody else runs.

    Args:
        settings: of each.
    """

    kind: Kind = "aggregator"

    def __init__(self, settings: tuple[FollowedAggregator, ...]) -> None:
        self._aggregators = {
            each.name: Aggregator(each.url, each.token_file, each.ca_file) for each in settings
        }

    def look(self) -> list[Sighting]:
        """Return the tasks, as they are now."""
        return looked(self._seen, list(self._aggregators))

    def has_gone(self, task: str) -> bool:
        """Return that it has: the server's file names it no more."""
        return True

    def _seen(self, name: str) -> Sighting:
        aggregator = self._aggregators[name]
        status = aggregator.status()
        if status is None:
            return Sighting(name, "Away", waits="its aggregator does not answer")
        reported, waits = status
        state: TaskState = "Finished" if reported.phase == "finished" else "Running"
        return Sighting(
            name,
            state,
            reported.algorithm,
            reported.rounds,
            reported,
            waits,
            aggregator=aggregator,
        )

    def act(self, task: str, verb: Verb) -> Act:
        """Refuse: nothing here is the server's to start or to stop."""
        raise _not_ours(task)

    def evict(self, task: str, device: str) -> Act:
        """Refuse."""
        raise _not_ours(task)

    def create(self, table: Mapping[str, Any], namespace: str, begin: bool) -> Act:
        """Refuse."""
        raise _not_ours(str(table.get("name", "task")))

    def broker(self, task: str) -> None:
        """Return nothing: an aggregator does not say."""

    def labelled(self, task: str, labels: dict[str, str]) -> frozenset[str]:
        """Refuse."""
        raise no_labels(task)


def no_labels(task: str) -> ImpossibleError:
    """Return that devices have no labels where a task is run."""
    remedy = "give a pattern of names, a share, or names"
    return ImpossibleError(task, "has devices without labels: only Kubernetes has them", remedy)


def _not_ours(task: str) -> ImpossibleError:
    problem = "is run by somebody else: this server only looks at it"
    return ImpossibleError(task, problem, "act where it is run, or name its stack in `stack`")
