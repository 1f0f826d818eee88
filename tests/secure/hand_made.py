"""Five devices of a secure task on one connection, which say what a test has them say."""

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgeloop import algorithms
from edgeloop.client import Report
from edgeloop.knowledge.prototypes import PrototypeUpload
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol import wire
from edgeloop.protocol.chunks import Assembler
from edgeloop.protocol.receipt import Receipt
from edgeloop.protocol.task import Opening, presence_topic, receipt_topic, round_topic, upload_topic
from edgeloop.protocol.wire import Envelope
from edgeloop.runtime.config import BrokerSettings
from edgeloop.secure.agreement import SecureError
from edgeloop.secure.exchange import UP, DeviceRound
from tests.secure.drawing import draws
from tests.world import contract

ALGORITHM = algorithms.load("fedproto", classes=3, width=4)
REPORT = Report(1, 2, 3, 0.1, 0.2, 0.75)
NAMES = [f"d{n}" for n in range(5)]
LEAST = 3
CONTRACT = contract(run="now", class_names=("x", "y", "z"), devices=NAMES, secure=LEAST)

Change = Callable[[str, int, Any], Any]
"""A device's name, the step from 1 and its message, to what it says instead; None for nothing."""


def honest(name: str, step: int, message: Any) -> Any:
    return message


def upload_of(name: str) -> PrototypeUpload:
    """Return a device's prototypes, of which one is in all of them."""
    made = np.random.default_rng(NAMES.index(name))
    labels_N = np.array([0, 1 + NAMES.index(name) % 2])
    return PrototypeUpload(labels_N, np.array([3, 4]), made.normal(size=(2, 4)).astype(np.float32))


def values(name: str, number: int = 0) -> Any:
    summing: Any = ALGORITHM.summing
    return summing.encode(upload_of(name)) * (number + 1)


def expected(names: Any, number: int = 0) -> Any:
    """Return the upload that the exact sum of some devices' numbers stands for."""
    summing: Any = ALGORITHM.summing
    total = sum(np.rint(values(name, number) * 2.0**24) for name in names) / 2.0**24
    return summing.decode(total)


@dataclass
class Fleet:
    """The devices, in a thread of their own.

    Attributes:
        broker: where they are.
        change: what they say otherwise; who says nothing once is away from then on.
        sent: all frames, with the device and the step.
        receipts: that came.
        refused: what devices would not answer.
    """

    broker: BrokerSettings
    change: Change = honest
    names: list[str] = field(default_factory=lambda: list(NAMES))
    sent: list[tuple[str, int, bytes]] = field(default_factory=list)
    receipts: list[tuple[str, Receipt]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    rounds: dict[str, DeviceRound] = field(default_factory=dict)
    number: int = -1
    _stop: threading.Event = field(default_factory=threading.Event)
    _away: set[str] = field(default_factory=set)
    _last: dict[str, bytes] = field(default_factory=dict)

    def __enter__(self) -> "Fleet":
        topics = [round_topic("t"), receipt_topic("t", "+")]
        self._open: Any = defaultdict(lambda: Assembler(limit=1 << 20))
        self._connection = MqttConnection(self.broker, "devices", topics).__enter__()
        for name in self.names:
            self._connection.publish(presence_topic("t", name), b"online", retain=True)
        self._thread = threading.Thread(target=self._live)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20)
        self._connection.__exit__(None, None, None)

    def _live(self) -> None:
        while not self._stop.is_set():
            for event in self._connection.receive_all(0.02, most=100):
                if isinstance(event, Arrival):
                    self._hear(event)
                    event.acknowledge()

    def _hear(self, arrival: Arrival) -> None:
        if arrival.topic == round_topic("t"):
            opening = Opening.model_validate_json(arrival.payload)
            if opening.round > self.number and opening.round < CONTRACT.rounds:
                self.number = opening.round
                for name in self.names:
                    self._begin(name)
            return
        name = arrival.topic.rpartition("/")[2]
        if arrival.payload[:1] == b"{":
            self.receipts.append((name, Receipt.model_validate_json(arrival.payload)))
            return
        payload = self._open[name].offer(arrival.payload)
        if payload is not None and name not in self._away:
            try:
                answer = self.rounds[name].answer(payload)
            except SecureError as error:
                self.refused.append(f"{name}: {error}")
                return
            if answer is not None or self.rounds[name].repeats(payload):
                self._last[name] = answer or self._last[name]
                self._say(name, self._last[name])

    def place(self, name: str) -> Envelope:
        return Envelope("t", "now", self.number, name)

    def _begin(self, name: str) -> None:
        made = DeviceRound(self.place(name), values(name, self.number), LEAST, draws(7)(name))
        self.rounds[name] = made
        self._say(name, wire.encode(self.place(name), made.public_keys, REPORT))

    def _say(self, name: str, answer: bytes) -> None:
        opened = wire.open_frame(answer)
        step = [each.__name__ for each in UP].index(opened.kinds[0]) + 1
        kinds = (UP[0], Report) if step == 1 else (UP[step - 1],)
        message = opened.read(*kinds)[kinds[0]]
        changed = self.change(name, step, message)
        if changed is None:
            self._away.add(name)
            self._connection.publish(presence_topic("t", name), b"offline", retain=True)
            return
        if not isinstance(changed, bytes):
            changed = wire.encode(self.place(name), changed, *([REPORT] if step == 1 else []))
        self.sent.append((name, step, changed))
        self._connection.send(upload_topic("t", name), changed)

    def say(self, name: str, payload: bytes) -> None:
        self._connection.send(upload_topic("t", name), payload)

    def come_back(self) -> None:
        """Have all be there again."""
        for name in sorted(self._away):
            self._connection.publish(presence_topic("t", name), b"online", retain=True)
        self.change = honest
        self._away.clear()

    def frame(self, name: str, step: int) -> bytes:
        """Return what a device has sent as its answer to a step."""
        return next(frame for who, at, frame in self.sent if (who, at) == (name, step))

    def verdicts(self, name: str) -> list[str]:
        return [receipt.verdict for each, receipt in self.receipts if each == name]


def vanish(steps: Mapping[str, int]) -> Change:
    """Have devices be away from a step on."""
    return lambda name, step, message: None if step >= steps.get(name, 9) else message


def changed(message: Any, **fields: Any) -> Any:
    return replace(message, **fields)
