"""Algorithms whose models travel, over MQTT: as in their simulation, to the bit."""

import json
from pathlib import Path
from typing import Any

import pytest

from cloud.aggregator.service import serve
from cloud.aggregator.settings import TaskSettings
from edge.agent.predict import open_model
from edge.agent.task_session import load_context as brought
from edge.agent.task_session import open_session
from edgeloop import data
from edgeloop.errors import ConfigError
from edgeloop.protocol.task import Contract
from edgeloop.runtime import config
from edgeloop.runtime.config import BrokerSettings
from tests.devices import at_work
from tests.one_device import ARCHITECTURE, DEVICE, Task, simulated, write_data
from tests.world import contract


@pytest.mark.broker
@pytest.mark.parametrize("algorithm", ["fedavg", "fedala", "fedkd", "scaffold", "moon"])
def test_one_device_over_mqtt_ends_as_its_simulation_does(
    algorithm: str, tmp_path: Path, broker: BrokerSettings
) -> None:
    source = write_data(tmp_path / "one")
    own: dict[str, Any] = {"architecture": ARCHITECTURE}
    task = Task(tmp_path, source, broker, None, algorithm, own)
    expected = simulated(source, None, tmp_path / "sim", algorithm=algorithm, options=own)
    with at_work(task.device()) as device:
        summary = json.loads(serve(config.read(task.config(), TaskSettings)).read_text())
        mine = json.loads(device.ended.result(60).read_text())
    assert summary["knowledge_sha256"] == expected["knowledge_sha256"]
    assert summary["accuracy_by_round"] == expected["accuracy_by_round"]
    assert list(mine["accuracy_by_round"].values()) == expected["accuracy_by_round"]
    assert open_model(Path(mine["onnx"])) is not None


def test_a_device_of_another_architecture_is_told(tmp_path: Path) -> None:
    task = Task(tmp_path, write_data(tmp_path / "one"), BrokerSettings(), None)
    mine = brought(task.device())
    wanted: Contract = contract(
        task=mine.settings.task,
        **{"algorithm": "fedavg", "class_names": data.load(task.source).class_names, "width": 16},
        devices=(DEVICE,),
    )
    with pytest.raises(ConfigError, match=f"models: fedavg averages whole models: {ARCHITECTURE}"):
        open_session(mine, wanted)
