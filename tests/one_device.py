"""A task of one device, of a second or two: over MQTT, and as a simulation; FedKTL at first."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from edge.agent.settings import DataSettings, DeviceSettings, ModelSettings, TrainingSettings
from edgeloop import data
from edgeloop.data import Partition, Pool
from edgeloop.data.sample import fashion_sample
from edgeloop.mixing.experts import Mix
from edgeloop.protocol.task import Opening, round_topic
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.ports import free_port
from simulations.engine.run import simulate
from simulations.settings import RunSettings
from tests import forked
from tests.devices import Heard

EDGELOOP = str(Path(sys.executable).with_name("edgeloop"))
NAME, DEVICE, ARCHITECTURE = "alone", "client-00", "resnet4"
ROUNDS, WIDTH, EPOCHS = 2, 16, 4


def write_data(folder: Path, clients: int = 1, samples: int = 120) -> Path:
    """Write a few images' shares of so many clients; return the folder."""
    whole = fashion_sample()
    few = Pool(whole.inputs[:samples], whole.labels[:samples], whole.class_names)
    return data.write(data.split(few, Partition("iid", clients=clients)), folder)


def simulated(source: Path, generator: str | None, folder: Path, **changes: Any) -> dict[str, Any]:
    """Return the summary of a run in this process."""
    fields: dict[str, Any] = {
        "algorithm": "fedktl",
        "models": ARCHITECTURE,
        "width": WIDTH,
        "rounds": ROUNDS,
        "options": {"server_epochs": EPOCHS},
        "workers": 1,
    }
    settings = RunSettings(data=str(source), generator=generator, **{**fields, **changes})
    return simulate(settings, folder, lambda done, accuracy: None)


def opens(number: int) -> Heard:
    """Return what tells whether a message opens a round, this one or a later one."""

    def opening(arrival: Any) -> bool:
        if arrival.topic != round_topic(NAME):
            return False
        return Opening.model_validate_json(arrival.payload).round >= number

    return opening


@dataclass(frozen=True)
class Task:
    """The task over MQTT.

    Attributes:
        folder: for everything that is written.
        source: the device's data.
        broker: of both sides.
        generator: a reference; None where the algorithm asks none.
        algorithm: its name.
        hyperparameters: its own.
        http: the aggregator's port.
        shuffle: the device's samples.
        mix: with a model that the device trains alone at the end.
    """

    folder: Path
    source: Path
    broker: BrokerSettings
    generator: str | None
    algorithm: str = "fedktl"
    hyperparameters: Mapping[str, Any] = field(default_factory=lambda: {"server_epochs": EPOCHS})
    http: int = field(default_factory=free_port)
    shuffle: bool = False
    mix: Mix = "never"

    def config(self) -> Path:
        """Write the aggregator's configuration; return its path."""
        names = list(data.load(str(self.source)).class_names)
        own = ", ".join(f"{name} = {json.dumps(v)}" for name, v in self.hyperparameters.items())
        path = self.folder / "task.toml"
        path.write_text(
            f"""
            name = "{NAME}"
            algorithm = "{self.algorithm}"
            {f'generator = "{self.generator}"' if self.generator else ""}
            hyperparameters = {{ {own} }}
            class_names = {json.dumps(names)}
            shape = [1, 28, 28]
            width = {WIDTH}
            rounds = {ROUNDS}
            shuffle = {json.dumps(self.shuffle)}
            folder = "{self.folder / "aggregator"}"
            broker = {{ port = {self.broker.port} }}
            http = {{ port = {self.http} }}
            cohort = {{ devices = ["{DEVICE}"] }}
            """
        )
        return path

    def device(self) -> DeviceSettings:
        """Return the device's settings."""
        return DeviceSettings(
            name=DEVICE,
            task=NAME,
            folder=self.folder / DEVICE,
            broker=self.broker,
            data=DataSettings(source=str(self.source)),
            training=TrainingSettings(architecture=ARCHITECTURE, threads=1, mix=self.mix),
            model=ModelSettings(every_rounds=0),
        )

    def asked(self, path: str) -> httpx.Response | None:
        """Return what the aggregator answers over HTTP; None while it does not."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.http}{path}", trust_env=False)
        except httpx.TransportError:
            return None

    def status(self) -> dict[str, Any]:
        """Return what /status tells; nothing while nobody answers."""
        answer = self.asked("/status")
        return {} if answer is None else dict(answer.json())

    def summary(self) -> dict[str, Any]:
        """Return what the aggregator wrote at the end."""
        return dict(json.loads((self.folder / "aggregator" / "summary.json").read_text()))


@dataclass(frozen=True)
class Aggregator:
    """An aggregator's process and what it says."""

    process: forked.Forked
    log: Path

    def said(self) -> str:
        """Return its log."""
        return self.log.read_text()


@contextmanager
def aggregator(task: Task) -> Iterator[Aggregator]:
    """Run the task's aggregator as a process, at most until the block ends."""
    with run_aggregator(task.config(), task.folder / "aggregator.log") as running:
        yield running


@contextmanager
def run_aggregator(config: Path, log: Path, *flags: str) -> Iterator[Aggregator]:
    """Run an aggregator as a process, at most until the block ends."""
    command = [EDGELOOP, "aggregator", "--config", str(config), *flags]
    with log.open("w") as output, forked.running(command, stderr=output) as process:
        yield Aggregator(process, log)
