"""A cohort across MQTT: publishes a round's broadcast, gathers the devices' answers."""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from edgeloop.algorithm import Algorithm
from edgeloop.answers import Answer, Report
from edgeloop.bases import sending
from edgeloop.cohorts.events import AnswersGathered, DeviceMessage, Event, LeftError, RoundOpened
from edgeloop.cohorts.uploads import Upload, UploadLog
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol import wire
from edgeloop.protocol.chunks import MAX_CHUNKS, PIECE, Assembler, ChunkMemory
from edgeloop.protocol.gathering import Gathering, Verdict
from edgeloop.protocol.task import (
    SERVER,
    SLOTS,
    SMALL,
    Contract,
    Opening,
    broadcast_topic,
    contract_topic,
    leaver,
    presence_topic,
    reminder,
    round_topic,
    upload_topic,
)
from edgeloop.protocol.wire import ContentError, Envelope, Frame, OpenFrame, WireError
from edgeloop.runtime.pace import LogRateLimiter, Timer
from edgeloop.runtime.tracing import NONE, SILENT, Notes, Tracer, context_of, notes_of

log = logging.getLogger(__name__)

ANNOUNCE_SECONDS = 30.0
"""Between two announcements of a round that waits for answers."""

REMINDER_SECONDS = 300.0
"""Between two of what is larger than `SMALL`."""

EXPIRY_SECONDS = 120
"""After which the broker may forget one of them for a device that is away."""

CHUNK_MEMORY = 2 * (wire.MAX_FRAME + MAX_CHUNKS * PIECE)
"""Bytes of memory for what all devices together have not finished sending, until a round has shown
that answers are so large that they need more."""

FIRST_STATUS_SECONDS, STATUS_SECONDS = 10.0, 60.0
"""Before the first line on what is waited for, and between two of them."""

MOST_AT_ONCE = 200
"""Messages that the broker delivers before the first is acknowledged: so many uploads are written
together."""

U = TypeVar("U")
B = TypeVar("B")


class _Judged(NamedTuple):
    """What became of a message, and the upload that it is, if one that counts."""

    message: DeviceMessage
    upload: Upload | None = None


@dataclass(frozen=True)
class RoundDeadlines:
    """How long a round waits, and for whom.

    Attributes:
        quorum: how many answers make the round count.
        deadline: seconds to wait for more than the quorum.
        give_up: seconds to wait even for the quorum.
    """

    quorum: int
    deadline: float
    give_up: float


class MqttCohort(Generic[B, U]):
    """The server's end of a task.

    Args:
        connection: subscribed to the task's `subscriptions`.
        contract: the task's; published at the start.
        algorithm: the contract's.
        deadlines: how long to wait, and for whom.
        uploads: where uploads are safe.
        observe: told of every round that opens and ends, and of everything that a device sends.
        clock: seconds that never go back.
        tracer: follows each answer; the notes of a round's trace go out with the round.
        announce_seconds: between two announcements of a round that waits for answers.
        base: the graph of the base that devices compute on; held by the broker for them.
    """

    def __init__(  # noqa: PLR0913 - what a test replaces comes after the five that a run has
        self,
        connection: MqttConnection,
        contract: Contract,
        algorithm: Algorithm[Any, U, B],
        deadlines: RoundDeadlines,
        uploads: UploadLog,
        observe: Callable[[Event], None] = lambda event: None,
        clock: Callable[[], float] = time.monotonic,
        tracer: Tracer = SILENT,
        announce_seconds: float = ANNOUNCE_SECONDS,
        base: bytes | None = None,
    ) -> None:
        self._connection = connection
        self._contract = contract
        self._algorithm = algorithm
        self._deadlines = deadlines
        self._uploads = uploads
        self._observe = observe
        self._clock = clock
        self._tracer = tracer
        self._notes = NONE
        self._room = ChunkMemory(CHUNK_MEMORY)
        self._assemblers = {
            name: Assembler(wire.MAX_FRAME, memory=self._room) for name in contract.devices
        }
        self._told = LogRateLimiter(clock=clock)
        self._opening: Opening | None = None
        self._broadcast = b""
        self._base = None if base is None else sending.encode(contract, base)
        self._online: set[str] = set()
        self._growing: set[str] = set()  # devices that ignore what they do not know
        self._ignored = wire.IgnoredFields()
        self._leaving: set[str] = set()
        self._again = Timer(announce_seconds, jitter=0.2, clock=clock)
        self._rarely = Timer(REMINDER_SECONDS, jitter=0.2, clock=clock)
        self._word = Timer(STATUS_SECONDS, FIRST_STATUS_SECONDS, clock=clock)
        self._announce()

    @staticmethod
    def subscriptions(task: str) -> list[str]:
        """Return what the server's link subscribes to."""
        return [upload_topic(task, "+"), presence_topic(task, "+")]

    def ask(
        self, round_number: int, broadcast: B, participants: Collection[str] | None = None
    ) -> Mapping[str, Answer[U]]:
        """Open a round and return its answers by client; resume a round that a crash cut off.

        Every device is asked: over MQTT it is devices that stay away, not the server that chooses.

        Raises:
            ValueError: if only some are to join.
            LeftError: if a device asks to be taken out, and can be; the answers are in the log.
            TooFewUploadsError: if the round was given up with fewer answers than the quorum.
        """
        if participants is not None:
            raise ValueError("over MQTT every device is asked")
        kind = self._algorithm.upload
        frames = self._gathered(round_number, broadcast, self._deadlines.quorum, kind, Report)
        return {
            device: Answer(frame.messages.get(kind), frame[Report])
            for device, frame in frames.items()
        }

    def finish(self, round_number: int, broadcast: B) -> Mapping[str, Report]:
        """Have the devices evaluate the last broadcast; return the reports that come in time.

        Raises:
            LeftError: as `ask`.
        """
        frames = self._gathered(round_number, broadcast, 0, Report)
        return {device: frame[Report] for device, frame in frames.items()}

    def tell(self, round_number: int, broadcast: B) -> None:
        """Say where the run stands; nobody's answer is waited for."""
        self._open(round_number, broadcast)

    def _gathered(
        self, round_number: int, broadcast: B, quorum: int, *kinds: type
    ) -> Mapping[str, Frame]:
        task, run = self._contract.task, self._contract.run
        with self._tracer.span("gather", task=task, run=run, round=round_number) as self._notes:
            return self._gather(round_number, broadcast, quorum, kinds)

    def _gather(
        self, round_number: int, broadcast: B, quorum: int, kinds: tuple[type, ...]
    ) -> Mapping[str, Frame]:
        gathering = self._gathering(round_number, quorum)
        for each in self._assemblers.values():
            each.clear()  # what is unfinished when a round opens is an answer to one before
        self._recall(gathering, kinds)
        begun = self._clock()
        size = self._open(round_number, broadcast)
        opened = self._clock()
        recalled = len(gathering.uploads)
        self._observe(RoundOpened(round_number, size, opened - begun, recalled, self._notes))
        self._listen(gathering, kinds)
        self._observe(
            AnswersGathered(round_number, len(gathering.missing()), self._clock() - opened)
        )
        return gathering.close()

    def _listen(self, gathering: Gathering[Frame], kinds: tuple[type, ...]) -> None:
        """Take what arrives until the round is over; meanwhile have nobody miss that it is open."""
        self._again.reset()
        while not gathering.is_over(now := self._clock()):
            soon = min(gathering.until(now), self._again.left(), self._word.left())
            arrivals: list[Arrival] = []
            for event in self._connection.receive_all(soon, MOST_AT_ONCE):
                if isinstance(event, Arrival):
                    arrivals.append(event)
                else:
                    self._announce()
                    self._again.reset()
            self._take(gathering, arrivals, kinds)
            if self._again.due():
                self._remind(gathering.missing())
            if self._word.due():
                self._log_waiting(gathering)

    def _recall(self, gathering: Gathering[Frame], kinds: tuple[type, ...]) -> None:
        """Offer what is stored; what is refused today is dropped, and its device may send again."""
        number = gathering.round_number
        for device, payload in self._uploads.recall(number).items():
            try:
                frame = self._decoded(device, wire.open_frame(payload), kinds)
            except WireError as error:
                facts = {"device": device, "round": number}
                text = "round %d: ignored the stored answer of %s: %s"
                log.warning(text, number, device, error, extra=facts)
                self._uploads.drop(number, device)
                continue
            gathering.offer(device, number, frame.digest, frame)

    def _gathering(self, round_number: int, quorum: int) -> Gathering[Frame]:
        now = self._clock()
        deadline = now + self._deadlines.deadline
        give_up = max(deadline, now + self._deadlines.give_up)
        return Gathering(round_number, frozenset(self._contract.devices), quorum, deadline, give_up)

    def _open(self, round_number: int, broadcast: B) -> int:
        """Say that a round is open; return the bytes that its broadcast took."""
        grown = self._all_grow()
        digest = wire.fingerprint(broadcast, grown)
        held = self._opening is not None and self._opening.digest == digest
        if self._opening is None or not held:
            envelope = Envelope(self._contract.task, self._contract.run, round_number, SERVER)
            self._broadcast = wire.encode(envelope, broadcast, grown=grown)
            slot = round_number % SLOTS
            self._connection.publish_retained(
                broadcast_topic(self._contract.task, slot), self._broadcast
            )
        else:
            slot = self._opening.slot
        size = len(self._broadcast)
        self._opening = Opening(
            run=self._contract.run,
            round=round_number,
            digest=digest,
            slot=slot,
            size=size,
            trace=context_of(self._notes),
        )
        self._publish_round(self._opening)
        return 0 if held else size

    def _publish_round(self, opening: Opening) -> None:
        topic, grown = round_topic(self._contract.task), self._all_grow()
        text, notes = opening.text(grown).encode(), self._opening_notes(grown)
        self._connection.publish(topic, text, retain=True, notes=notes)

    def _all_grow(self) -> bool:
        """Return whether every device ignores fields that it does not know; those of 0.1 do not."""
        return self._growing.issuperset(self._contract.devices)

    def _opening_notes(self, grown: bool) -> Notes:
        """Return the notes of an opening; the trace's, where its own field is not for everybody."""
        return {**wire.GROWS, **({} if grown else self._notes)}

    def _announce(self) -> None:
        if self._base is not None:
            self._connection.publish_retained(
                broadcast_topic(self._contract.task, sending.SLOT), self._base
            )
        text = self._contract.text(self._all_grow()).encode()
        self._connection.publish(contract_topic(self._contract.task), text, retain=True)
        if self._opening is not None:
            slot = self._opening.slot
            self._connection.publish_retained(
                broadcast_topic(self._contract.task, slot), self._broadcast
            )
            self._publish_round(self._opening)

    def _remind(self, missing: Collection[str]) -> None:
        """Announce the round once more to those who are there; whoever is away will be told.

        What the broker keeps stays as it is, unless it has refused to keep it.
        """
        self._connection.resubscribe_refused()
        if self._connection.refusals():
            self._announce()
            return
        task, opening, grown = self._contract.task, self._opening, self._all_grow()
        text = self._contract.text(grown).encode()
        self._connection.publish(contract_topic(task), text, expiry=EXPIRY_SECONDS)
        if opening is None:
            return
        rarely = self._rarely.due()
        if rarely and self._base is not None:
            topic = broadcast_topic(task, sending.SLOT)
            self._connection.republish(topic, self._base, EXPIRY_SECONDS)
        if rarely or len(self._broadcast) <= SMALL:
            topic = broadcast_topic(task, opening.slot)
            self._connection.republish(topic, self._broadcast, EXPIRY_SECONDS)
        notes = {**self._opening_notes(grown), **reminder(missing)}
        text = opening.text(grown).encode()
        self._connection.publish(round_topic(task), text, notes=notes, expiry=EXPIRY_SECONDS)

    def _log_waiting(self, gathering: Gathering[Frame]) -> None:
        """Say what the round waits for."""
        number, missing = gathering.round_number, sorted(gathering.missing())
        last = number >= self._contract.rounds
        what = "last evaluation" if last else f"round {number} of {self._contract.rounds}"
        names = [f"{each} ({'on' if each in self._online else 'off'}line)" for each in missing[:5]]
        more = len(missing) - len(names)
        log.info(
            "%s: %s, waits for %d of %d devices: %s%s",
            what,
            self._connection.state,
            len(missing),
            len(self._contract.devices),
            ", ".join(names),
            f" and {more} more" if more else "",
            extra={"round": number, "missing": len(missing)},
        )

    def _take(
        self, gathering: Gathering[Frame], arrivals: Iterable[Arrival], kinds: tuple[type, ...]
    ) -> None:
        """Judge what has arrived, write what counts of it at once, then tell the broker.

        Nothing that a device sends can end a round.
        """
        judged = [self._heard(gathering, each, kinds) for each in arrivals]
        self._record(gathering.round_number, [each for each in judged if each is not None])
        for each in judged:
            if each is not None:
                self._observe(each.message)
        for arrival in arrivals:
            arrival.acknowledge()
        self._part()

    def _record(self, number: int, judged: Iterable[_Judged]) -> None:
        """Make the uploads of a batch safe, all in one step."""
        new = [each for each in judged if each.upload is not None]
        if not new:
            return
        first, *others = (each.message.notes for each in new)
        with self._tracer.span("record", first, others, uploads=len(new)):
            self._uploads.record_all(number, [each.upload for each in new if each.upload])

    def _heard(
        self, gathering: Gathering[Frame], arrival: Arrival, kinds: tuple[type, ...]
    ) -> _Judged | None:
        """Judge one packet; None for a part of an answer."""
        channel, device = arrival.topic.split("/")[-2:]
        if channel == "presence":
            return _Judged(self._hear(device, arrival))
        try:
            payload = self._assemble(device, arrival.payload)
        except WireError as error:
            self._drop(device, gathering.round_number, error)
            return _Judged(DeviceMessage(device, Verdict.MALFORMED, len(arrival.payload)))
        if payload is None:
            return None
        return self._judge(gathering, device, payload, arrival.notes, kinds)

    def _assemble(self, device: str, chunk: bytes) -> bytes | None:
        """Return an answer once it is whole; of a stranger nothing is kept, and a chunk will do."""
        invited = device in self._assemblers
        return self._assemblers[device].offer(chunk) if invited else chunk

    def _judge(
        self,
        gathering: Gathering[Frame],
        device: str,
        payload: bytes,
        notes: Notes,
        kinds: tuple[type, ...],
    ) -> _Judged:
        """Judge an answer; what a device of 0.1 tells beside it is in the message's notes."""
        number, size = gathering.round_number, len(payload)
        opened, frame, verdict, trouble = None, None, Verdict.MALFORMED, None
        try:
            opened = wire.open_frame(payload) if device in self._assemblers else None
        except WireError as error:
            trouble = error
        made = notes_of("" if opened is None else opened.envelope.trace, notes)
        with self._tracer.span("receive", made, device=device, round=number) as traced:
            try:
                if trouble is None:
                    frame, verdict = self._read_answer(gathering, device, opened, kinds)
            except WireError as error:
                trouble = error
        if trouble is not None:
            self._drop(device, number, trouble)
        if frame is None:
            return _Judged(DeviceMessage(device, verdict, size, notes=traced))
        ignored = self._ignored.add(frame.ignored, device)
        report = frame[Report].with_notes(notes)
        told = DeviceMessage(device, verdict, size, report=report, ignored=ignored, notes=traced)
        accepted = verdict is Verdict.ACCEPTED
        return _Judged(told, Upload(device, frame.digest, payload) if accepted else None)

    def _hear(self, device: str, arrival: Arrival) -> DeviceMessage:
        """Take a device's word on whether it is there."""
        online = arrival.payload == b"online"
        if device in self._assemblers:  # who is not invited is not remembered
            (self._online.add if online else self._online.discard)(device)
            if online:
                grows = wire.grows(arrival.notes)
                (self._growing.add if grows else self._growing.discard)(device)
            if leaver(self._contract, arrival.topic, arrival.payload, arrival.notes):
                self._leave(device)
        return DeviceMessage(device, online=online)

    def _leave(self, device: str) -> None:
        if self._algorithm.remove_clients is not None:
            self._leaving.add(device)
        elif self._told.allowed(f"left {device}"):
            text = "%s asks to be taken out, and %s cannot do that: begin a new run without it"
            log.warning(text, device, self._contract.algorithm, extra={"device": device})

    def _part(self) -> None:
        if self._leaving:
            raise LeftError(self._leaving)

    def _drop(self, device: str, number: int, error: WireError) -> None:
        left = self._told.allowed(device)
        if left:
            more = "; what more there is within a minute is not told" if left == 1 else ""
            facts = {"device": device, "round": number}
            log.warning("ignored a message of %s: %s%s", device, error, more, extra=facts)

    def _read_answer(
        self,
        gathering: Gathering[Frame],
        device: str,
        opened: OpenFrame | None,
        kinds: tuple[type, ...],
    ) -> tuple[Frame | None, Verdict]:
        """Return an answer's frame, as far as it is one of this run, and its verdict.

        Raises:
            WireError: if it is none, and not of another round or run.
        """
        if opened is None:
            return None, Verdict.UNINVITED
        envelope = opened.envelope
        if envelope.run != self._contract.run:
            return None, Verdict.WRONG_ROUND
        if misplaced := gathering.misplaced(envelope.round):
            return self._misplaced(device, opened), misplaced
        with self._tracer.span("check", bytes=len(opened.body)):
            frame = self._decoded(device, opened, kinds)
        verdict = gathering.offer(device, frame.envelope.round, frame.digest, frame)
        if verdict is Verdict.ACCEPTED:
            self._room.most = max(self._room.most, 2 * len(self._assemblers) * len(opened.body))
        return frame, verdict

    def _misplaced(self, device: str, opened: OpenFrame) -> Frame | None:
        """Return the frame of another round's answer, whose report counts; None if it is none."""
        try:
            return self._decoded(device, opened, (self._algorithm.upload, Report))
        except WireError:
            return None

    def _decoded(self, device: str, opened: OpenFrame, kinds: tuple[type, ...]) -> Frame:
        frame = self._frame(opened, kinds)
        if (frame.envelope.task, frame.envelope.sender) != (self._contract.task, device):
            raise ContentError(f"{frame.envelope} came on the topic of {device}")
        if self._algorithm.upload in frame.messages:
            try:
                self._algorithm.check(frame[self._algorithm.upload])
            except ValueError as error:
                raise ContentError(str(error)) from error
        return frame

    def _frame(self, opened: OpenFrame, kinds: tuple[type, ...]) -> Frame:
        """Return an answer's frame; without an upload if the device only evaluated.

        So does one whose privacy budget is spent, or whose model has diverged: the round need not
        wait for it.

        Raises:
            WireError: if it is none.
        """
        try:
            return opened.read(*kinds, sizes=self._algorithm.sizes)
        except wire.KindError:
            return opened.read(Report)
