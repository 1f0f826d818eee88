"""A Prometheus that scrapes a whole edgeloop at work: every panel has data, an alert really fires.

Aggregator, operator, Mosquitto (TLS), Triton and Prometheus are processes, the devices threads;
the operator's API server is the small one of its own tests.
"""

import json
import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import yaml

from cloud.generator_service import repository, server
from edge.agent.settings import DataSettings, DeviceSettings, TrainingSettings
from edgeloop import data
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.ports import free_port
from tests import triton
from tests.authority import Authority
from tests.cloud.operator.cluster import Cluster
from tests.cloud.operator.cluster import task as resource
from tests.cloud.operator.conftest import StartOperator
from tests.devices import at_work, wait_until
from tests.generators.tiny import write_tiny
from tests.monitoring import prometheus
from tests.monitoring.boards import Query, queries
from tests.monitoring.prometheus import Prometheus
from tests.one_device import run_aggregator, write_data
from tests.world import Mosquitto, StartBroker

pytestmark = [pytest.mark.broker, pytest.mark.triton]

TASK, DEVICES = "watched", ("one", "two")
SECONDS = 2
"""That an alert must hold here before it fires, where the chart says minutes."""


@dataclass(frozen=True)
class Scene:
    """What is scraped.

    Attributes:
        prometheus: that scrapes it.
        broker: of the task.
        log: the aggregator's, of JSON.
    """

    prometheus: Prometheus
    broker: Mosquitto
    log: Path


def impatient(folder: Path) -> Path:
    """Write the chart's rules, but with short `for`s; return the file."""
    found = prometheus.groups()
    for group in found:
        for rule in group["rules"]:
            rule["for"] = f"{SECONDS}s"
    path = folder / "alerts.yaml"
    path.write_text(yaml.safe_dump({"groups": found}))
    return path


def identity(authority: Authority, name: str) -> dict[str, str]:
    certificate, key = authority.sign(name)
    files = {"ca_file": authority.file, "certificate_file": certificate, "key_file": key}
    return {field: str(path) for field, path in files.items()}


def write_task(
    folder: Path, broker: dict[str, Any], generator: str, source: Path, port: int
) -> Path:
    """Write the file of a task that does not end in time."""
    table = {
        "name": TASK,
        "algorithm": "fedktl",
        "generator": generator,
        "hyperparameters": {"server_epochs": 2},
        "class_names": list(data.load(str(source)).class_names),
        "shape": [1, 28, 28],
        "width": 16,
        "rounds": 10_000,
        "folder": str(folder / "aggregator"),
        "broker": broker,
        "cohort": {"devices": list(DEVICES)},
        "http": {"port": port},
    }
    path = folder / "task.toml"
    path.write_text(tomli_w.dumps(table))
    return path


def device(folder: Path, name: str, broker: dict[str, Any], source: Path) -> DeviceSettings:
    return DeviceSettings(
        name=name,
        task=TASK,
        folder=folder / name,
        broker=BrokerSettings(**broker),
        data=DataSettings(source=str(source), client=DEVICES.index(name)),
        training=TrainingSettings(architecture="resnet4", threads=1),
    )


@pytest.fixture
def scene(
    tmp_path: Path, start_broker: StartBroker, cluster: Cluster, start_operator: StartOperator
) -> Iterator[Scene]:
    prometheus.program("prometheus")
    home, ports = triton.home(), server.free_ports()
    port, operator_port = free_port(), free_port()
    source = write_data(tmp_path / "data", clients=len(DEVICES))
    authority = Authority(tmp_path / "certificates")
    mosquitto = start_broker(*authority.listener("localhost"))
    place = {"host": "localhost", "port": mosquitto.settings.port}
    repository.write(write_tiny(tmp_path / "tiny"), tmp_path / "models", "tiny")
    start_operator("--port", str(operator_port))
    cluster.create("federatedtasks", resource())
    with ExitStack() as stack:
        stack.enter_context(triton.running(tmp_path, home, ports))
        generator = f"triton://127.0.0.1:{ports.grpc}/tiny"
        mine = {**place, **identity(authority, "aggregator")}
        config = write_task(tmp_path, mine, generator, source, port)
        log = tmp_path / "aggregator.log"
        stack.enter_context(run_aggregator(config, log, "--log-format", "json"))
        for name in DEVICES:
            own = {**place, **identity(authority, name)}
            stack.enter_context(at_work(device(tmp_path, name, own, source)))
        targets = {
            "edgeloop-aggregators": port,
            "edgeloop-operator": operator_port,
            "triton": ports.metrics,
        }
        rules = impatient(tmp_path)
        scraping = stack.enter_context(prometheus.running(tmp_path, targets, rules))
        yield Scene(scraping, mosquitto, log)


def lacking(found: Prometheus) -> list[Query]:
    """Return the panels' queries that find nothing."""
    return [
        query
        for query in queries(TASK)
        if "nv_gpu" not in query.expression and not found.query(query.expression)
    ]


def test_every_panel_has_data_and_a_lost_broker_is_told(scene: Scene) -> None:
    found = scene.prometheus
    wait_until(lambda: value(found, "edgeloop_rounds_closed_total") >= 3, 90)
    wait_until(lambda: not lacking(found), 60)
    numbers = {
        query.panel: value(found, query.expression)
        for query in queries(TASK)
        if "nv_gpu" not in query.expression
    }
    unknown = {panel for panel, number in numbers.items() if math.isnan(number)}
    assert unknown <= {"Battery", "Temperature", "Privacy spent"}, "no such sensors, no privacy"
    assert numbers["Devices online"] == 2
    assert 0 < numbers["Processor"] <= 1
    assert numbers["First certificate expires in"] > 0
    pending = 'edgeloop_operator_objects{kind="FederatedTask", phase="Pending"}'
    assert value(found, pending) == 1
    assert numbers["Models on Triton"] == 2
    # Two seconds are short: what a slow start has set off ends by itself.
    wait_until(lambda: not firing(found), 60)
    scene.broker.process.kill()
    wait_until(lambda: "EdgeloopBrokerLost" in firing(found), 60)
    told = found.alerts()["EdgeloopBrokerLost"]
    assert told["labels"]["severity"] == "critical"
    assert told["annotations"]["summary"] == f"Task {TASK} has lost its MQTT broker"
    lines = [json.loads(line) for line in scene.log.read_text().splitlines()]
    assert {line["task"] for line in lines} == {TASK}
    uploads = [line for line in lines if line.get("verdict") == "accepted"]
    assert {line["device"] for line in uploads} == set(DEVICES)
    assert {0, 1, 2} <= {line["round"] for line in uploads}
    warnings = [line["message"] for line in lines if line["level"] == "warning"]
    assert any("lost the broker" in message for message in warnings)


def value(found: Prometheus, expression: str) -> float:
    """Return an expression's first value; NaN without any."""
    answer = found.query(expression)
    return float(answer[0]["value"][1]) if answer else math.nan


def firing(found: Prometheus) -> set[str]:
    return {name for name, each in found.alerts().items() if each["state"] == "firing"}
