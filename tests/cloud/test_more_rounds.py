"""Rounds that are added to a run: the same as if it had had them from the beginning."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from edge.agent.service import Agent
from edge.agent.settings import DataSettings, DeviceSettings, ModelSettings, TrainingSettings
from edge.agent.task_session import load_context
from edgeloop import data
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol.task import Contract, Opening, contract_topic, round_topic
from edgeloop.runtime.config import BrokerSettings
from tests.devices import Cord, CutError, at_work, wait_until
from tests.one_device import WIDTH, Aggregator, run_aggregator, simulated, write_data

pytestmark = pytest.mark.broker

TASK, DEVICES, ARCHITECTURE = "more", ("client-00", "client-01"), "cnn"


@dataclass(frozen=True)
class Scene:
    """A task of two devices, by an algorithm whose client adapts what it takes over."""

    folder: Path
    source: Path
    broker: BrokerSettings
    algorithm: str = "fedala"

    @contextmanager
    def aggregator(self, rounds: int) -> Iterator[Aggregator]:
        """Run the aggregator with so many rounds."""
        config = self.folder / "task.toml"
        table = {
            "name": TASK,
            "algorithm": self.algorithm,
            "class_names": list(data.load(str(self.source)).class_names),
            "shape": [1, 28, 28],
            "width": WIDTH,
            "rounds": rounds,
            "folder": str(self.folder / "task"),
            "broker": {"port": self.broker.port},
            "http": {"port": 0},
            "cohort": {"devices": list(DEVICES), "give_up_seconds": 60},
        }
        config.write_text(tomli_w.dumps(table))
        with run_aggregator(config, self.folder / f"aggregator-{rounds}.log") as running:
            yield running

    def wait_for_contract(self, rounds: int) -> None:
        """Return once the broker keeps the contract with so many rounds."""
        with MqttConnection(
            self.broker, "looks", [contract_topic(TASK)], persistent=False
        ) as connection:
            while True:
                event = connection.receive(60)
                assert event is not None, "no contract"
                if isinstance(event, Arrival):
                    event.acknowledge()
                    if Contract.model_validate_json(event.payload).rounds == rounds:
                        return

    def device(self, number: int) -> DeviceSettings:
        """Return a device's settings."""
        return DeviceSettings(
            name=DEVICES[number],
            task=TASK,
            folder=self.folder / DEVICES[number],
            broker=self.broker,
            data=DataSettings(source=str(self.source), client=number),
            training=TrainingSettings(architecture=ARCHITECTURE, threads=1, mix="never"),
            model=ModelSettings(every_rounds=0),
        )

    def run(self, rounds: int) -> dict[str, Any]:
        """Run the task with so many rounds, and devices that are started, to its end."""
        with self.aggregator(rounds) as running, ExitStack() as stack:
            self.wait_for_contract(rounds)
            at = [stack.enter_context(at_work(self.device(number))) for number in range(2)]
            for each in at:
                each.ended.result(60)
            assert running.process.wait(60) == 0, running.said()
        return self.summary()

    def summary(self) -> dict[str, Any]:
        """Return what the aggregator wrote at the end."""
        return dict(json.loads((self.folder / "task" / "summary.json").read_text()))

    def expected(self, rounds: int) -> str:
        """Return the knowledge of a simulation that has so many rounds from the beginning."""
        changes = {
            "algorithm": self.algorithm,
            "rounds": rounds,
            "options": {},
            "models": ARCHITECTURE,
        }
        whole = simulated(self.source, None, self.folder / f"simulated-{rounds}", **changes)
        return str(whole["knowledge_sha256"])


@pytest.fixture
def scene(tmp_path: Path, broker: BrokerSettings) -> Scene:
    return Scene(tmp_path, write_data(tmp_path / "data", clients=2), broker)


def answered(scene: Scene) -> list[list[str]]:
    """Return who answered in each round, by the run's record."""
    record = json.loads((scene.folder / "task" / "participation.json").read_text())
    return [each["answered"] for each in record["rounds"]]


def test_a_finished_run_goes_on_with_more_rounds(scene: Scene) -> None:
    first = scene.run(1)
    assert first["knowledge_sha256"] == scene.expected(1)
    second = scene.run(3)
    assert second["run"] == first["run"]
    assert second["rounds"] == 3
    assert second["knowledge_sha256"] == scene.expected(3)
    assert answered(scene) == [list(DEVICES)] * 3
    mine = json.loads((scene.folder / DEVICES[0] / "summary.json").read_text())
    assert list(mine["accuracy_by_round"]) == ["0", "1", "2", "3"]


def test_fewer_rounds_are_refused_in_a_sentence(scene: Scene) -> None:
    scene.run(2)
    with scene.aggregator(1) as running:
        assert running.process.wait(60) == 2
    told = "rounds: is 1, and the run has 2, of which 2 are done"
    assert told in running.said()


def runs(agent: Agent, ends: int) -> list[Path]:
    return [agent.run() for _ in range(ends)]


@contextmanager
def staying(each: Sequence[DeviceSettings], ends: int) -> Iterator[list[Future[list[Path]]]]:
    """Have devices take part that stay, until so many runs have come to their ends."""
    with ExitStack() as stack, ThreadPoolExecutor(len(each)) as pool:
        cords = [stack.enter_context(Cord(settings, lambda arrival: False)) for settings in each]
        agents = [Agent(load_context(s), c) for s, c in zip(each, cords, strict=True)]
        ended = [pool.submit(runs, each, ends) for each in agents]
        try:
            yield ended
        finally:
            for cord in cords:
                cord.cut()
            for future in ended:
                error = future.exception()
                if error is not None and not isinstance(error, CutError):
                    raise error


def test_devices_that_have_stayed_go_on(scene: Scene) -> None:
    with staying([scene.device(number) for number in range(2)], ends=2) as ended:
        with scene.aggregator(1) as running:
            assert running.process.wait(60) == 0, running.said()
        wait_until(lambda: (scene.folder / DEVICES[0] / "summary.json").exists())
        with scene.aggregator(2) as running:
            assert running.process.wait(60) == 0, running.said()
        for each in ended:
            each.result(60)
    assert scene.summary()["knowledge_sha256"] == scene.expected(2)
    assert answered(scene) == [list(DEVICES)] * 2


def opens_the_last(arrival: Arrival) -> bool:
    """Return whether a message opens round 1, which then waits for who hears no more."""
    if arrival.topic != round_topic(TASK):
        return False
    return Opening.model_validate_json(arrival.payload).round >= 1


def test_rounds_are_added_while_the_run_goes_on(scene: Scene) -> None:
    with ExitStack() as stack:
        with scene.aggregator(2) as running, at_work(scene.device(1), last=opens_the_last):
            at = [stack.enter_context(at_work(scene.device(0)))]
            wait_until(lambda: "round 0 of 2 closed" in running.said())
        with scene.aggregator(3) as running:
            at.append(stack.enter_context(at_work(scene.device(1))))
            for each in at:
                each.ended.result(60)
            assert running.process.wait(60) == 0, running.said()
    assert scene.summary()["knowledge_sha256"] == scene.expected(3)
