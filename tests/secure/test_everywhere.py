"""A task with secure aggregation, as its simulation; devices and an aggregator that are killed."""

import json
import sqlite3
import subprocess
import textwrap
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from edge.agent.settings import DataSettings, DeviceSettings, TrainingSettings
from edgeloop import data
from edgeloop.mqtt.connection import Arrival
from edgeloop.protocol.task import Opening, round_topic
from edgeloop.runtime.config import BrokerSettings
from tests.bases.served import write_base
from tests.devices import Heard, at_work, wait_until
from tests.edge.test_without_torch import COMMAND, words
from tests.one_device import run_aggregator, simulated, write_data

NAME, ROUNDS = "summed", 2
NAMES = [f"client-{number:02}" for number in range(5)]
OPTIONS = {"precision": "single"}


def config(folder: Path, source: Path, base: Path, broker: BrokerSettings) -> Path:
    path = folder / "task.toml"
    path.write_text(
        textwrap.dedent(
            f"""
            name = "{NAME}"
            algorithm = "class-statistics"
            hyperparameters = {{ precision = "single" }}
            base = "{base}"
            class_names = {json.dumps(list(data.load(str(source)).class_names))}
            shape = [1, 28, 28]
            rounds = {ROUNDS}
            folder = "{folder / "aggregator"}"
            broker = {{ port = {broker.port} }}
            http = {{ port = 0 }}

            [cohort]
            devices = {json.dumps(NAMES)}
            secure = true
            grace_seconds = 60
            """
        )
    )
    return path


def device(folder: Path, source: Path, broker: BrokerSettings, number: int) -> DeviceSettings:
    return DeviceSettings(
        name=NAMES[number],
        task=NAME,
        folder=folder / NAMES[number],
        broker=broker,
        data=DataSettings(source=str(source), client=number),
        training=TrainingSettings(architecture="cnn", threads=1),
    )


def lean(folder: Path, source: Path, broker: BrokerSettings, number: int) -> list[str]:
    """Return the command of a device that has no torch."""
    path = folder / "lean.toml"
    path.write_text(
        textwrap.dedent(
            f"""
            name = "{NAMES[number]}"
            task = "{NAME}"
            folder = "{folder / NAMES[number]}"
            broker = {{ port = {broker.port} }}
            data = {{ source = "{source}", client = {number} }}
            """
        )
    )
    return [*words(COMMAND, "agent"), "--config", str(path)]


def at_step(wanted: int) -> Heard:
    """Return what cuts a device off as a step of the second round comes: 1 for the others' keys."""
    steps, opened = [0], [0]

    def heard(arrival: Arrival) -> bool:
        if arrival.topic == round_topic(NAME) and arrival.payload:
            opened[0] = Opening.model_validate_json(arrival.payload).round
        if "/receipt/" in arrival.topic and arrival.payload[:1] != b"{" and opened[0] == 1:
            steps[0] += 1
        return steps[0] == wanted

    return heard


def answered(folder: Path, step: int) -> list[str]:
    """Return who has answered a step of the second round, as the ledger has it."""
    with closing(sqlite3.connect(folder / "aggregator" / "ledger.sqlite", timeout=30)) as ledger:
        rows = ledger.execute("SELECT device FROM steps WHERE round = 1 AND step = ?", (step,))
        return sorted(row[0] for row in rows)


def summary_of(folder: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


@pytest.mark.broker
def test_it_ends_as_its_simulation_whoever_is_killed(
    tmp_path: Path, broker: BrokerSettings
) -> None:
    """A device at step 2, and the aggregator while it waits for that one; both go on."""
    source, base = write_data(tmp_path / "data", clients=5, samples=600), tmp_path / "base"
    write_base(base, shape=(1, 28, 28))
    task, log = config(tmp_path, source, base, broker), tmp_path / "aggregator.log"
    second = device(tmp_path, source, broker, 1)
    with ExitStack() as stack:
        for number in (0, 2, 3):
            stack.enter_context(at_work(device(tmp_path, source, broker, number)))
        agent = subprocess.Popen(lean(tmp_path, source, broker, 4), stderr=subprocess.DEVNULL)
        stack.callback(agent.wait)
        stack.callback(agent.kill)
        with run_aggregator(task, log):
            with at_work(second, at_step(1)) as cut:
                wait_until(cut.ended.done)
            wait_until(lambda: answered(tmp_path, 2) == [n for n in NAMES if n != NAMES[1]])
        with run_aggregator(task, log) as running:
            with at_work(second) as again:
                again.ended.result(60)
            assert running.process.wait(60) == 0, running.said()
        assert agent.wait(60) == 0
    rehearsed = simulated(
        source,
        None,
        tmp_path / "sim",
        algorithm="class-statistics",
        base=str(base),
        options=OPTIONS,
        secure=True,
    )
    assert summary_of(tmp_path / "aggregator")["knowledge_sha256"] == rehearsed["knowledge_sha256"]
    assert answered(tmp_path, 2) == [], "nothing is kept of the steps"
    ledger = (tmp_path / "aggregator" / "ledger.sqlite").read_bytes()
    assert b"ClassStatistics" not in ledger
    assert b"PublicKeys" in ledger
    assert "changes nothing" not in log.read_text()
