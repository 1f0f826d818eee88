"""What one device may send: a flood is counted, said, and costs the others nothing."""

import logging
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from edgeloop import algorithms
from edgeloop.client import Report
from edgeloop.cohorts.events import DeviceMessage, Event, LeftError
from edgeloop.cohorts.mqtt import MqttCohort, RoundDeadlines
from edgeloop.cohorts.rates import MEGABYTE, RateLimiter, RateLimits
from edgeloop.cohorts.uploads import MemoryLog
from edgeloop.knowledge.prototypes import PrototypeUpload
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol import wire
from edgeloop.protocol.chunks import PIECE, Assembler, ChunkMemory
from edgeloop.protocol.gathering import Verdict
from edgeloop.protocol.receipt import INCOMPLETE, Receipt
from edgeloop.protocol.task import EVICTED, presence_topic, receipt_topic, upload_topic
from edgeloop.protocol.wire import Envelope
from tests.devices import wait_until
from tests.world import StartBroker, contract

ALGORITHM = algorithms.load("fedproto", classes=3, width=4)
REPORT = Report(1, 2, 3, 0.1, 0.2, 0.75)
GOOD = PrototypeUpload(np.array([0, 2]), np.array([1, 1]), np.ones((2, 4), np.float32))
CONTRACT = contract(run="now", class_names=("x", "y", "z"), devices=("a", "b", "c"))


@dataclass
class Clock:
    """Seconds that a test has pass."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_minutes_worth_is_taken_and_fills_up_again() -> None:
    clock = Clock()
    limiter = RateLimiter(RateLimits(60, MEGABYTE), clock)
    assert [limiter.takes("a", 1) for _ in range(61)] == [True] * 60 + [False]
    assert limiter.takes("b", 1), "another one's is another"
    clock.now += 2.0
    assert [limiter.takes("a", 1) for _ in range(3)] == [True, True, False]
    clock.now += 3600.0
    assert [limiter.takes("a", 1) for _ in range(61)] == [True] * 60 + [False], "no more than that"


def test_bytes_are_counted_too() -> None:
    clock = Clock()
    limiter = RateLimiter(RateLimits(1000, MEGABYTE), clock)
    half = MEGABYTE // 2
    assert [limiter.takes("a", half) for _ in range(3)] == [True, True, False]
    clock.now += 60.0
    assert limiter.takes("a", 4 * MEGABYTE), "a packet larger than a minute's worth is one"
    assert not limiter.takes("a", 1)
    clock.now += 120.0
    assert not limiter.takes("a", 1), "and is paid for"
    clock.now += 120.0
    assert limiter.takes("a", 1)


@dataclass
class Scene:
    """A cohort in a round, of three devices that a test speaks for."""

    device: MqttConnection
    cohort: Any
    heard: list[Event]

    def counts(self, device: str) -> Counter[Verdict | None]:
        return Counter(
            e.verdict for e in self.heard if isinstance(e, DeviceMessage) and e.device == device
        )

    def answer(self, name: str, number: int = 0) -> None:
        frame = wire.encode(Envelope("t", "now", number, name), GOOD, REPORT)
        self.device.send(upload_topic("t", name), frame)

    def receipts(self, name: str) -> list[Receipt]:
        topic = receipt_topic("t", name)
        found = []
        while isinstance(event := self.device.receive(1.0), Arrival):
            event.acknowledge()
            if event.topic == topic:
                found.append(Receipt.model_validate_json(event.payload))
        return found


@pytest.fixture
def scene(start_broker: StartBroker) -> Iterator[Scene]:
    broker, limits = start_broker("max_queued_messages 0").settings, RateLimits(100, MEGABYTE)
    with ExitStack() as stack:
        topics = [receipt_topic("t", name) for name in CONTRACT.devices]
        device = stack.enter_context(MqttConnection(broker, "device", topics))
        server = stack.enter_context(
            MqttConnection(broker, "server", MqttCohort.subscriptions("t"), inflight=200)
        )
        heard: list[Event] = []
        patience = RoundDeadlines(3, 60.0, 60.0)
        cohort = MqttCohort(
            server, CONTRACT, ALGORITHM, patience, MemoryLog(), heard.append, limits=limits
        )
        yield Scene(device, cohort, heard)


def piece(index: int) -> bytes:
    return b"EDGC" + struct.pack(">IIQ", index, 60_000, 60_000) + b"w" * 32 + b"x"


@pytest.mark.broker
@pytest.mark.parametrize("flood", ["bytes", "pieces", "presence"])
def test_a_flood_costs_the_others_nothing(
    scene: Scene, flood: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its own answer is not read while it lasts, and counts when it is over."""
    caplog.set_level(logging.INFO)
    topic = (presence_topic if flood == "presence" else upload_topic)("t", "a")
    for index in range(2000):
        scene.device.publish(topic, {"bytes": b"x", "pieces": piece(index)}.get(flood, b"online"))
    scene.answer("b")
    scene.answer("c")

    def answer_later() -> None:
        wait_until(lambda: scene.counts("a")[Verdict.TOO_MANY] >= 1500)
        while not scene.counts("a")[Verdict.ACCEPTED]:
            scene.answer("a")
            threading.Event().wait(0.5)

    late = threading.Thread(target=answer_later)
    late.start()
    answers = scene.cohort.ask(0, ALGORITHM.start()[1])
    late.join()
    assert set(answers) == {"a", "b", "c"}
    assert scene.counts("b") == scene.counts("c") == {Verdict.ACCEPTED: 1}
    counted = scene.counts("a")
    assert counted[Verdict.TOO_MANY] >= 1500
    assert counted[Verdict.MALFORMED] <= 400
    said = "ignoring messages of a: more than 100 messages and 1 MB a minute arrive; stop it"
    assert caplog.text.count(said) == 1
    slowed = [each for each in scene.receipts("a") if each.reason.startswith("more than 100 mess")]
    assert len(slowed) <= 3
    if flood == "pieces":
        assert {(each.verdict, each.missing) for each in slowed} == {(INCOMPLETE, ())}


@pytest.mark.broker
def test_strangers_have_one_devices_worth_together(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1000):
        scene.device.publish(upload_topic("t", f"stranger-{number}"), b"x")
    for name in ("a", "b", "c"):
        scene.answer(name)
    assert set(scene.cohort.ask(0, ALGORITHM.start()[1])) == {"a", "b", "c"}
    strange = Counter(
        e.verdict for e in scene.heard if isinstance(e, DeviceMessage) and e.device[0] == "s"
    )
    assert strange[Verdict.UNINVITED] <= 200
    assert strange[Verdict.TOO_MANY] >= 800
    assert caplog.text.count("ignoring messages of devices that are not in the run: more") == 1
    assert len(scene.cohort._flood._rates._left) <= 4, "nothing is kept of a stranger's name"


@pytest.mark.broker
def test_who_floods_can_be_sent_away(scene: Scene) -> None:
    for _ in range(1000):
        scene.device.publish(upload_topic("t", "a"), b"x")
    notes = {"run": "now"}
    scene.device.publish(presence_topic("t", "a"), EVICTED, notes=notes)
    with pytest.raises(LeftError):
        scene.cohort.ask(0, ALGORITHM.start()[1])


def forged(index: int, count: int, whole: bytes) -> bytes:
    return b"EDGC" + struct.pack(">IIQ", index, count, count) + whole + b"x"


def test_many_devices_with_many_unfinished_answers_share_one_memory() -> None:
    """A quarter of a million pieces of one byte; nobody takes more than there is for all."""
    room = ChunkMemory(2000 * (1 + PIECE))
    senders = [Assembler(wire.MAX_FRAME, memory=room) for _ in range(50)]
    most = 0
    for turn in range(5000):
        whole = struct.pack(">I", turn // 7) * 8
        for sender in senders:
            assert sender.offer(forged(turn % 1000, 60_000, whole)) is None
        most = max(most, room._sum)
    assert most <= room.most
    held = [parts for each in senders for parts in each._open.values()]
    assert sum(parts.size() for parts in held) == room._sum
