"""What the aggregator does when the broker keeps something else than it should."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from edgeloop.cohorts import announcing
from edgeloop.cohorts.members import Members
from edgeloop.cohorts.mqtt import MqttCohort, RoundDeadlines
from edgeloop.cohorts.uploads import MemoryLog
from edgeloop.knowledge.prototypes import GlobalPrototypes
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol import wire
from edgeloop.protocol.task import (
    Contract,
    Opening,
    broadcast_topic,
    contract_topic,
    presence_topic,
    round_topic,
    upload_topic,
)
from edgeloop.runtime.config import BrokerSettings
from tests.cohorts.test_mqtt import ALGORITHM, CONTRACT, Admitted, answer
from tests.devices import wait_until
from tests.fake_broker import before
from tests.world import StartBroker

pytestmark = pytest.mark.broker

KNOWN = GlobalPrototypes(np.ones(3, bool), np.ones((3, 4), np.float32))
SLOT = broadcast_topic("t", 1)
BUSY = bytes([0x20, 3, 0, 0x89, 0])


def kept(broker: BrokerSettings) -> dict[str, bytes]:
    """Return what a broker keeps of the task, but for presences."""
    topics = [contract_topic("t"), round_topic("t"), f"{broadcast_topic('t', '+')}/+"]
    found: dict[str, bytes] = {}
    with MqttConnection(broker, "late", topics, persistent=False) as late:
        while isinstance(event := late.receive(0.5), Arrival):
            found[event.topic] = event.payload
            event.acknowledge()
    return found


def outdated(opening: bytes) -> dict[str, bytes]:
    """Return what a broker could hold of an earlier round, by topic."""
    older = Opening.model_validate_json(opening).model_copy(update={"round": 0, "digest": "0" * 64})
    return {
        contract_topic("t"): b"{}",
        round_topic("t"): older.text().encode(),
        f"{SLOT}/0": b"cut",
        f"{SLOT}/1": b"of a larger one",
    }


@pytest.mark.parametrize("what", ["older", "nothing"])
def test_it_is_put_right_at_the_next_connection(
    start_broker: StartBroker, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A broker with snapshots, killed, comes back with an earlier round; one without, empty."""
    caplog.set_level("INFO")
    broker = start_broker().settings
    away, up = threading.Event(), threading.Event()

    def watch(connected: bool) -> None:
        (up.set if connected else up.clear)()

    def first(number: int) -> bytes | None:
        return BUSY if away.is_set() else None

    with (
        before(broker.port, first, life=2.0) as port,
        MqttConnection(broker, "device", []) as device,
        MqttConnection(
            broker.model_copy(update={"port": port}),
            "server",
            MqttCohort.subscriptions("t"),
            watch=watch,
        ) as connection,
        ThreadPoolExecutor(1) as pool,
    ):
        patience = RoundDeadlines(2, 120.0, 120.0)
        cohort = MqttCohort(connection, CONTRACT, ALGORITHM, patience, MemoryLog())
        asked = pool.submit(cohort.ask, 1, KNOWN)
        topics = {contract_topic("t"), round_topic("t"), f"{SLOT}/0"}
        wait_until(lambda: kept(broker).keys() == topics)
        right = kept(broker)
        away.set()
        wait_until(lambda: not up.is_set())
        for topic, payload in outdated(right[round_topic("t")]).items():
            device.publish(topic, payload if what == "older" else b"", retain=True)
        assert device.flush(10)
        away.clear()
        wait_until(lambda: kept(broker) == right)
        for name in "ab":
            device.send(upload_topic("t", name), answer(name, round=1))
        assert list(asked.result(60)) == ["a", "b"]
    assert "messages: published them again" in caplog.text


def test_the_broker_keeps_the_contract_that_the_devices_of_now_understand(
    start_broker: StartBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a device that connects later finds no pattern of its name, and no reminder may come."""
    monkeypatch.setattr(announcing, "FLIP_SECONDS", 0.0, raising=False)
    broker = start_broker().settings
    agreed = CONTRACT.model_copy(update={"admit": ("p*",)})
    notes = wire.OWN_NOTES

    def is_kept(devices: tuple[str, ...], admit: tuple[str, ...]) -> bool:
        found = Contract.model_validate_json(kept(broker)[contract_topic("t")])
        return (found.devices, found.admit) == (devices, admit)

    with (
        MqttConnection(broker, "device", []) as device,
        MqttConnection(broker, "server", MqttCohort.subscriptions("t")) as connection,
        ThreadPoolExecutor(1) as pool,
    ):
        cohort = MqttCohort(
            connection,
            agreed,
            ALGORITHM,
            RoundDeadlines(2, 30.0, 30.0, grace=0.0),
            MemoryLog(),
            announce_seconds=1000.0,  # no reminder helps
            members=Members(agreed, Admitted()),
        )
        asked = pool.submit(cohort.ask, 1, KNOWN)
        wait_until(lambda: is_kept(("a", "b"), ()))  # of a and b nobody knows what they know
        for name in "ab":
            device.publish(presence_topic("t", name), b"online", notes=notes)
        wait_until(lambda: is_kept(("a", "b"), ("p*",)))
        device.publish(presence_topic("t", "a"), b"online")  # is of 0.1 now
        wait_until(lambda: is_kept(("a", "b"), ()))
        device.publish(presence_topic("t", "p1"), b"online", notes=notes)
        wait_until(lambda: is_kept(("a", "b", "p1"), ()))
        for name in "ab":
            device.send(upload_topic("t", name), answer(name, round=1))
        device.send(upload_topic("t", "p1"), answer("p1", round=1))
        assert list(asked.result(60)) == ["a", "b", "p1"]


def test_who_says_now_this_and_now_that_does_not_have_everybody_hear_a_contract(
    start_broker: StartBroker,
) -> None:
    broker = start_broker().settings
    agreed = CONTRACT.model_copy(update={"devices": ("a", "b"), "admit": ("p*",)})
    with (
        MqttConnection(broker, "device", []) as device,
        MqttConnection(broker, "late", [contract_topic("t")], persistent=False) as late,
        MqttConnection(broker, "server", MqttCohort.subscriptions("t")) as connection,
        ThreadPoolExecutor(1) as pool,
    ):
        members = Members(agreed, Admitted())
        patience = RoundDeadlines(2, 30.0, 30.0, grace=0.0)
        cohort = MqttCohort(connection, agreed, ALGORITHM, patience, MemoryLog(), members=members)
        asked = pool.submit(cohort.ask, 1, KNOWN)
        device.publish(presence_topic("t", "b"), b"online", notes=wire.OWN_NOTES)
        for count in range(100):
            notes = {} if count % 2 else wire.OWN_NOTES
            device.publish(presence_topic("t", "a"), b"online", notes=notes)
        for name in "ab":
            device.send(upload_topic("t", name), answer(name, round=1))
        asked.result(60)
        heard = 0
        while (event := late.receive(0.5)) is not None:
            heard += isinstance(event, Arrival)
        assert heard <= 5
