"""Hostile answers and spoilt ledgers through the service: a task continues, restarted or not."""

import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from cloud.aggregator import standing
from cloud.aggregator.agreement import GeneratorHandle, make_contract
from cloud.aggregator.ledger import Ledger, RoundCounts
from cloud.aggregator.service import Run
from cloud.aggregator.settings import TaskSettings
from edgeloop import algorithms, server_loop
from edgeloop.client import Report
from edgeloop.knowledge.prototype_network import State
from edgeloop.knowledge.prototypes import GlobalPrototypes, PrototypeUpload
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.protocol import wire
from edgeloop.protocol.gathering import Verdict
from edgeloop.protocol.task import SERVER, upload_topic
from edgeloop.protocol.wire import Envelope
from edgeloop.runtime.config import BrokerSettings, parse
from tests.devices import wait_until

REPORT = Report(1, 2, 3, 0.1, 0.2)
DEVICES = ("a", "b", "c")
WIDTH = 4


def settings(folder: Path, broker: BrokerSettings | None = None) -> TaskSettings:
    table = {
        "name": "poisoned",
        "algorithm": "fedtgp",
        "class_names": ["x", "y"],
        "shape": [1, 28, 28],
        "width": WIDTH,
        "rounds": 1,
        "folder": str(folder),
        "hyperparameters": {"server_epochs": 2},
        "cohort": {"devices": list(DEVICES), "deadline_seconds": 8, "give_up_seconds": 30},
        "broker": {"port": 1, "connect_seconds": 0.1} if broker is None else {"port": broker.port},
    }
    return parse(table, TaskSettings, "poisoned")


@contextmanager
def opened(asked: TaskSettings) -> Iterator[Run]:
    asked.folder.mkdir(parents=True, exist_ok=True)
    handle = GeneratorHandle(asked)
    with Ledger.open(asked.ledger()) as ledger:
        contract = ledger.adopt(make_contract(asked, handle.generator))
        yield Run(asked, contract, ledger, handle)


def frame(run: Run, number: int, sender: str, *messages: Any) -> bytes:
    return wire.encode(Envelope("poisoned", run.contract.run, number, sender), *messages)


def answers(run: Run, spoilt: PrototypeUpload, number: int = 0) -> dict[str, bytes]:
    honest = PrototypeUpload(np.array([0]), np.array([3]), np.ones((1, WIDTH), np.float32))
    sent = {"a": honest, "b": spoilt, "c": honest}
    return {name: frame(run, number, name, each, REPORT) for name, each in sent.items()}


def huge(value: float = 1e30) -> PrototypeUpload:
    values = np.full((1, WIDTH), value, np.float32)
    return PrototypeUpload(np.array([1]), np.array([1]), values)


@pytest.mark.broker
@pytest.mark.parametrize("stored", [False, True])
def test_a_round_goes_on_without_what_spoils_it(
    tmp_path: Path, broker: BrokerSettings, caplog: pytest.LogCaptureFixture, stored: bool
) -> None:
    """Sent while the round is open, or in the ledger when the aggregator is started again."""
    with opened(settings(tmp_path, broker)) as run, ExitStack() as stack:
        algorithm = algorithms.load_for_contract(run.contract)
        started = server_loop.initial_state(algorithm)
        run.ledger.begin(*standing.frames(run.contract, started))  # as every new run begins
        sent = answers(run, huge())
        device = stack.enter_context(MqttConnection(broker, "device", []))
        if stored:
            for name, payload in sent.items():
                run.ledger.record(0, name, wire.digest(payload), payload)
        thread = Thread(target=run.run_to_end)
        thread.start()
        wait_until(lambda: run.phase != "starting")  # with answers in the ledger it is soon further
        for name, payload in sent.items():
            device.send(upload_topic("poisoned", name), payload)
        for name in DEVICES:
            device.send(upload_topic("poisoned", name), frame(run, 1, name, REPORT))
        thread.join(60)
        assert not thread.is_alive()
        text = run.metrics.exposition().decode()
        assert f'edgeloop_uploads_total{{verdict="{Verdict.IMPLAUSIBLE.value}"}} 1.0' in text
        assert "round 0 excludes the upload of b" in caplog.text
        number, state, broadcast = run.ledger.run_state() or (0, b"", b"")
    assert number == 1
    wire.check(wire.decode(state, State)[State])
    wire.check(wire.decode(broadcast, GlobalPrototypes)[GlobalPrototypes])
    assert json.loads((tmp_path / "summary.json").read_text())["rounds"] == 1


def spoilt(kept: Any) -> tuple[State, GlobalPrototypes]:
    """Return what 0.1.0 committed: NaN."""
    state = State(
        kept.state.rounds,
        *(np.full_like(a, np.nan) for a in vars(kept.state).values() if isinstance(a, np.ndarray)),
    )
    made = np.full_like(kept.broadcast.prototypes_CD, np.nan)
    return state, GlobalPrototypes(np.ones_like(kept.broadcast.known_C), made)


@pytest.mark.parametrize("good", [0, 1])
def test_a_ledger_with_nan_in_it_opens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, good: int
) -> None:
    """It continues from the last round that led to something, with as many rounds done."""
    caplog.set_level(logging.WARNING)
    with opened(settings(tmp_path)) as run:
        algorithm = algorithms.load_for_contract(run.contract)
        first = run._load_state(algorithm)
        second = server_loop.RunState(1, first.state, huge_broadcast(first.broadcast, 2.0))
        for number in range(4):
            run_state = second if number < good else first
            messages = (run_state.state, run_state.broadcast) if number < good else spoilt(first)
            frames = [frame(run, number + 1, SERVER, each) for each in messages]
            run.ledger.close_round(number, frames[0], frames[1], RoundCounts(1, 1, 1))
            if number == good:
                break
        found = run._load_state(algorithm)
        assert found.rounds == good + 1
        expected = second if good else first
        assert wire.fingerprint(found.broadcast) == wire.fingerprint(expected.broadcast)
        assert f"resuming with the state of round {good}" in caplog.text


def test_where_nothing_good_is_left_it_goes_on_as_a_new_run_begins(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(settings(tmp_path)) as run:
        algorithm = algorithms.load_for_contract(run.contract)
        first = run._load_state(algorithm)
        for number in range(5):
            frames = [frame(run, number + 1, SERVER, each) for each in spoilt(first)]
            run.ledger.close_round(number, frames[0], frames[1], RoundCounts(1, 1, 1))
        found = run._load_state(algorithm)
        assert found.rounds == 5
        assert wire.fingerprint(found.state) == wire.fingerprint(first.state)
        assert "resuming with the initial state" in caplog.text


def huge_broadcast(like: GlobalPrototypes, value: float) -> GlobalPrototypes:
    return GlobalPrototypes(np.ones_like(like.known_C), np.full_like(like.prototypes_CD, value))
