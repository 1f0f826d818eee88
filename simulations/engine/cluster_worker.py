"""What computes groups of a run's clients on a cluster's machine; it knows no cluster.

Between two calls a group's models are outside, with who asked: any worker can go on with them. A
worker keeps the last few groups ready, so that it need not build them again.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy.typing as npt
import torch

from edgeloop.cohorts.local import LocalCohort
from edgeloop.data import ClientData, Federation
from edgeloop.data.samples import Shard
from edgeloop.training.compute import enough_memory
from simulations.engine import run_config
from simulations.engine.client_factory import ClientFactory
from simulations.engine.cohort_factory import CohortFactory

States = Mapping[str, Mapping[str, npt.NDArray[Any]]]
"""Of each client all that it keeps between rounds, see `ClientProtocol.weights`."""

KEPT = 4
"""Groups that a worker keeps ready."""


@dataclass(frozen=True)
class Turn:
    """One call of a group.

    Attributes:
        group: its number.
        names: of its clients.
        before: names the states that it begins with.
        after: names those that it ends with.
    """

    group: int
    names: tuple[str, ...]
    before: int
    after: int


class Outcome(NamedTuple):
    """What a call of a group gives by client: its result, and its hits, see `Client.hits`."""

    values: Mapping[str, Any]
    hits: Mapping[str, bytes]


@dataclass(frozen=True)
class ShippedData:
    """Clients' samples as they are stored: train inputs and labels, test inputs and labels.

    Attributes:
        arrays: by client's number.
    """

    arrays: Mapping[int, tuple[npt.NDArray[Any], ...]]

    @classmethod
    def read(cls, federation: Federation, clients: list[int]) -> "ShippedData":
        """Read the samples of these clients."""
        shards = {client: federation.shards(client) for client in clients}
        return cls(
            {
                client: (each.train.inputs, each.train.labels, each.test.inputs, each.test.labels)
                for client, each in shards.items()
            }
        )

    def client(self, client: int) -> ClientData:
        """Return what one client's model reads."""
        train_x, train_y, test_x, test_y = self.arrays[client]
        return ClientData(Shard(train_x, train_y).samples(), Shard(test_x, test_y).samples())


class ClusterWorker:
    """Computes one group at a time, on one thread.

    Args:
        clients: makes the run's clients.
        stacked: the architectures whose clients train together.
    """

    def __init__(self, clients: ClientFactory, stacked: frozenset[str] = frozenset()) -> None:
        torch.set_num_threads(1)
        self._clients, self._stacked = clients, stacked
        self._kept: OrderedDict[int, tuple[int, LocalCohort[Any, Any]]] = OrderedDict()

    def versions(self) -> dict[str, str]:
        """Return the versions of what computes here."""
        return run_config.versions()

    def call(
        self, turn: Turn, data: ShippedData, states: States | None, what: str, *arguments: Any
    ) -> tuple[Outcome, States]:
        """Call a cohort of a group's clients.

        Args:
            turn: which group.
            data: of its clients.
            states: of its clients; None for their first ones.
            what: a method of `LocalCohort` that returns something by client.
            arguments: of it.

        Returns:
            what it returned, and the clients' states after it.
        """
        with enough_memory(self._clients.training.compute.device):
            cohort = self._cohort(turn, data, states)
            values = getattr(cohort, what)(*arguments)
            outcome, after = Outcome(values, cohort.hits()), cohort.map_clients(_weights)
        self._kept[turn.group] = turn.after, cohort
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return outcome, after

    def _cohort(
        self, turn: Turn, data: ShippedData, states: States | None
    ) -> LocalCohort[Any, Any]:
        version, kept = self._kept.pop(turn.group, (None, None))  # a call that fails leaves none
        if kept is not None and version == turn.before:
            return kept
        made = CohortFactory(self._clients, data, self._stacked)(turn.names)
        if states is not None:
            made.map_clients(lambda name, client: client.restore(states[name]))
        return made


def _weights(name: str, client: Any) -> Mapping[str, npt.NDArray[Any]]:
    weights: Mapping[str, npt.NDArray[Any]] = client.weights()
    return weights
