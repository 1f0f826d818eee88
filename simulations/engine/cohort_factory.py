"""The cohort of some of a simulation's clients, made where they compute; and their data."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgeloop.cohorts.local import LocalCohort
from edgeloop.cohorts.stacked import StackedCohort
from edgeloop.data import ClientData, Federation
from edgeloop.data.samples import Shard
from edgeloop.training.compute import usable_device
from simulations.engine.client_factory import ClientFactory


class ClientDataSource(Protocol):
    """Gives a client's data by its number; must be picklable."""

    def client(self, client: int) -> ClientData:
        """Return what one client's model reads."""
        ...


@dataclass(frozen=True)
class CohortFactory:
    """Makes the cohort of the named clients; picklable, so that a worker can make its own.

    Attributes:
        clients: makes the clients.
        data: theirs.
        stacked: the architectures whose clients train together.
    """

    clients: ClientFactory
    data: ClientDataSource
    stacked: frozenset[str] = frozenset()

    def __call__(self, names: Sequence[str]) -> LocalCohort[Any, Any]:
        """Read the named clients' data and build their models."""
        models, training = self.clients.models, self.clients.training
        numbers = {name: number for number, name in enumerate(models)}
        clients = {
            name: self.clients.make_client(name, models[name], self.data.client(numbers[name]))
            for name in names
        }
        recipe = self.clients.algorithm.recipe
        kinds = {name: kind for name, kind in models.items() if kind in self.stacked}
        if recipe is None or not kinds:
            return LocalCohort(clients, absent_stay=training.absent_stay)
        return StackedCohort(clients, recipe, kinds, usable_device(training.compute.device))


@dataclass(frozen=True)
class NpzStore:
    """Clients' data in a file each, so that a worker need not hold what is not its own."""

    folder: Path

    @classmethod
    def write(cls, federation: Federation, folder: Path) -> "NpzStore":
        """Write every client's samples as they are stored."""
        for client in range(len(federation)):
            shards = federation.shards(client)
            arrays = (*_arrays(shards.train), *_arrays(shards.test))
            np.savez(folder / f"{client}.npz", *arrays)
        return cls(folder)

    def client(self, client: int) -> ClientData:
        """Return what one client's model reads."""
        with np.load(self.folder / f"{client}.npz", allow_pickle=False) as file:
            train_x, train_y, test_x, test_y = (file[f"arr_{i}"] for i in range(4))
        return ClientData(Shard(train_x, train_y).samples(), Shard(test_x, test_y).samples())


def _arrays(shard: Shard) -> tuple[Any, Any]:
    return shard.inputs, shard.labels
