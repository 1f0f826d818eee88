"""A device's part in a task: waits for the contract, answers each round once, ends with ONNX."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edge.agent.outcome import conclude
from edge.agent.settings import DeviceSettings
from edge.agent.store import Memory, Store
from edgeloop import algorithms, data, models, wire
from edgeloop.algorithm import Algorithm
from edgeloop.chunks import Assembler
from edgeloop.data import ClientData, Federation
from edgeloop.errors import DataError
from edgeloop.link import Arrival, Link
from edgeloop.member import Member
from edgeloop.task import SERVER, Contract, broadcast_topic, contract_topic, upload_topic
from edgeloop.wire import Frame, WireError

log = logging.getLogger(__name__)


def subscriptions(task: str) -> list[str]:
    """Return what a device's link subscribes to."""
    return [contract_topic(task), f"{broadcast_topic(task)}/+"]


@dataclass(frozen=True)
class Seat:
    """A device's place in one run: everything that the contract decides."""

    contract: Contract
    algorithm: Algorithm[Any, Any, Any]
    member: Member[Any, Any]


@dataclass(frozen=True)
class Own:
    """What the device brings along, whatever the task."""

    settings: DeviceSettings
    federation: Federation
    data: ClientData


def own(settings: DeviceSettings) -> Own:
    """Read the device's data.

    Raises:
        DataError: if it cannot be read.
    """
    federation = data.load(settings.data.source, settings.data.dealt(), layout=settings.data.layout)
    return Own(settings, federation, federation.client(settings.data.client))


def seat(own: Own, contract: Contract) -> Seat:
    """Make the device's model and algorithm as the contract says.

    Raises:
        DataError: if the device's data is not what the task is about.
        ModelError: if the device's model does not fit the data.
    """
    _check(own, contract)
    algorithm = algorithms.agreed(contract)
    training = own.settings.training
    model = models.build(
        training.architecture,
        contract.shape,
        len(contract.class_names),
        contract.width,
        contract.seed,
    )
    member = Member(
        own.settings.name,
        algorithm,
        model,
        own.data,
        batch_size=contract.batch_size,
        seed=contract.seed,
        device=training.device,
    )
    log.info("computes with %d threads", member.choose_threads(training.threads))
    return Seat(contract, algorithm, member)


def _check(own: Own, contract: Contract) -> None:
    name = own.settings.name
    if name not in contract.devices:
        raise DataError(
            "name", f"{name} is not invited to {contract.task}", "add it to the task's devices"
        )
    if own.federation.shape != contract.shape:
        raise DataError(
            "data.source",
            f"its inputs have the shape {own.federation.shape}, the task's {contract.shape}",
            "name the task's kind of data",
        )
    if own.federation.class_names != contract.class_names:
        raise DataError(
            "data.source",
            f"its classes are {', '.join(own.federation.class_names)[:200]}, "
            f"the task's {', '.join(contract.class_names)[:200]}",
            "name the task's kind of data",
        )


class Agent:
    """One device in one task.

    Args:
        own: its settings and data.
        link: subscribed to the task's `subscriptions`.
    """

    def __init__(self, own: Own, link: Link) -> None:
        self._own = own
        self._link = link
        self._store = Store(own.settings.folder)
        self._assembler = Assembler(wire.MAX_FRAME)
        self._seat: Seat | None = None
        self._memory: Memory | None = None
        self._pending: bytes | None = None  # the newest broadcast, until the contract is there

    def run(self) -> Path:
        """Take part until the last broadcast; return where the summary is."""
        while True:
            event = self._link.receive(None)
            if not isinstance(event, Arrival):
                continue
            try:
                summary = self._take(event)
            except WireError as error:
                log.warning("dropped what came on %s: %s", event.topic, error)
                summary = None
            event.acknowledge()
            if summary is not None:
                return summary

    def _take(self, arrival: Arrival) -> Path | None:
        if not arrival.payload:
            return None  # a retained chunk that was cleared
        if arrival.topic == contract_topic(self._own.settings.task):
            self._sit(arrival.payload)
        else:
            self._pending = self._assembler.offer(arrival.payload) or self._pending
        if self._seat is None or self._pending is None:
            return None
        payload, self._pending = self._pending, None
        return self._hear(self._seat, payload)

    def _sit(self, text: bytes) -> None:
        try:
            contract = Contract.model_validate_json(text)
        except ValidationError as error:
            log.warning("dropped a contract that is none: %s", error.errors()[0]["msg"])
            return
        if self._seat is not None and self._seat.contract.run == contract.run:
            return
        self._seat = seat(self._own, contract)
        self._memory = self._store.load(contract.run)
        if self._memory is not None:
            self._seat.member.restore(self._memory.weights)
            log.info("goes on after round %d", self._memory.round)

    def _hear(self, seat: Seat, payload: bytes) -> Path | None:
        """Answer a broadcast: from memory if it was answered before, else by working."""
        envelope = wire.envelope_of(payload)
        if (envelope.task, envelope.sender) != (seat.contract.task, SERVER):
            raise wire.ContentError(f"{envelope} came as a broadcast")
        if envelope.run != seat.contract.run:
            self._pending = payload  # its contract is still on its way
            return None
        if self._memory is None and envelope.round >= seat.contract.rounds:
            log.info("the run is over, without this device; waiting for another one")
            return None
        if self._memory is None or envelope.round > self._memory.round:
            frame = wire.decode(payload, seat.algorithm.broadcast, sizes=seat.algorithm.sizes)
            self._memory = self._work(seat, frame)
            self._store.save(self._memory)
        elif envelope.round < self._memory.round:
            return None  # an old one
        self._link.send(
            upload_topic(seat.contract.task, self._own.settings.name), self._memory.answer
        )
        if envelope.round < seat.contract.rounds:
            return None
        frame = wire.decode(payload, seat.algorithm.broadcast, sizes=seat.algorithm.sizes)
        return self._conclude(seat, frame[seat.algorithm.broadcast])

    def _work(self, seat: Seat, frame: Frame) -> Memory:
        """Train a round, or evaluate the last broadcast; return what to remember."""
        number, broadcast = frame.envelope.round, frame[seat.algorithm.broadcast]
        log.info("round %d of %d: working", number, seat.contract.rounds)
        if number < seat.contract.rounds:
            answer = seat.member.answer(number, broadcast)
            messages: tuple[Any, ...] = (answer.upload, answer.report)
            report = answer.report
        else:
            report = seat.member.finish(broadcast)
            messages = (report,)
        envelope = replace(frame.envelope, sender=self._own.settings.name)
        accuracies = dict(self._memory.accuracies) if self._memory else {}
        accuracies[str(number)] = report.accuracy
        log.info("round %d: accuracy %.4f before training", number, accuracies[str(number)])
        return Memory(
            seat.contract.run,
            number,
            wire.encode(envelope, *messages),
            seat.member.weights(),
            accuracies,
        )

    def _conclude(self, seat: Seat, broadcast: Any) -> Path:
        """Export the classifier, check it, and write the summary."""
        assert self._memory is not None  # noqa: S101 - an answer has just been remembered
        mine = self._own
        facts = {
            "architecture": mine.settings.training.architecture,
            "pixels": mine.federation.pixels,
            "train_samples": len(mine.data.train),
            "test_samples": len(mine.data.test),
            "accuracy_by_round": dict(self._memory.accuracies),
        }
        folder = mine.settings.folder
        return conclude(folder, seat.contract, seat.algorithm, seat.member, broadcast, facts)
