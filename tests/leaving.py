"""A small task with class statistics over MQTT, which devices can leave."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from cloud.aggregator.settings import TaskSettings
from edge.agent.settings import DeviceSettings
from edgeloop.bases import building
from edgeloop.bases.recipe import BaseRecipe
from edgeloop.data.sample import fashion_sample
from edgeloop.gaussian.knowledge import GlobalStatistics
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol import wire
from edgeloop.protocol.chunks import Assembler
from edgeloop.protocol.task import Contract, Opening, broadcast_topic, contract_topic, round_topic
from edgeloop.runtime.config import BrokerSettings, parse
from tests import forked
from tests.bases.tiny import DIMS, tiny_graph
from tests.devices import Device, Heard, at_work
from tests.one_device import EDGELOOP, Aggregator, run_aggregator

TASK, SHAPE = "leaving", (1, 28, 28)
EVERYBODY = ("a", "b", "c")


def keep_base(folder: Path) -> Path:
    """Write a base of a few numbers; return its folder."""
    place = folder / "base"
    recipe = BaseRecipe(filters=8, dims=DIMS, images=50)
    building.write_base(place, tiny_graph(SHAPE, DIMS), SHAPE, recipe, "0" * 64)
    return place


@dataclass(frozen=True)
class Scene:
    """A task, and what becomes of it.

    Attributes:
        folder: for everything that is written.
        broker: of all sides.
        devices: in the task.
        rounds: how many.
        changes: of the task's table.
    """

    folder: Path
    broker: BrokerSettings
    devices: Sequence[str] = EVERYBODY
    rounds: int = 1
    changes: dict[str, Any] = field(default_factory=dict)

    def table(self) -> dict[str, Any]:
        """Return the task's table."""
        base = self.folder / "base"
        whole = {
            "name": TASK,
            "algorithm": "class-statistics",
            "base": str(base if base.exists() else keep_base(self.folder)),
            "class_names": list(fashion_sample().class_names),
            "shape": list(SHAPE),
            "rounds": self.rounds,
            "folder": str(self.folder / "task"),
            "broker": {"port": self.broker.port},
            "http": {"port": 0},
            "cohort": {"devices": list(self.devices), "give_up_seconds": 60},
            **self.changes,
        }
        return {key: value for key, value in whole.items() if value is not None}

    def config(self) -> Path:
        """Write the task's file; return its path."""
        self.folder.mkdir(exist_ok=True)
        path = self.folder / "task.toml"
        path.write_text(tomli_w.dumps(self.table()))
        return path

    def settings(self) -> TaskSettings:
        """Return the task's settings."""
        return parse(self.table(), TaskSettings, "task")

    def device_table(self, name: str) -> dict[str, Any]:
        """Return a device's table."""
        number = EVERYBODY.index(name)
        shares = {"partition": "dirichlet", "alpha": 1.0, "clients": 30, "client": number}
        return {
            "name": name,
            "task": TASK,
            "folder": str(self.folder / name),
            "broker": {"port": self.broker.port},
            "data": {"source": "fashion-sample", **shares},
        }

    def device(self, name: str) -> DeviceSettings:
        """Return a device's settings."""
        return parse(self.device_table(name), DeviceSettings, name)

    @contextmanager
    def at_work(self, *names: str, last: Heard = lambda arrival: False) -> Iterator[list[Device]]:
        """Have devices take part."""
        with ExitStack() as stack:
            yield [stack.enter_context(at_work(self.device(name), last)) for name in names]

    @contextmanager
    def aggregator(self, name: str = "aggregator") -> Iterator[Aggregator]:
        """Run the aggregator as a process."""
        config = self.config()
        with run_aggregator(config, self.folder / f"{name}.log") as running:
            yield running

    def through(self) -> dict[str, Any]:
        """Run the task with all its devices to its end; return its summary."""
        with self.aggregator() as running, self.at_work(*self.devices) as devices:
            for each in devices:
                each.ended.result(60)
            assert running.process.wait(60) == 0, running.said()
        return self.summary()

    def summary(self) -> dict[str, Any]:
        """Return what the aggregator wrote at the end."""
        return dict(json.loads((self.folder / "task" / "summary.json").read_text()))

    def command(self, door: str, *flags: str, name: str = "") -> "subprocess.CompletedProcess[str]":
        """Run a command of a door with its file."""
        path = self.config()
        if door == "agent":
            path = self.folder / f"{name}.toml"
            path.write_text(tomli_w.dumps(self.device_table(name)))
        whole = [EDGELOOP, door, "--config", str(path), *flags]
        return forked.run(whole, timeout=120)

    def kept(self) -> "Kept":
        """Return what the broker keeps of the task."""
        found: dict[str, bytes] = {}
        end = f"{TASK}/end"  # of what was kept: it comes after that, however busy the machine is
        with MqttConnection(
            self.broker, "looks", [f"edgeloop/v1/{TASK}/#", end], persistent=False
        ) as connection:
            connection.publish(end, b"")
            while end not in found:
                event = connection.receive(60)
                assert event is not None
                if isinstance(event, Arrival):
                    found[event.topic] = event.payload
                    event.acknowledge()
        return Kept({topic: payload for topic, payload in found.items() if payload})

    def held(self) -> bytes:
        """Return all bytes of the ledger's files."""
        return b"".join(path.read_bytes() for path in (self.folder / "task").glob("ledger.sqlite*"))


@dataclass(frozen=True)
class Kept:
    """What the broker keeps of the task, by topic."""

    messages: dict[str, bytes]

    def contract(self) -> Contract:
        """Return the contract."""
        return Contract.model_validate_json(self.messages[contract_topic(TASK)])

    def opening(self) -> Opening:
        """Return the round."""
        return Opening.model_validate_json(self.messages[round_topic(TASK)])

    def broadcasts(self) -> dict[int, str]:
        """Return the fingerprint of what is in each slot."""
        found = {}
        for slot in (0, 1):
            assembler, prefix = Assembler(wire.MAX_FRAME), f"{broadcast_topic(TASK, slot)}/"
            for topic, chunk in self.messages.items():
                whole = assembler.offer(chunk) if topic.startswith(prefix) else None
                if whole is not None:
                    sizes = {"C": 10, "D": DIMS, "T": DIMS * (DIMS + 1) // 2}
                    frame = wire.decode(whole, GlobalStatistics, sizes=sizes)
                    found[slot] = wire.fingerprint(frame[GlobalStatistics])
        return found


DIE = """
import os, signal, sys
from importlib import import_module
from edgeloop.cli.main import main
place, name = sys.argv[1].split(":")
owner = import_module(place)
*path, last = name.split(".")
for each in path:
    owner = getattr(owner, each)
setattr(owner, last, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
main(sys.argv[2:])
"""


def killed_at(step: str, arguments: Sequence[str]) -> None:
    """Run a command that a SIGKILL ends as it comes to a function, `module:name`."""
    command = [sys.executable, "-c", DIE, step, *arguments]
    ended = forked.run(command, timeout=120)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
