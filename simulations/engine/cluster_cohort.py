"""A cohort on a Ray cluster: groups of clients, computed by actors, wherever there is one.

A group's samples and states are objects of the cluster: they lie where the actor is that computes
them, in shared memory, and on the disk where that is full, so that no process holds all clients.
Ray's own retries are not asked. A call that a lost actor has not answered is made again, and where
the states went with its machine, so are all calls since the last checkpoint: each is a function of
states, broadcast and round, so that the bits are the same.
"""

import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from safetensors.numpy import save_file

from edgeloop.answers import Answer, Report
from edgeloop.cohorts.local import load_weights
from edgeloop.cohorts.workers import assign_clients
from edgeloop.data import Federation
from edgeloop.errors import EdgeloopError, UnavailableError
from simulations.engine.cluster import RETRIES
from simulations.engine.cluster_team import Team, worker_count
from simulations.engine.cluster_worker import Outcome, ShippedData, States, Turn
from simulations.engine.run_plan import Plan

log = logging.getLogger(__name__)

U = TypeVar("U")
B = TypeVar("B")
T = TypeVar("T")

GROUP = 16
"""Clients of a group, at most: a worker holds so many models at a time, and a few groups ready."""


class _Call(NamedTuple):
    """A method of `LocalCohort`, and its arguments; large ones are references."""

    what: str
    arguments: tuple[Any, ...]


@dataclass
class _Group:
    """Clients that are computed together.

    Attributes:
        number: of the group.
        names: of its clients.
        cost: of a round.
        data: reference to their samples.
        states: reference to their states; None for their first ones.
        version: names these states.
        home: the actor that computed them last.
        calls: still to be made; the last one's outcome is wanted.
        tries: of the call that is under way.
    """

    number: int
    names: tuple[str, ...]
    cost: float
    data: Any
    states: Any = None
    version: int = 0
    home: Any = None
    calls: deque[_Call] = field(default_factory=deque)
    tries: int = 0


class ClusterCohort(Generic[B, U]):
    """Asks all groups; gives what a `LocalCohort` of all the clients would give, to the bit.

    Args:
        ray: the module, joined to the cluster.
        plan: of the run.
        federation: its data.
        stacked: the architectures whose clients train together.

    Attributes:
        workers: how many compute.
    """

    def __init__(
        self, ray: Any, plan: Plan, federation: Federation, stacked: frozenset[str]
    ) -> None:
        self._ray, self._versions = ray, count(1)
        self.workers = worker_count(ray, plan.placement, len(plan.clients.models))
        self._groups = self._make_groups(plan, federation)
        self._history: list[_Call] = []  # since the base
        self._base: Path | None = None
        self._hits: dict[str, bytes] = {}
        self._team = Team(ray, plan.clients, stacked, self.workers)

    def _make_groups(self, plan: Plan, federation: Federation) -> list[_Group]:
        numbers = {name: number for number, name in enumerate(plan.clients.models)}
        hands = assign_clients(plan.costs, max(self.workers, -(-len(numbers) // GROUP)))
        groups = []
        for number, names in enumerate(hands):
            data = self._ray.put(ShippedData.read(federation, [numbers[name] for name in names]))
            cost = sum(plan.costs[name] for name in names)
            groups.append(_Group(number, tuple(names), cost, data))
        return groups

    def ask(
        self, round_number: int, broadcast: B, participants: Collection[str] | None = None
    ) -> Mapping[str, Answer[U]]:
        """Open a round and return its answers by client; who does not join only evaluates."""
        return self._merged("ask", round_number, self._ray.put(broadcast), participants)

    def finish(self, round_number: int, broadcast: B) -> Mapping[str, Report]:
        """Have every client evaluate the last broadcast."""
        return self._merged("finish", round_number, self._ray.put(broadcast))

    def hits(self) -> Mapping[str, bytes]:
        """Return what every client's last evaluation has right; see `Client.hits`."""
        return dict(sorted(self._hits.items()))

    def map_clients(self, function: Callable[[str, Any], T]) -> Mapping[str, T]:
        """Return what a function, which must be picklable, tells of every client; where it is.

        Args:
            function: of a client's name and the client.
        """
        return self._merged("map_clients", function)

    def save(self, folder: Path) -> None:
        """Write every client's model to a file of its own in an existing folder."""
        for group in self._groups:
            for name, weights in self._fetched(group).items():
                save_file(dict(weights), folder / f"{name}.safetensors")

    def restore(self, folder: Path) -> None:
        """Take over the models that `save` wrote.

        Raises:
            RunError: if one cannot be read.
        """
        self.rebase(folder)
        for group in self._groups:
            self._reset(group)

    def rebase(self, folder: Path) -> None:
        """Remember that the models are in a folder as they are now: what is lost begins there."""
        self._base = folder
        self._history.clear()

    def close(self) -> None:
        """End the workers; what they compute now, nobody waits for."""
        self._team.close()

    def _merged(self, what: str, *arguments: Any) -> dict[str, Any]:
        call = _Call(what, arguments)
        for group in self._groups:
            group.calls = deque([call])
        outcomes = self._run(self._groups, [call])
        self._history.append(call)
        for outcome in outcomes:
            self._hits |= outcome.hits
        return dict(sorted(pair for outcome in outcomes for pair in outcome.values.items()))

    def _fetched(self, group: _Group) -> States:
        """Return a group's states, computed again where they are lost."""
        while True:
            try:
                states: States = self._ray.get(group.states)
            except self._ray.exceptions.ObjectLostError:
                self._begin_again(group, [])
                self._run([group] if group.calls else [], [])
            else:
                return states

    def _begin_again(self, group: _Group, calls: Sequence[_Call]) -> None:
        """Have a group make all calls since the last checkpoint, and then these."""
        text = (
            "the cluster has lost the models of %d clients: %d rounds of theirs are computed again"
        )
        log.warning(text, len(group.names), len(self._history))
        self._reset(group)
        group.calls = deque([*self._history, *calls])

    def _reset(self, group: _Group) -> None:
        """Have a group stand where the models of the last checkpoint do."""
        group.version, group.states = next(self._versions), None
        if self._base is not None:
            folder = self._base
            read = {name: load_weights(folder / f"{name}.safetensors") for name in group.names}
            group.states = self._ray.put(read)

    # ---- one call after another, each on an actor that is free

    def _run(self, groups: Sequence[_Group], calls: Sequence[_Call]) -> list[Outcome]:
        """Have groups make their calls; return the outcome of each one's last.

        Args:
            groups: with the calls that each is to make.
            calls: what a group makes after those since the last checkpoint, if it must.
        """
        waiting = sorted(groups, key=lambda group: -group.cost)
        running: dict[Any, _Running] = {}
        found: list[Outcome] = []
        while waiting or running:
            while waiting and self._team.idle:
                reference, begun = self._begin(self._team.idle.pop(), waiting)
                running[reference] = begun
            ended, _ = self._ray.wait([*running, *self._team.starting], fetch_local=False)
            for reference in ended:
                if reference in self._team.starting:
                    self._team.arrived(reference)
                    continue
                begun = running.pop(reference)
                outcome = self._taken(reference, begun, calls)
                if outcome is None or begun.group.calls:
                    waiting.insert(0, begun.group)
                else:
                    found.append(outcome)
        return found

    def _begin(self, actor: Any, waiting: list[_Group]) -> tuple[Any, "_Running"]:
        """Give an actor the next group, one that it computed last if there is any."""
        group = next((each for each in waiting if each.home is actor), waiting[0])
        waiting.remove(group)
        what, arguments = group.calls[0]
        turn = Turn(group.number, group.names, group.version, next(self._versions))
        method = actor.call.options(num_returns=2)
        outcome, states = method.remote(turn, group.data, group.states, what, *arguments)
        return outcome, _Running(actor, group, states, turn.after)

    def _taken(self, reference: Any, begun: "_Running", calls: Sequence[_Call]) -> Outcome | None:
        """Return what a call gave; None if it is to be made again.

        Raises:
            EdgeloopError: as the call.
            UnavailableError: if one actor after another ends in it.
        """
        group, exceptions = begun.group, self._ray.exceptions
        try:
            outcome: Outcome = self._ray.get(reference)
        except (exceptions.RayTaskError, exceptions.ObjectLostError) as error:
            cause = getattr(error, "cause", error)
            if isinstance(cause, EdgeloopError):
                raise cause from error
            if not isinstance(cause, exceptions.ObjectLostError):
                raise
            self._team.idle.append(begun.actor)
            self._begin_again(group, calls)
            return None
        except exceptions.RayError as error:
            group.tries += 1
            if group.tries > RETRIES:
                problem = f"has lost a worker {group.tries} times with the same clients"
                remedy = f"see Ray's logs ({type(error).__name__}), and run it again"
                raise UnavailableError("cluster", problem, remedy) from error
            self._team.lost(begun.actor)
            return None
        group.states, group.version, group.home = begun.states, begun.version, begun.actor
        group.calls.popleft()
        group.tries = 0
        self._team.idle.append(begun.actor)
        return outcome


class _Running(NamedTuple):
    """A call that is under way: where, of whom, and what it leaves."""

    actor: Any
    group: _Group
    states: Any
    version: int
