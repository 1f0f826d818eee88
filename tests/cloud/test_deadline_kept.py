"""A restart does not begin a round's deadline anew: it is the ledger's, from when it was opened."""

import sqlite3
from pathlib import Path

import pytest
import tomli_w

from edgeloop import data
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.protocol.task import presence_topic
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.ports import free_port
from tests import forked
from tests.devices import wait_until
from tests.one_device import EDGELOOP, Task, run_aggregator, write_data

NAME = "kept"


def _config(task: Task, cohort: dict[str, object]) -> Path:
    path = task.folder / "task.toml"
    table = {
        "name": NAME,
        "algorithm": "fedproto",
        "class_names": list(data.load(str(task.source)).class_names),
        "shape": [1, 28, 28],
        "width": 16,
        "rounds": 2,
        "folder": str(task.folder / "aggregator"),
        "broker": {"port": task.broker.port},
        "http": {"port": task.http},
        "cohort": cohort,
    }
    path.write_text(tomli_w.dumps(table))
    return path


def _device(task: Task) -> list[str]:
    path = task.folder / "device.toml"
    table = {
        "name": "client-00",
        "task": NAME,
        "folder": str(task.folder / "device"),
        "broker": {"port": task.broker.port},
        "data": {"source": str(task.source)},
        "training": {"architecture": "cnn", "threads": 1, "mix": "never"},
        "model": {"every_rounds": 0},
    }
    path.write_text(tomli_w.dumps(table))
    return [EDGELOOP, "agent", "--config", str(path)]


@pytest.mark.broker
def test_a_round_whose_time_is_up_is_closed_after_a_restart(
    tmp_path: Path, broker: BrokerSettings
) -> None:
    task = Task(tmp_path, write_data(tmp_path / "data"), broker, None, http=free_port())
    cohort = {"devices": ["client-00", "quiet"], "quorum": 1, "grace_seconds": 0.1}
    config = _config(task, {**cohort, "deadline_seconds": 3600})
    log = tmp_path / "aggregator.log"
    topic = presence_topic(NAME, "quiet")  # it is there, so that the round waits for it
    with MqttConnection(broker, "quiet", [], topic), forked.running(_device(task)):
        with run_aggregator(config, log):
            wait_until(lambda: _answered(task), 60)
            assert task.status()["round"] == 0
        with sqlite3.connect(tmp_path / "aggregator" / "ledger.sqlite") as ledger:
            ledger.execute("UPDATE rounds SET opened = datetime(opened, '-2 hours')")
        ledger.close()
        with run_aggregator(config, log):
            wait_until(lambda: task.status().get("round") == 1, 60)


def _answered(task: Task) -> bool:
    devices = {each["name"]: each for each in task.status().get("devices", [])}
    return bool(devices.get("client-00", {}).get("answered"))
