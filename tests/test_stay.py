"""Processes that something starts again when they end: they stay, and take up what comes next."""

import json
import signal
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from edge.agent.supervised import STATUS
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol.task import contract_topic, is_over, round_topic
from edgeloop.runtime.config import BrokerSettings
from tests import forked
from tests.devices import at_work, wait_until
from tests.one_device import DEVICE, EDGELOOP, ROUNDS, Task, aggregator, write_data


@dataclass(frozen=True)
class Lingering(Task):
    """A task whose aggregator lingers."""

    def config(self) -> Path:
        path = super().config()
        path.write_text(path.read_text().replace("http = {", "http = { linger = true,"))
        return path


def task(kind: type[Task], folder: Path, source: Path, broker: BrokerSettings) -> Task:
    folder.mkdir()
    return kind(folder, source, broker, None, "fedproto", {})


@pytest.mark.broker
def test_an_aggregator_that_lingers(tmp_path: Path, broker: BrokerSettings) -> None:
    mine = task(Lingering, tmp_path / "task", write_data(tmp_path / "data"), broker)
    with aggregator(mine) as first:
        with at_work(mine.device()) as device:
            device.ended.result(60)
        wait_until(lambda: mine.status().get("phase") == "finished")
        ready = mine.asked("/readyz")
        assert ready is not None
        assert ready.status_code == 200  # there is nothing left that it could not do
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(20) == 0  # in order
    topics = [contract_topic("alone"), round_topic("alone")]
    with MqttConnection(broker, "looks", topics, persistent=False) as connection:
        assert {topic for topic, _ in kept(connection)} == set(topics)
        for topic in topics:  # a broker that stores nothing was started again
            connection.publish(topic, b"", retain=True)
        connection.flush(10)
    with aggregator(mine):  # without any device
        wait_until(lambda: mine.status().get("phase") == "finished")
        assert mine.status()["round"] == ROUNDS
    with MqttConnection(broker, "looks", topics, persistent=False) as connection:
        assert dict(kept(connection))[round_topic("alone")], "a device that was away hears nothing"


def kept(connection: MqttConnection) -> list[tuple[str, bool]]:
    """Return the topics that the broker keeps, and whether each says that the run is over."""
    found = []
    while (event := connection.receive_kept(0.5)) is not None:
        if isinstance(event, Arrival) and event.payload:
            found.append((event.topic, is_over(event.notes)))
    return found


@pytest.mark.broker
def test_an_agent_that_stays_takes_part_in_the_next_run(
    tmp_path: Path, broker: BrokerSettings
) -> None:
    source = write_data(tmp_path / "data")
    config = tmp_path / "device.toml"
    folder = tmp_path / "device"
    config.write_text(
        f"""
        name = "somebody"
        task = "alone"
        folder = "{folder}"
        stay = true
        broker = {{ port = {broker.port} }}
        data = {{ source = "{source}" }}
        training = {{ architecture = "resnet4", threads = 1, mix = "half" }}
        model = {{ every_rounds = 0 }}
        """
    )
    command = [EDGELOOP, "agent", "--config", str(config), "--name", DEVICE]
    with ExitStack() as stack:
        agent = forked.start(command)
        stack.callback(agent.wait)
        stack.callback(agent.kill)
        for name in ("first", "second"):
            mine = task(Task, tmp_path / name, source, broker)
            with aggregator(mine) as process:
                assert process.process.wait(60) == 0
            wait_until(partial(same_run, folder / DEVICE, mine.folder / "aggregator"))
            wait_until(partial(says_what_is_in_use, folder / DEVICE))
        assert agent.poll() is None


def says_what_is_in_use(folder: Path) -> bool:
    said = json.loads((folder / STATUS).read_text())
    assert said["state"] != "sleeping" or said["in_use"].startswith("in use: a mixture, 50%")
    return bool(said["state"] == "sleeping")


def same_run(*folders: Path) -> bool:
    paths = [folder / "summary.json" for folder in folders]
    if not all(path.exists() for path in paths):
        return False
    return len({json.loads(path.read_text())["run"] for path in paths}) == 1
