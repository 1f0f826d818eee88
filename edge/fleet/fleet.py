"""Thousands of devices on one asyncio loop: each has a connection, a session and a presence.

What the contract says is read once for all of them, and no broadcast is fetched: a fleet learns
nothing, and what it costs is to be what the other end takes.
"""

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from pydantic import ValidationError

import edgeloop
from edge.fleet.answers import Answers
from edge.fleet.measured import Measured
from edgeloop.mqtt.loop_client import Heard, LoopClient
from edgeloop.mqtt.messages import Arrival
from edgeloop.protocol import chunks
from edgeloop.protocol.presence import Presence, State, notes_of
from edgeloop.protocol.receipt import Receipt
from edgeloop.protocol.task import (
    Contract,
    Opening,
    client_id,
    is_addressed_to,
    is_reminder,
    presence_topic,
    receipt_topic,
    round_topic,
    upload_topic,
)
from edgeloop.protocol.wire import digest
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.pace import Backoff

DIALLING = 32  # connections that are made at the same time
TEND_SECONDS = 5.0
ATTEMPTS = 4
"""To connect, of a device that has never been connected."""

CLOSE_SECONDS = 5.0
RECEIPT_SECONDS = 10.0
"""For the last receipts, once the broker has all answers."""

_SLICE = 250  # clients that are tended before others have the loop

Progress = Callable[[int, str], None]


@dataclass(frozen=True)
class Plan:
    """What a fleet does.

    Attributes:
        contract: of the task.
        devices: whose part it plays.
        answers: what they say.
        spread: seconds within which a round's answers leave, each at a random time.
        brokers: how a device connects that has an identity of its own, by its name.
    """

    contract: Contract
    devices: tuple[str, ...]
    answers: Answers
    spread: float = 0.0
    brokers: Mapping[str, BrokerSettings] = field(default_factory=dict)


class FleetDevice:
    """One device.

    Args:
        name: its own.
        fleet: that it is in.
        broker: of the task.
    """

    def __init__(self, name: str, fleet: "Fleet", broker: BrokerSettings) -> None:
        self.name, self._fleet = name, fleet
        task = fleet.plan.contract.task
        self._presence = presence_topic(task, name)
        heard = Heard(self._up, self._down, self._arrived, self._taken)
        self.client = LoopClient(broker, client_id(task, name), heard, self._presence)
        self._backoff = Backoff()
        self._waits: dict[int, tuple[int, float]] = {}  # packets' numbers: round, when it left
        self._sent: dict[str, tuple[int, float]] = {}  # uploads without a receipt, by digest
        self._round = -1  # the newest that it has begun to answer
        self._receipts = receipt_topic(task, name)
        self.done: set[int] = set()
        self.failures = 0  # attempts to connect that came to nothing since it was up

    def _up(self, refused: str | None) -> None:
        if refused is not None:
            self._fleet.refused(self, refused)
            return
        self.failures = 0
        self._backoff.connected()
        self.client.subscribe([round_topic(self._fleet.plan.contract.task), self._receipts])
        self._say(State.WAITING)
        self._fleet.came(self)

    def _say(self, state: State) -> None:
        """Say what it is doing, as a device does."""
        run = self._fleet.plan.contract.run
        said = Presence(state=state.value, run=run, version=edgeloop.__version__[:32])
        self.client.publish(self._presence, b"online", retain=True, notes=notes_of(said))

    def _down(self, reason: str) -> None:
        self._fleet.lost(self, reason)

    def pause(self) -> float:
        """Return how many seconds to wait before it connects again."""
        self._backoff.failed()
        return self._backoff.pause()

    def _arrived(self, arrival: Arrival) -> None:
        if arrival.trust.refusal:
            self._fleet.measured.failed(f"not believed: {arrival.trust.refusal}")
            return
        if arrival.topic == self._receipts:
            self._hear_receipt(arrival.payload)
            return
        plan = self._fleet.plan
        try:
            opening = Opening.model_validate_json(arrival.payload)
        except ValidationError:
            return
        again = is_reminder(arrival.notes)
        if opening.run != plan.contract.run or not is_addressed_to(arrival.notes, self.name):
            return
        if not opening.asks(self.name, arrival.notes):
            return
        unsure = opening.round in self.done and self._lacks_receipt(opening.round)
        if opening.round > self._round or (again and unsure):
            self._round = opening.round
            pause = random.uniform(0, plan.spread)  # noqa: S311 - no secret
            asyncio.get_running_loop().call_later(pause, self._answer, opening.round)

    def _lacks_receipt(self, number: int) -> bool:
        return any(number == each for each, _ in self._sent.values())

    def _hear_receipt(self, payload: bytes) -> None:
        try:
            found = Receipt.model_validate_json(payload)
        except ValidationError:
            return
        number, since = self._sent.pop(found.digest, (None, 0.0))
        if number is None or found.run != self._fleet.plan.contract.run:
            return
        if found.is_taken:
            self._fleet.measured.receipted(number, since)
        else:
            self._fleet.measured.failed(f"{found.verdict}: {found.reason}")
        self._fleet.settled()

    def _answer(self, number: int) -> None:
        plan, topic = self._fleet.plan, upload_topic(self._fleet.plan.contract.task, self.name)
        frame = plan.answers.frame(self.name, number)
        parts = chunks.split(frame, self.client.limit)
        since = self._fleet.measured.left(number, len(frame))
        self._sent.setdefault(digest(frame), (number, since))
        for part in parts:
            last = self.client.publish(topic, part)
        self._waits[last] = number, since

    def _taken(self, packet: int, refused: str | None) -> None:
        number, since = self._waits.pop(packet, (None, 0.0))
        if refused is not None:
            self._fleet.measured.failed(f"refused by the broker: {refused}")
        if number is None:
            return
        if refused is None and number not in self.done:
            self._fleet.measured.taken(number, since)
        self._fleet.answered(self, number)

    def leave(self) -> None:
        """Say that it is gone, and part from the broker."""
        if self.client.connected:
            self.client.publish(self._presence, b"offline", retain=True)
        self.client.end()


class Fleet:
    """All of them.

    Args:
        plan: what they do.
        broker: of the task.
        progress: called with how many answers a round has, and a word.

    Attributes:
        measured: what came of it so far.
    """

    def __init__(
        self,
        plan: Plan,
        broker: BrokerSettings,
        progress: Progress = lambda done, word: None,
    ) -> None:
        self.plan, self.measured = plan, Measured(len(plan.devices))
        self._broker, self._progress = broker, progress
        self._came: set[str] = set()
        self._failed: set[str] = set()
        self._there, self._last, self._settled = (asyncio.Event() for _ in range(3))
        self._ending = False
        self._pool = ThreadPoolExecutor(DIALLING, thread_name_prefix="dial")

    async def run(self) -> None:
        """Connect, answer every round of the task, and part."""
        begun = self.measured.clock()
        brokers = self.plan.brokers
        devices = [
            FleetDevice(name, self, brokers.get(name, self._broker)) for name in self.plan.devices
        ]
        tending = asyncio.create_task(_tend(devices))
        try:
            for device in devices:
                self._dial(device)
            await self._there.wait()
            self.measured.connect_seconds = self.measured.clock() - begun
            if self._came:
                await self._last.wait()
                with suppress(TimeoutError):  # of an aggregator that gives none
                    await asyncio.wait_for(self._settled.wait(), RECEIPT_SECONDS)
        finally:
            self._ending = True
            tending.cancel()
            await self._part(devices)

    async def _part(self, devices: list[FleetDevice]) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        for device in devices:
            device.leave()
        deadline = self.measured.clock() + CLOSE_SECONDS
        while any(each.client.connected for each in devices) and self.measured.clock() < deadline:
            await asyncio.sleep(0.05)  # between looks

    def _dial(self, device: FleetDevice) -> None:
        if self._ending:
            return
        loop = asyncio.get_running_loop()
        dialled = loop.run_in_executor(self._pool, device.client.dial)
        dialled.add_done_callback(lambda done: self._dialled(device, done))

    def _dialled(self, device: FleetDevice, done: "asyncio.Future[None]") -> None:
        error = None if done.cancelled() else done.exception()
        if error is not None:
            self._fail(device, f"cannot connect: {error}")

    def _fail(self, device: FleetDevice, what: str) -> None:
        """A device has failed to connect: it tries again, a few times if it has never been up."""
        self.measured.failed(what)
        device.failures += 1
        if device.name in self._came or device.failures < ATTEMPTS:
            asyncio.get_running_loop().call_later(device.pause(), self._dial, device)
            return
        self._failed.add(device.name)
        self._look()

    # ---- what devices tell

    def came(self, device: FleetDevice) -> None:
        """A device is connected."""
        self._came.add(device.name)
        self._failed.discard(device.name)
        self.measured.connected = len(self._came)
        self._look()

    def refused(self, device: FleetDevice, reason: str) -> None:
        """The broker refuses a device."""
        self._fail(device, f"refused by the broker: {reason}")

    def lost(self, device: FleetDevice, reason: str) -> None:
        """A connection is gone; it is made again after a pause, if it had been up."""
        if self._ending or device.name not in self._came:
            return
        self.measured.failed(f"lost: {reason}")
        asyncio.get_running_loop().call_later(device.pause(), self._dial, device)

    def answered(self, device: FleetDevice, number: int) -> None:
        """A device's answer to a round is with the broker."""
        device.done.add(number)
        taken = len(self.measured.rounds[number].latencies)
        self._progress(taken, f"round {number}")
        if number >= self.plan.contract.rounds and taken >= len(self._came):
            self._last.set()

    def settled(self) -> None:
        """A receipt is here."""
        last = self.measured.rounds.get(self.plan.contract.rounds)
        if last is not None and len(last.receipts) >= len(self._came):
            self._settled.set()

    def _look(self) -> None:
        self._progress(len(self._came), "connected")
        if len(self._came) + len(self._failed) >= len(self.plan.devices):
            self._there.set()


async def _tend(devices: list[FleetDevice]) -> None:
    """Keep the connections alive."""
    while True:
        await asyncio.sleep(TEND_SECONDS)
        for some in _slices(devices):
            for device in some:
                device.client.tend()
            await asyncio.sleep(0)


def _slices(devices: list[FleetDevice]) -> Iterator[list[FleetDevice]]:
    for start in range(0, len(devices), _SLICE):
        yield devices[start : start + _SLICE]
