"""Several processes take a task's uploads: one receipt each, none lost, none after the round."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import select, update

from cloud.aggregator.ingest import Replica, connect
from cloud.aggregator.ledger import Ledger
from cloud.aggregator.membership import LedgerMembers
from cloud.aggregator.migrations import rounds
from cloud.aggregator.settings import TaskSettings
from cloud.aggregator.shared_rounds import SharedRounds, check_shared
from edgeloop.cohorts.mqtt import MqttCohort, RoundDeadlines
from edgeloop.cohorts.rates import RateLimits
from edgeloop.cohorts.uploads import Upload
from edgeloop.errors import ConfigError
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol import chunks
from edgeloop.protocol.gathering import Verdict
from edgeloop.protocol.receipt import Receipt
from edgeloop.protocol.task import receipt_topic, upload_topic
from edgeloop.runtime.config import BrokerSettings
from tests import forked
from tests.cloud.test_group_commit import ALGORITHM, CONTRACT, DEVICES, answer, say
from tests.postgres import Postgres

pytestmark = pytest.mark.postgresql

NO_LIMITS = RateLimits()

VICTIM = """
import sys, time
from cloud.aggregator.ingest import Replica
from cloud.aggregator.ledger import Ledger
from cloud.aggregator.shared_rounds import SharedRounds
from edgeloop.runtime.config import BrokerSettings
from tests.cloud.test_group_commit import ALGORITHM, CONTRACT
from tests.cloud.test_ingest import connection_of

take = SharedRounds.take
def stalls(self, number, uploads):
    if when == "after its commit":
        take(self, number, uploads)
    print(len(uploads), flush=True)
    time.sleep(600)
SharedRounds.take = stalls

url, port, when = sys.argv[1:]
with Ledger.open(url) as ledger, connection_of(BrokerSettings(port=int(port))) as connection:
    ledger.join(CONTRACT.task)
    replica = Replica(connection, CONTRACT, ALGORITHM, ledger)
    print("ready", flush=True)
    replica.take_for(600)
"""


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.database()


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """The aggregator's, with a round open."""
    with Ledger.open(url) as found:
        found.adopt(CONTRACT)
        found.begin(b"state", b"broadcast")
        yield found


def connection_of(broker: BrokerSettings) -> MqttConnection:
    fields: dict[str, Any] = {
        "name": CONTRACT.task,
        "algorithm": "fedproto",
        "class_names": ["x", "y"],
        "shape": [4],
        "rounds": 1,
        "folder": "/nowhere",
        "broker": broker.model_dump(),
        "cohort": {"devices": ["a"]},
    }
    return connect(TaskSettings.model_validate(fields))


@contextmanager
def replica(url: str, broker: BrokerSettings, limits: RateLimits = NO_LIMITS) -> Iterator[None]:
    """Take uploads in a thread, with a ledger of its own."""
    over = threading.Event()
    with Ledger.open(url) as beside, connection_of(broker) as connection:
        beside.join(CONTRACT.task)
        taking = Replica(connection, CONTRACT, ALGORITHM, beside, limits)

        def work() -> None:
            while not over.is_set():
                taking.take_for(0.1)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def gathered(
    broker: BrokerSettings, ledger: Ledger, seconds: float = 60.0, again: float = 30.0
) -> dict[str, Any]:
    """Ask for the first round as an aggregator does that takes no uploads itself."""
    topics = MqttCohort.subscriptions(CONTRACT.task, shared=True)
    patience = RoundDeadlines(len(DEVICES), seconds, seconds)
    with MqttConnection(broker, "server", topics) as connection:
        cohort = MqttCohort[Any, Any](
            connection,
            CONTRACT,
            ALGORITHM,
            patience,
            ledger,
            announce_seconds=again,
            shared=SharedRounds(ledger),
        )
        return dict(cohort.ask(0, ALGORITHM.start()[1]))


class Device:
    """Says anything for all devices, and hears their receipts."""

    def __init__(self, broker: BrokerSettings) -> None:
        self.connection = MqttConnection(broker, "device", [receipt_topic(CONTRACT.task, "+")])
        self.receipts: list[tuple[str, str]] = []

    def hear(self, until: Callable[[], bool], seconds: float = 30.0) -> None:
        for _ in range(round(seconds * 10)):
            if until():
                return
            event = self.connection.receive(0.1)
            if isinstance(event, Arrival):
                found = Receipt.model_validate_json(event.payload)
                self.receipts.append((event.topic.rpartition("/")[2], found.verdict))
                event.acknowledge()
        raise TimeoutError(self.receipts)


@pytest.fixture
def device(broker: BrokerSettings) -> Iterator[Device]:
    found = Device(broker)
    with found.connection:
        yield found


@pytest.mark.broker
def test_two_take_all_answers_and_the_aggregator_has_them(
    url: str, ledger: Ledger, broker: BrokerSettings, device: Device
) -> None:
    with replica(url, broker), replica(url, broker):
        for name in DEVICES:
            say(device.connection, name, answer(name))
        answers = gathered(broker, ledger)
        device.hear(lambda: len(set(device.receipts)) == len(DEVICES))
    assert set(answers) == set(DEVICES)
    # a round that opens gives the receipts of what it finds stored once more
    assert set(device.receipts) == {(name, "accepted") for name in DEVICES}
    assert set(ledger.recall(0)) == set(DEVICES)


@pytest.mark.broker
def test_an_answer_that_comes_again_elsewhere_and_one_that_differs(
    url: str, ledger: Ledger, broker: BrokerSettings, device: Device
) -> None:
    name = DEVICES[0]
    with replica(url, broker), replica(url, broker):
        for value in (1.0, 1.0, 1.0, 2.0, 2.0):
            say(device.connection, name, answer(name, value))
            before = len(device.receipts)
            device.hear(lambda n=before: len(device.receipts) > n)  # type: ignore[misc]
    verdicts = [verdict for _, verdict in device.receipts]
    assert verdicts == ["accepted", "duplicate", "duplicate", "conflict", "conflict"]
    assert ledger.recall(0) == {name: answer(name)}


@pytest.mark.broker
def test_what_is_no_answer_is_refused_with_a_reason(
    url: str, ledger: Ledger, broker: BrokerSettings, device: Device
) -> None:
    topic, frame = upload_topic(CONTRACT.task, DEVICES[0]), answer(DEVICES[0])
    with replica(url, broker):
        device.connection.publish(topic, chunks.split(frame, 200)[0])  # one of several parts
        device.hear(lambda: len(device.receipts) == 1)
        say(device.connection, DEVICES[1], frame)  # another one's
        device.hear(lambda: len(device.receipts) == 2)
        say(device.connection, "stranger", answer("stranger"))
        device.hear(lambda: len(device.receipts) == 3)
    assert device.receipts == [
        (DEVICES[0], "malformed"),
        (DEVICES[1], "malformed"),
        ("stranger", "uninvited"),
    ]
    assert ledger.recall(0) == {}


@pytest.mark.broker
def test_what_a_device_has_sent_is_counted_on_when_another_leaves(
    url: str, ledger: Ledger, broker: BrokerSettings, device: Device
) -> None:
    name, other = DEVICES[:2]
    expected = ["accepted", "duplicate", "incomplete"]  # the last: slow down
    with replica(url, broker, RateLimits(messages=2)):
        for verdict in expected:
            say(device.connection, name, answer(name))
            device.hear(lambda v=verdict: (name, v) in device.receipts)  # type: ignore[misc]
            if verdict == "accepted":
                ledger.take_out([other], lambda number, *state: state)
                say(device.connection, other, answer(other))
                device.hear(lambda: (other, "uninvited") in device.receipts)
    assert [verdict for who, verdict in device.receipts if who == name] == expected


@pytest.mark.broker
def test_a_message_is_counted_once_though_the_round_ends_under_it(
    url: str, ledger: Ledger, broker: BrokerSettings, device: Device
) -> None:
    name, aggregator = DEVICES[0], SharedRounds(ledger)
    aggregator.end(0)
    with replica(url, broker, RateLimits(messages=2)):
        say(device.connection, name, answer(name))
        say(device.connection, "stranger", answer("stranger"))
        device.hear(lambda: ("stranger", "uninvited") in device.receipts)  # so the first was taken
        aggregator.begin(0)
        say(device.connection, name, answer(name))
        device.hear(lambda: len(device.receipts) > 1)
    assert device.receipts == [("stranger", "uninvited"), (name, "accepted")]


@pytest.mark.broker
@pytest.mark.parametrize("when", ["before its commit", "after its commit"])
def test_who_is_killed_loses_nothing(
    url: str, ledger: Ledger, broker: BrokerSettings, device: Device, when: str
) -> None:
    command = [sys.executable, "-c", VICTIM, url, str(broker.port), when]
    with forked.speaking(command) as (victim, said):
        assert said.readline() == "ready\n"
        for name in DEVICES:
            say(device.connection, name, answer(name))
        assert int(said.readline()) > 0
        victim.kill()
        victim.wait()
        assert not device.receipts
        with replica(url, broker):
            for name in DEVICES:  # as devices do at the next reminder, without a receipt
                say(device.connection, name, answer(name))
            answers = gathered(broker, ledger)
            device.hear(lambda: len(device.receipts) == len(DEVICES))
    assert set(answers) == set(DEVICES)
    assert {verdict for _, verdict in device.receipts} <= {"accepted", "duplicate"}


def test_none_is_taken_once_the_round_has_ended(url: str, ledger: Ledger) -> None:
    with Ledger.open(url) as beside:
        beside.join(CONTRACT.task)
        aggregator, replica_ = SharedRounds(ledger), SharedRounds(beside)
        upload = Upload("device-00", "digest", b"payload")
        aggregator.end(0)
        assert replica_.take(0, [upload]) is None
        assert aggregator.arrived(0, [], 10) == {}
        aggregator.begin(0)  # an aggregator that was killed before it closed the round
        assert replica_.take(0, [upload]) == {"device-00": Verdict.ACCEPTED}
        assert replica_.take(1, [upload]) is None
        assert aggregator.arrived(0, [], 10) == {"device-00": b"payload"}
        assert aggregator.arrived(0, ["device-00"], 10) == {}


def test_the_end_waits_for_who_is_writing(url: str, ledger: Ledger) -> None:
    with Ledger.open(url) as beside:
        beside.join(CONTRACT.task)
        row = select(rounds.c.number).filter_by(run="now", number=0)
        ending = threading.Thread(target=SharedRounds(ledger).end, args=(0,))
        with beside.writing() as connection:
            connection.execute(row.with_for_update(read=True))
            ending.start()
            ending.join(0.5)
            assert ending.is_alive()
        ending.join(10)
        assert not ending.is_alive()


def test_who_was_taken_out_or_is_not_asked_writes_nothing(url: str, ledger: Ledger) -> None:
    names = ["device-00", "device-01", "device-02", "device-03"]
    ledger.take_out(["device-00"], lambda number, state, broadcast: (state, broadcast))
    members = LedgerMembers(ledger)
    members.evict(["device-01"])
    members.ask(0, ["device-00", "device-01", "device-02"])
    with Ledger.open(url) as beside:
        beside.join(CONTRACT.task)
        taken = SharedRounds(beside).take(0, [Upload(name, "digest", b"p") for name in names])
    out, idle = Verdict.UNINVITED, Verdict.NOT_ASKED
    assert taken == dict(zip(names, (out, out, Verdict.ACCEPTED, idle), strict=True))
    assert set(ledger.recall(0)) == {"device-02"}


def test_a_file_has_one_writer(tmp_path: Any) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        with pytest.raises(ConfigError, match="SQLite file, which one process writes"):
            check_shared(ledger)
        with ledger.writing() as connection:  # the column is there all the same
            connection.execute(update(rounds).values(gathered=None))
