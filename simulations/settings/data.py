"""Whose samples a simulation has, and where it computes."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from edgeloop import data, generators
from edgeloop.data import Federation, Partition, sources
from edgeloop.data.settings import PartitionSeed, PartitionSettings
from edgeloop.data.views import select_clients
from edgeloop.errors import ConfigError
from edgeloop.runtime import plugins
from edgeloop.runtime.config import Option, Settings
from simulations.settings.words import parse_workers

CLIENTS = Partition.clients
"""Clients of a partition, unless somebody says how many."""

Whole = Annotated[int, Field(ge=1)]


class DataSettings(PartitionSettings):
    """Whose samples these are."""

    @model_validator(mode="before")
    @classmethod
    def _admitted(cls, table: Any) -> Any:
        """Let in what a person names by its import path: nobody else writes these settings."""
        if isinstance(table, dict):
            admit_all(table)
        return table

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Let it in again where the settings come to another process."""
        super().__setstate__(state)
        admit_all(dict(self))

    data: str
    """Data set: a folder, a parquet file, or fashion-sample."""
    clients: Whole | None = None
    """Number of clients. [default: 20, or the data's own]"""
    samples: Whole | None = None
    """Number of samples to divide, drawn at random. [default: all]"""
    partition_seed: PartitionSeed = Partition.seed
    only_client: Annotated[int, Field(ge=0)] | None = None
    """Number of the only client to run. [default: all clients]"""
    shots: Whole | None = None
    """Training samples per class and client. [default: all]"""

    def federation(self) -> Federation:
        """Open the data as these clients hold it.

        Raises:
            ConfigError: if the data comes with another number of clients than was asked for.
            DataError: if the data cannot be read, or not be divided so, or has no such client.
        """
        partition, size = self._partition(), self.image_size
        federation = data.load(self.data, partition, self.layout, size, self.columns)
        if self.clients is not None and self.clients != len(federation):
            raise ConfigError(
                "clients",
                f"{self.clients} asked for, but {self.data} comes divided among {len(federation)}",
                "leave --clients out, or choose a --partition other than natural",
            )
        chosen = range(len(federation)) if self.only_client is None else [self.only_client]
        return select_clients(federation, chosen, self.shots)

    def _partition(self) -> Partition | None:
        if self.partition is None and self.samples is not None:
            problem = "is of a partition, and none is asked for"
            raise ConfigError("samples", problem, "give a --partition, or leave it out")
        return self.division(self.clients or CLIENTS, self.partition_seed, self.samples)


def admit_all(table: Mapping[str, Any]) -> None:
    """Let in what a person's settings name by import paths; nothing is imported yet."""
    places: Mapping[str, Callable[[str], str]] = {
        "data": sources.admit,
        "partition": plugins.PARTITIONS.admit,
        "algorithm": plugins.ALGORITHMS.admit,
        "models": plugins.MODELS.admit,
        "generator": generators.admit,
        "beside": plugins.ALGORITHMS.admit,
        "metrics": plugins.METRICS.admit,
        "optimizer": plugins.OPTIMIZERS.admit,
        "schedule": plugins.SCHEDULES.admit,
        "augment": plugins.AUGMENTATIONS.admit,
    }
    for key, admit in places.items():
        value = table.get(key)
        for text in value if isinstance(value, list | tuple) else [value]:
            for word in _words(key, text):
                admit(word)


def _words(key: str, text: object) -> list[str]:
    """Return the names in a setting's text: several in some."""
    if not isinstance(text, str):
        return []
    if key == "models":
        return [name.partition("+")[0].strip() for name in text.split(",")]
    if key in ("beside", "metrics"):
        return text.split(",")
    return text.split()[:1] if key in ("optimizer", "schedule") else [text]


class ComputeSettings(Settings):
    """Where clients train; the number of processes changes no result."""

    workers: Annotated[Whole | Literal["auto"], Option(parse=parse_workers)] = "auto"
    """Number of worker processes, or auto for one per core."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Device: cpu or cuda."""
