"""One task as processes: an aggregator, agents, a broker, perhaps a database; a gate for each."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w
from sqlalchemy import URL

from edgeloop.data.sample import fashion_sample
from edgeloop.runtime import local_broker
from tests.chaos import machine
from tests.chaos.comparing import Outcome, outcome
from tests.chaos.proxy import Gate, gates
from tests.chaos.supervised import Supervised
from tests.one_device import write_data
from tests.postgres import Postgres
from tests.world import lasting_port, wait_for_port

EDGELOOP = str(Path(sys.executable).with_name("edgeloop"))
TASK, SAMPLES, WIDTH = "chaos", 60, 64
AGGREGATOR, BROKER, DATABASE = "aggregator", "broker", "database"
DISK_BYTES = 24 * 2**20


@dataclass(frozen=True)
class Setting:
    """What is run.

    Attributes:
        algorithm: its name.
        rounds: how many.
        devices: how many.
        persistent: whether the broker stores what it holds, each second.
        options: the algorithm's own.
        chunk_bytes: the largest packet.
    """

    algorithm: str = "fedtgp"
    rounds: int = 10
    devices: int = 3
    persistent: bool = True
    options: tuple[tuple[str, Any], ...] = (("server_epochs", 3),)
    chunk_bytes: int = 4096

    @property
    def names(self) -> list[str]:
        return [f"device-{number}" for number in range(self.devices)]


@dataclass
class Deployment:
    """The parts of a task at work.

    Attributes:
        setting: what is run.
        folder: for everything.
        parts: the processes, by name.
        ways: the gates, by whose they are.
        database: the server that the ledger is on; None for SQLite.
        store: the ledger's URL.
        port: the broker's own.
        maker: what makes false clocks; None where there are none.
    """

    setting: Setting
    folder: Path
    ways: dict[str, Gate]
    database: Postgres | None
    store: str | URL
    port: int
    maker: Path | None
    parts: dict[str, Supervised] = field(default_factory=dict)

    def place(self, name: str) -> Path:
        """Return the folder of a part, which may be a small disk."""
        return self.folder / "places" / name

    def start(self) -> None:
        """Start all parts."""
        self.parts[BROKER] = self._broker()
        self.parts[BROKER].start()
        wait_for_port(self.port)
        self.parts[AGGREGATOR] = self._part(AGGREGATOR, self._task())
        for number, name in enumerate(self.setting.names):
            self.parts[name] = self._part(name, self._device(number, name))
        for part in self.parts.values():
            if part.process is None:
                part.start()

    def poll(self) -> bool:
        """See to all parts; tell whether the work is done.

        Raises:
            EndedError: if one has ended as none may.
        """
        for part in self.parts.values():
            part.poll()
        return all(part.done for name, part in self.parts.items() if name != BROKER)

    def progress(self) -> int:
        """Return how far it has come: a number that only grows."""
        folder = self.place(AGGREGATOR) / "task"
        closed = len(list((folder / "history").glob("round-*")))
        return closed + sum(part.done for part in self.parts.values())

    def outcome(self) -> Outcome:
        """Return what the run came to."""
        return outcome(self.store, TASK, self.place(AGGREGATOR) / "task")

    def stop(self) -> None:
        """End all parts."""
        for part in self.parts.values():
            part.stop()

    def _broker(self) -> Supervised:
        place, lines = self.place(BROKER), [f"listener {self.port} 127.0.0.1", "user root"]
        lines += ["allow_anonymous true", f"persistence {str(self.setting.persistent).lower()}"]
        lines += [f"persistence_location {place}/", "autosave_interval 1"]
        command = local_broker.mosquitto(self.folder, lines).command
        return Supervised(BROKER, command, self.folder / "broker.log", forgiven=True)

    def _part(self, name: str, table: dict[str, Any]) -> Supervised:
        config = self.folder / f"{name}.toml"
        config.write_text(tomli_w.dumps(table))
        command = AGGREGATOR if name == AGGREGATOR else "agent"
        words = [EDGELOOP, command, "--config", str(config)]
        variables = machine.clock_variables(self.maker, self.clock(name))
        return Supervised(name, words, self.folder / f"{name}.log", variables)

    def clock(self, name: str) -> Path:
        """Return the file with what a part's clock is ahead of the machine's."""
        return self.folder / f"{name}.clock"

    def _task(self) -> dict[str, Any]:
        setting = self.setting
        return {
            "name": TASK,
            "algorithm": setting.algorithm,
            "hyperparameters": dict(setting.options),
            "class_names": list(fashion_sample().class_names),
            "shape": [1, 28, 28],
            "width": WIDTH,
            "rounds": setting.rounds,
            "history": True,
            "folder": str(self.place(AGGREGATOR) / "task"),
            "broker": self._way(AGGREGATOR),
            "http": {"port": 0},
            "cohort": {"devices": setting.names},
            **({"store": str(self.store)} if self.database is not None else {}),
        }

    def _device(self, number: int, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "task": TASK,
            "folder": str(self.place(name) / "agent"),
            "broker": self._way(name),
            "data": {"source": str(self.folder / "data"), "client": number},
            "training": {"architecture": "cnn", "threads": 1, "mix": "never"},
        }

    def _way(self, name: str) -> dict[str, Any]:
        return {"port": self.ways[name].port, "chunk_bytes": self.setting.chunk_bytes}


@contextmanager
def deployed(
    setting: Setting, folder: Path, database: Postgres | None = None
) -> Iterator[Deployment]:
    """Have a task at work until the block ends.

    Args:
        setting: what is run.
        folder: for everything; made here.
        database: a server for the ledger; None for SQLite.
    """
    owners = [AGGREGATOR, *setting.names]
    port = lasting_port()
    with ExitStack() as stack:
        for name in [*owners, BROKER]:
            stack.enter_context(machine.small_disk(folder / "places" / name, DISK_BYTES))
        write_data(folder / "data", setting.devices, SAMPLES * setting.devices)
        task = folder / "places" / AGGREGATOR / "task"
        ledger = URL.create("sqlite", database=str(task / "ledger.sqlite"))
        ways = dict(zip(owners, stack.enter_context(gates(port, len(owners))), strict=True))
        store = ledger if database is None else database.database()
        made = Deployment(setting, folder, ways, database, store, port, machine.false_clock(folder))
        stack.callback(made.stop)
        made.start()
        yield made
