"""A device's part in a task: waits for the contract, answers each round once, ends with ONNX."""

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edge.agent import sensors
from edge.agent.outcome import conclude
from edge.agent.store import Memory, Store
from edge.agent.task_session import Own, Seat, renewed, seat
from edgeloop.answers import Report
from edgeloop.bases import sending
from edgeloop.bases.sending import SLOT as BASE
from edgeloop.bases.sending import wanted
from edgeloop.errors import BaseError, ConfigError, InputError, MisfitError, ModelError
from edgeloop.mqtt.connection import Arrival, Link
from edgeloop.privacy import accounting
from edgeloop.protocol import wire
from edgeloop.protocol.chunks import Assembler
from edgeloop.protocol.task import (
    SERVER,
    SMALL,
    Contract,
    Opening,
    broadcast_topic,
    contract_topic,
    is_meant,
    is_reminder,
    round_topic,
    upload_topic,
)
from edgeloop.protocol.wire import Envelope, WireError
from edgeloop.runtime.pace import Pace, Sparing
from edgeloop.runtime.tracing import NONE, SILENT, Tracer

log = logging.getLogger(__name__)

FIRST_WORD_SECONDS, WORD_SECONDS = 10.0, 60.0
"""Before the first line on what is waited for, and between two of them."""

OFTEN_SECONDS, RARE_SECONDS = 10.0, 300.0
"""At least between two sendings of one answer that is asked for again: a small, a large one."""

FLUSH_SECONDS, REFUSED_SECONDS = 1.0, 30.0
"""Between two looks at whether the broker has the last answer, and before a refused one goes."""


SPOILED = (
    ArithmeticError,
    AssertionError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    Warning,
)
"""What numbers in a contract or a broadcast can make torch or an algorithm raise."""


def unworkable(error: Exception) -> str:
    """Return an error that is nobody's message as one."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def subscriptions(task: str) -> list[str]:
    """Return what a device's link subscribes to; broadcasts only while it fetches one."""
    return [contract_topic(task), round_topic(task)]


class Fetching:
    """Subscribes to a broadcast while it is wanted.

    Attributes:
        assembler: puts its chunks together.
        bytes: that have arrived since somebody set this to 0.
    """

    def __init__(self, link: Link, task: str) -> None:
        self.assembler = Assembler(wire.MAX_FRAME)
        self.bytes = 0
        self._link = link
        self._task = task
        self._filter: str | None = None

    def start(self, slot: int | str, size: int) -> None:
        """Have a slot's broadcast, or the base, of about so many bytes, unless it is on its way."""
        wanted = f"{broadcast_topic(self._task, slot)}/+"
        self.assembler.limit = min(2 * size + SMALL, wire.MAX_FRAME)
        if wanted != self._filter:
            self.stop()
            self._filter = wanted
            self._link.subscribe(wanted)

    def stop(self) -> None:
        """Have no broadcast."""
        if self._filter is not None:
            self._link.unsubscribe(self._filter)
            self._filter = None
            self.assembler.clear()


class Agent:
    """One device in one task.

    Args:
        own: its settings and data.
        link: subscribed to the task's `subscriptions`.
        tracer: follows its work and its uploads, as parts of the rounds' traces.
    """

    def __init__(self, own: Own, link: Link, tracer: Tracer = SILENT) -> None:
        self._own = own
        self._link = link
        self._store = Store(own.settings.folder, own.settings.name, own.settings.task)
        self._seat: Seat | None = None
        self._memory: Memory | None = None
        self._tracer = tracer
        self._opening: Opening | None = None  # the newest, until it is answered
        self._notes = NONE  # of the newest round's trace
        self._fetching = Fetching(link, own.settings.task)
        self._kept: tuple[str, Any] | None = None  # the last broadcast, and its digest
        self._concluded = ("", "")  # the run that came to its end here, and with which broadcast
        self._sent_at = 0.0
        self._word = Pace(WORD_SECONDS, FIRST_WORD_SECONDS)
        self._unseated: Contract | None = None  # whose base is on its way
        self._told = Sparing()
        self._spoilt: Opening | None = None  # the last round that could not be worked at
        self._refused: bytes | None = None  # the last contract that this device does not fit

    def run(self) -> Path:
        """Take part until the last broadcast; return where the summary is.

        By then the broker has this device's last answer.
        """
        while True:
            event = self._link.receive(self._word.left())
            if event is None and self._word.due():
                self._link.ask_again()
                log.info("%s, waits for %s", self._link.state, self._awaited())
            if not isinstance(event, Arrival):
                continue
            try:
                summary = self._take(event)
            except WireError as error:
                self._drop(f"what came on {event.topic}", str(error))
                summary = None
            event.acknowledge()
            if summary is not None:
                self._hand_over()
                return summary

    def _awaited(self) -> str:
        """Say what comes next."""
        if self._unseated is not None:
            return f"the base of task {self._unseated.task}"
        if self._seat is None:
            return f"the contract of task {self._own.settings.task}"
        if self._opening is not None:
            return f"the broadcast of round {self._opening.round}"
        if self._concluded[0] == self._seat.contract.run:
            return f"the next run of task {self._own.settings.task}"
        answered = "" if self._memory is None else f"; answered round {self._memory.round}"
        return f"the next round of {self._seat.contract.rounds}{answered}"

    def _hand_over(self) -> None:
        """Wait until the broker has the last answer, however long it is away or refuses it."""
        topic = upload_topic(self._own.settings.task, self._own.settings.name)
        word, again = Pace(WORD_SECONDS, FIRST_WORD_SECONDS), Pace(REFUSED_SECONDS)
        while not self._link.flush(FLUSH_SECONDS, topic):
            if word.due():
                text = "%s, waits until the broker has the last answer"
                log.warning(text, self._link.state)
            if self._link.is_refused(topic):
                time.sleep(FLUSH_SECONDS)  # flush tells of a refusal at once
                if again.due() and self._seat is not None and self._memory is not None:
                    self._memory = self._sent(self._seat, self._memory, again=True)

    def _take(self, arrival: Arrival) -> Path | None:
        self._fetching.bytes += len(arrival.payload)
        task = self._own.settings.task
        if not arrival.payload:
            return None  # a retained message that was cleared
        if arrival.topic == contract_topic(task):
            self._sit(arrival.payload)
        elif arrival.topic == round_topic(task):
            self._hear(arrival.payload)
            self._notes = arrival.notes
        elif arrival.topic.startswith(f"{broadcast_topic(task, BASE)}/"):
            self._shelve(arrival.payload)
        elif self._seat is not None:
            self._receive(self._seat, arrival.payload)
        if self._seat is None or self._opening is None:
            return None
        return self._go_on(self._seat, self._opening)

    def _drop(self, what: str, why: str) -> None:
        if self._told.left(""):
            log.warning("dropped %s: %s", what, why)

    def _sit(self, text: bytes) -> None:
        try:
            contract = Contract.model_validate_json(text)
        except ValidationError as error:
            self._drop("a contract that is none", error.errors()[0]["msg"])
            return
        if self._seat is not None and self._seat.contract.run == contract.run:
            if self._own.settings.name not in contract.devices:
                self._seat = self._opening = None
                self._refuse(text, contract, "it was taken out of it")
            return
        if text == self._refused:
            return  # of which it was told
        try:
            self._unseated = None
            if self._own.shelf.lacks(contract):
                self._unseated = contract
                self._fetching.start(BASE, wire.MAX_FRAME)
                return
            self._seat = seat(self._own, contract)
        except (BaseError, ConfigError, MisfitError, ModelError) as error:
            self._refuse(text, contract, error)
            return
        except InputError:
            raise  # of this device's own making
        except SPOILED as error:
            self._refuse(text, contract, unworkable(error))
            return
        self._memory = self._store.load(contract.run)
        if self._memory is not None:
            self._seat.member.restore(self._memory.weights)
            number = self._memory.round
            log.info("goes on after round %d", number, extra={"round": number})
        self._remember(self._seat)

    def _shelve(self, chunk: bytes) -> None:
        """Take a chunk of the base that a contract waits for; sit down once it is whole."""
        payload = self._fetching.assembler.offer(chunk)
        if payload is None or self._unseated is None:
            return
        contract, graph = self._unseated, sending.decode(self._unseated, payload)
        self._own.shelf.keep(graph)
        log.info("has fetched base %s..., %d bytes", wanted(contract), len(graph))
        self._fetching.stop()
        self._unseated = None
        self._sit(contract.text().encode())

    def _refuse(self, text: bytes, contract: Contract, error: Exception | str) -> None:
        """Say why this device takes no part; the next contract may be another."""
        self._refused = text
        told = "takes no part in run %s of %s: %s; waits for another contract"
        log.error(told, contract.run, contract.task, error)

    def _remember(self, seat: Seat) -> None:
        """Take the broadcast that was kept before a restart, if it is this run's."""
        payload = self._store.kept_broadcast()
        try:
            broadcast = None if payload is None else self._opened(seat, payload)
        except WireError:
            return  # another algorithm's
        self._kept = None if broadcast is None else (wire.fingerprint(broadcast), broadcast)

    def _hear(self, text: bytes) -> None:
        try:
            self._opening = Opening.model_validate_json(text)
        except ValidationError as error:
            self._drop("a round that is none", error.errors()[0]["msg"])

    def _receive(self, seat: Seat, chunk: bytes) -> None:
        """Take a chunk of a broadcast; keep the broadcast if it is whole, and the one wanted."""
        payload = self._fetching.assembler.offer(chunk)
        if payload is None or self._opening is None:
            return
        broadcast = self._opened(seat, payload)
        if wire.fingerprint(broadcast) == self._opening.digest:
            self._fetching.stop()
            self._store.keep_broadcast(payload)
            self._kept = self._opening.digest, broadcast

    def _opened(self, seat: Seat, payload: bytes) -> Any:
        """Return a frame's broadcast.

        Raises:
            WireError: if it is none of this task's.
        """
        kind = seat.half.broadcast
        frame = wire.decode(payload, kind, sizes=seat.half.sizes)
        if (frame.envelope.task, frame.envelope.sender) != (seat.contract.task, SERVER):
            raise wire.ContentError(f"{frame.envelope} came as a broadcast")
        return frame[kind]

    def _go_on(self, seat: Seat, opening: Opening) -> Path | None:
        """Answer the open round: from memory if it was answered before, else by working."""
        if opening.run != seat.contract.run:
            return None  # its contract is still on its way
        last = opening.round >= seat.contract.rounds
        if self._memory is None and last:
            log.info("the run is over, without this device; waiting for another one")
            self._opening = None
            return None
        if opening == self._spoilt:
            self._opening = None
            return None
        new = self._memory is None or opening.round > self._memory.round
        if (new or last) and (self._kept is None or self._kept[0] != opening.digest):
            self._fetching.start(opening.slot, opening.size)
            return None
        self._opening = None
        self._fetching.stop()
        if not self._answer(seat, opening, new):
            return None
        if not last or self._kept is None or self._concluded == (opening.run, opening.digest):
            return None
        self._concluded = opening.run, opening.digest
        return self._conclude(seat, self._kept[1])

    def _answer(self, seat: Seat, opening: Opening, new: bool) -> bool:
        """Send the answer to a round, worked out or remembered; tell whether there is one."""
        if new:
            assert self._kept is not None  # noqa: S101 - or it would be fetched now
            if opening.round < seat.contract.rounds:
                seat = self._seat = renewed(self._own, seat)
            with self._tracer.span("train", self._notes, round=opening.round):
                worked = self._attempted(seat, opening, self._kept[1])
            if worked is None:
                return False
            self._memory = worked
            self._store.save(self._memory)
        assert self._memory is not None  # noqa: S101 - a round that is not new was answered before
        if opening.round < self._memory.round:
            log.warning(
                "round %d is open, and round %d was answered: nothing is sent; if the task was"
                " restored from a backup, restore this device or remove its state.safetensors",
                opening.round,
                self._memory.round,
            )
            return False
        if new or self._is_wanted(self._memory.answer):
            self._memory = self._sent(seat, self._memory, again=not new)
        return True

    def _is_wanted(self, answer: bytes) -> bool:
        """Tell whether to send an answer again now that its round is announced again.

        At once if the announcement is a new connection's. One that only reminds of the round comes
        every half minute: then not if the aggregator has the answer, or it is on its way, or was
        sent a short while ago.
        """
        mine = self._own.settings
        large, reminded = len(answer) > SMALL, is_reminder(self._notes)
        if (large or reminded) and self._link.is_on_its_way(upload_topic(mine.task, mine.name)):
            return False
        if not reminded:
            return True
        waited = time.monotonic() - self._sent_at
        return is_meant(self._notes, mine.name) and waited >= (
            RARE_SECONDS if large else OFTEN_SECONDS
        )

    def _sent(self, seat: Seat, memory: Memory, again: bool) -> Memory:
        """Send the answer; return the memory with the bytes that this really took."""
        topic = upload_topic(seat.contract.task, self._own.settings.name)
        notes = sensors.reading().notes() if self._own.settings.health else {}
        if seat.privacy is not None:
            notes |= accounting.noted(seat.privacy.epsilon)
        with self._tracer.span("upload", self._notes, round=memory.round) as traced:
            size = self._link.send(topic, memory.answer, {**notes, **traced})
        self._sent_at = time.monotonic()
        counts = memory.traffic.get(str(memory.round), {"down": 0, "up": 0})
        moved = {**counts, "up": counts["up"] + size if again else size}
        return replace(memory, traffic={**memory.traffic, str(memory.round): moved})

    def _attempted(self, seat: Seat, opening: Opening, broadcast: Any) -> Memory | None:
        """Work at a round; where its broadcast cannot be worked with, leave the model as it was."""
        before = seat.member.weights()
        try:
            return self._work(seat, opening, broadcast)
        except InputError:
            raise
        except SPOILED as error:
            seat.member.restore(before)
            self._spoilt = opening
            text = (
                "round %d: what was broadcast cannot be worked with (%s); waits for the next round"
            )
            number = opening.round
            log.warning(text, number, unworkable(error), extra={"round": number})
            return None

    def _work(self, seat: Seat, opening: Opening, broadcast: Any) -> Memory:
        """Train a round, or evaluate the last broadcast; return what to remember."""
        number = opening.round
        log.info("round %d of %d: working", number, seat.contract.rounds, extra={"round": number})
        if number < seat.contract.rounds:
            answer = seat.answer(number, broadcast)
            uploads: tuple[Any, ...] = () if answer.upload is None else (answer.upload,)
            messages = (*uploads, answer.report)
            report = answer.report
        else:
            report = seat.member.finish(broadcast)
            messages = (report,)
        name = self._own.settings.name
        payload = wire.encode(
            Envelope(seat.contract.task, seat.contract.run, number, name), *messages
        )
        before = self._memory or Memory(seat.contract.run, number, payload)
        accuracy = _told_accuracy(number, report)
        bytes_down, self._fetching.bytes = self._fetching.bytes, 0
        return Memory(
            seat.contract.run,
            number,
            payload,
            seat.member.weights(),
            {**before.accuracies, str(number): accuracy},
            {**before.traffic, str(number): {"down": bytes_down, "up": len(payload)}},
        )

    def _conclude(self, seat: Seat, broadcast: Any) -> Path:
        """Mix the classifier with one trained alone, export it, check it, write the summary."""
        assert self._memory is not None  # noqa: S101 - an answer has just been remembered
        mine = self._own
        purse = seat.privacy
        facts = {
            **({} if purse is None else {"epsilon": purse.epsilon}),
            "architecture": seat.half.architecture,
            "pixels": seat.share.pixels,
            "train_samples": len(seat.share.data.train),
            "test_samples": len(seat.share.data.test),
            "accuracy_by_round": dict(self._memory.accuracies),
            "bytes_by_round": dict(self._memory.traffic),
        }
        folder = mine.settings.folder
        settled = seat.half.settle(broadcast)
        self._store.make_way(seat.contract.run)
        return conclude(folder, mine.settings.name, seat.contract, settled, broadcast, facts)


def _told_accuracy(number: int, report: Report) -> float | None:
    """Say what an evaluation came to, and return it; None without test samples."""
    accuracy = report.accuracy if report.test_samples else None
    known = "no test samples" if accuracy is None else f"accuracy {accuracy:.4f} before training"
    log.info("round %d: %s", number, known, extra={"round": number, "accuracy": accuracy})
    return accuracy
