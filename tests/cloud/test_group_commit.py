"""Uploads that wait are written together: all of them are safe before the broker forgets one."""

import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloud.aggregator.ledger import Ledger
from edgeloop import algorithms
from edgeloop.client import Report
from edgeloop.cohorts.events import DeviceMessage, Event, LeftError
from edgeloop.cohorts.mqtt import MOST_AT_ONCE, MqttCohort, RoundDeadlines
from edgeloop.cohorts.uploads import MemoryLog, Upload
from edgeloop.knowledge.prototypes import PrototypeUpload
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol import wire
from edgeloop.protocol.gathering import Verdict
from edgeloop.protocol.task import EVICTED, LEFT, presence_topic, receipt_topic, upload_topic
from edgeloop.protocol.wire import Envelope
from edgeloop.runtime.config import BrokerSettings
from tests import forked
from tests.devices import wait_until
from tests.postgres import Postgres, reopened
from tests.world import contract

DEVICES = tuple(f"device-{number:02}" for number in range(30))
CONTRACT = contract(run="now", class_names=("x", "y", "z"), devices=DEVICES)
ALGORITHM = algorithms.load("fedproto", classes=3, width=4)
REPORT = Report(1, 2, 3, 0.1, 0.2, 0.75)

VICTIM = """
import sys, time
from cloud.aggregator.ledger import Ledger
from edgeloop.runtime.config import BrokerSettings
from tests.cloud.test_group_commit import CONTRACT, gathered, server

class Stalls(Ledger):
    def record_all(self, round_number, uploaded):
        if when == "after its commit":
            super().record_all(round_number, uploaded)
        print(len(uploaded), flush=True)
        time.sleep(600)

url, port, when = sys.argv[1:]
with Stalls.open(url) as ledger, server(BrokerSettings(port=int(port))) as connection:
    ledger.adopt(CONTRACT)
    ledger.begin(b"state", b"broadcast")
    gathered(connection, ledger)
"""


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.database()


def server(broker: BrokerSettings) -> MqttConnection:
    topics = MqttCohort.subscriptions("t")
    return MqttConnection(broker, "server", topics, inflight=MOST_AT_ONCE)


def gathered(
    connection: MqttConnection, log: Any, quorum: int = len(DEVICES), seconds: float = 60.0
) -> tuple[dict[str, Any], list[tuple[str, Verdict]]]:
    """Ask for the first round; return its answers, and every verdict in its order."""
    heard: list[Event] = []
    patience = RoundDeadlines(quorum, seconds, seconds)
    cohort = MqttCohort[Any, Any](
        connection, CONTRACT, ALGORITHM, patience, log, observe=heard.append
    )
    answers = dict(cohort.ask(0, ALGORITHM.start()[1]))
    messages = [each for each in heard if isinstance(each, DeviceMessage)]
    return answers, [(each.device, each.verdict) for each in messages if each.verdict]


def answer(device: str, value: float = 1.0) -> bytes:
    upload = PrototypeUpload(np.array([0]), np.array([1]), np.full((1, 4), value, np.float32))
    return wire.encode(Envelope("t", "now", 0, device), upload, REPORT)


@pytest.fixture
def device(broker: BrokerSettings) -> Iterator[MqttConnection]:
    """A connection that can say anything, while the broker holds a session for the server."""
    with server(broker):
        pass
    with MqttConnection(broker, "device", []) as connection:
        yield connection


def say(device: MqttConnection, name: str, payload: bytes) -> None:
    device.send(upload_topic("t", name), payload)


class Counts(MemoryLog):
    """Notes who is written together."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []

    def record_all(self, round_number: int, uploads: Sequence[Upload]) -> None:
        self.batches.append([each.client for each in uploads])
        super().record_all(round_number, uploads)


def waiting(connection: MqttConnection, messages: int) -> None:
    """Return when so many messages wait to be read."""
    wait_until(lambda: connection._inbox.qsize() == messages)


@pytest.mark.broker
@pytest.mark.parametrize("when", ["before its commit", "after its commit"])
def test_a_kill_around_the_commit_of_a_batch_loses_nothing_and_counts_nothing_twice(
    url: str, broker: BrokerSettings, device: MqttConnection, when: str
) -> None:
    for number, name in enumerate(DEVICES):
        say(device, name, answer(name, number))
    assert device.flush(30)
    command = [sys.executable, "-c", VICTIM, url, str(broker.port), when]
    with forked.speaking(command) as (_, said):
        batch = int(said.readline())
    assert batch >= 1
    with reopened(url, CONTRACT) as ledger, server(broker) as connection:
        stored = ledger.recall(0)
        assert len(stored) == (batch if when == "after its commit" else 0)
        answers, verdicts = gathered(connection, ledger)
        kept = ledger.recall(0)
    assert list(answers) == list(kept) == list(DEVICES)
    for number, name in enumerate(DEVICES):
        assert answers[name].upload.prototypes_ND.tolist() == [[number] * 4]
    accepted = [name for name, verdict in verdicts if verdict is Verdict.ACCEPTED]
    assert sorted(accepted) == sorted(set(DEVICES) - stored.keys())
    assert {verdict for _, verdict in verdicts} <= {Verdict.ACCEPTED, Verdict.DUPLICATE}


@pytest.mark.broker
def test_a_bad_upload_in_a_batch_affects_no_neighbour(
    broker: BrokerSettings, device: MqttConnection
) -> None:
    one, two, three, four = DEVICES[:4]
    with server(broker) as connection:
        say(device, one, answer(one))
        device.publish(upload_topic("t", two), b"no chunk at all")
        say(device, two, b"no frame at all")
        say(device, three, answer(three, float("nan")))
        say(device, three, answer(four))
        say(device, "stranger", answer("stranger"))
        say(device, one, answer(one))
        say(device, one, answer(one, 2.0))
        device.publish(presence_topic("t", four), b"\xff" * 100)
        say(device, four, answer(four))
        say(device, two, answer(two))
        waiting(connection, 11)
        log = Counts()
        answers, verdicts = gathered(connection, log, quorum=3, seconds=3.0)
    assert log.batches == [[one, four, two]]
    assert list(answers) == [one, two, four]
    assert answers[one].upload.prototypes_ND.tolist() == [[1.0] * 4]
    assert verdicts == [
        (one, Verdict.ACCEPTED),
        (two, Verdict.MALFORMED),
        (two, Verdict.MALFORMED),
        (three, Verdict.MALFORMED),
        (three, Verdict.MALFORMED),
        ("stranger", Verdict.UNINVITED),
        (one, Verdict.DUPLICATE),
        (one, Verdict.CONFLICT),
        (four, Verdict.ACCEPTED),
        (two, Verdict.ACCEPTED),
    ]


@pytest.mark.broker
def test_what_waits_is_written_at_once_and_acknowledged_once(
    broker: BrokerSettings, device: MqttConnection
) -> None:
    with server(broker) as connection:
        for name in DEVICES:
            say(device, name, answer(name))
        waiting(connection, len(DEVICES))
        log = Counts()
        gathered(connection, log)
        assert log.batches == [list(DEVICES)]
        connection.flush(5)
    with server(broker) as connection:
        assert connection.receive(0.5) is None, "the broker has forgotten all of them"


@pytest.mark.broker
def test_a_batch_that_cannot_be_written_is_delivered_again(
    broker: BrokerSettings, device: MqttConnection
) -> None:
    class FullDisk(MemoryLog):
        def record_all(self, *_: Any) -> None:
            raise OSError("no space left on device")

    for name in DEVICES:
        say(device, name, answer(name))
    device.publish(presence_topic("t", DEVICES[0]), LEFT)
    assert device.flush(30)
    with server(broker) as connection, pytest.raises(OSError, match="no space"):
        gathered(connection, FullDisk())
    with server(broker) as connection:
        answers, verdicts = gathered(connection, MemoryLog())
    assert list(answers) == list(DEVICES)
    assert [verdict for _, verdict in verdicts] == [Verdict.ACCEPTED] * len(DEVICES)


class Slow(Counts):
    """Writes when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = threading.Event()

    def record_all(self, round_number: int, uploads: Sequence[Upload]) -> None:
        self.batches.append([each.client for each in uploads])
        assert self.may.wait(30)
        MemoryLog.record_all(self, round_number, uploads)


@pytest.mark.broker
@pytest.mark.parametrize("evicted", [False, True])
def test_what_comes_while_uploads_are_written_is_judged_and_told_of_only_when_it_is_written(
    broker: BrokerSettings, device: MqttConnection, evicted: bool
) -> None:
    first, later = list(DEVICES[:3]), list(DEVICES[3:6])
    log, found = Slow(), list[Any]()
    device.subscribe(receipt_topic("t", "+"))
    with server(broker) as connection, ThreadPoolExecutor(1) as pool:
        for name in first:
            say(device, name, answer(name))
        waiting(connection, len(first))
        asked = pool.submit(gathered, connection, log, quorum=6, seconds=3.0)
        wait_until(lambda: len(log.batches) == 1)
        for name in later:
            say(device, name, answer(name))
        if evicted:
            device.publish(presence_topic("t", first[0]), EVICTED, notes={"run": "now"})
        assert device.flush(5)
        waiting(connection, 0)
        assert device.receive(0.5) is None, "no receipt before the commit"
        assert log.batches == [first]
        log.may.set()
        if evicted:
            with pytest.raises(LeftError):
                asked.result()
        else:
            found += asked.result()[0]
    assert log.batches == [first, later]
    assert list(log.recall(0)) == [*first, *later]
    assert found == ([] if evicted else [*first, *later])
    told = [device.receive(5) for _ in range(6)]
    assert all(isinstance(each, Arrival) and b"accepted" in each.payload for each in told)
    with server(broker) as connection:
        assert connection.receive(0.5) is None, "the broker has forgotten all of them"


def uploads(*names: str, digest: str = "digest") -> list[Upload]:
    return [Upload(name, f"{digest} of {name}", name.encode() * 1000) for name in names]


def test_a_batch_is_one_transaction(url: str) -> None:
    written: list[float] = []
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger.open(url))
        ledger.adopt(CONTRACT)
        ledger.begin(b"state", b"broadcast")
        ledger.on_write = written.append
        ledger.record_all(0, uploads("c", "a", "b"))
        assert len(written) == 1
        ledger.record_all(0, uploads("b", "d"))
        ledger.record_all(0, [])
        assert ledger.recall(0) == {name: name.encode() * 1000 for name in "abcd"}
    with Ledger.open(url) as ledger:
        ledger.adopt(CONTRACT)
        assert list(ledger.recall(0)) == list("abcd")


def test_another_upload_of_one_client_keeps_no_other_from_the_ledger(url: str) -> None:
    with Ledger.open(url) as ledger:
        ledger.adopt(CONTRACT)
        ledger.begin(b"state", b"broadcast")
        ledger.record_all(0, uploads("b"))
        batch = [*uploads("a"), *uploads("b", digest="another"), *uploads("c")]
        with pytest.raises(ValueError, match="round 0 holds another upload of b"):
            ledger.record_all(0, batch)
        assert ledger.recall(0) == {name: name.encode() * 1000 for name in "abc"}
        twice = [*uploads("d"), *uploads("d", digest="another")]
        with pytest.raises(ValueError, match="round 0 holds another upload of d"):
            ledger.record_all(0, twice)
        ledger.record_all(0, uploads("d"))
