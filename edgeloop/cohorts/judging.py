"""What becomes of what a device sends to an open round: its parts put together, and a verdict."""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from edgeloop.algorithm import Algorithm
from edgeloop.answers import Report
from edgeloop.cohorts.events import DeviceMessage
from edgeloop.cohorts.members import Members
from edgeloop.cohorts.receipts import Receipts
from edgeloop.cohorts.uploads import Upload, UploadLog
from edgeloop.mqtt.connection import Arrival
from edgeloop.protocol import wire
from edgeloop.protocol.chunks import MAX_CHUNKS, PIECE, Assembler, ChunkMemory, Whole, place_of
from edgeloop.protocol.gathering import Gathering, Verdict
from edgeloop.protocol.wire import ContentError, Frame, OpenFrame, WireError
from edgeloop.runtime.pace import LogRateLimiter
from edgeloop.runtime.tracing import SILENT, Notes, Tracer, notes_of

log = logging.getLogger(__name__)

CHUNK_MEMORY = 2 * (wire.MAX_FRAME + MAX_CHUNKS * PIECE)
"""Bytes of memory for what all devices together have not finished sending, until a round has shown
that answers are so large that they need more."""


class Judged(NamedTuple):
    """What became of a message; the upload that it is, if one that counts; how to answer it."""

    message: DeviceMessage | None
    upload: Upload | None = None
    receipt: Callable[[], None] = lambda: None


class _ReadAnswer(NamedTuple):
    """A whole answer as it was read.

    Attributes:
        opened: its envelope; None of a stranger's, and where it is damaged.
        frame: what it says; None where that is not of this run, or not an answer.
        verdict: on it.
        trouble: what is wrong with its bytes; None if nothing is.
        traced: notes of its trace.
    """

    opened: OpenFrame | None
    frame: Frame | None
    verdict: Verdict
    trouble: WireError | None
    traced: Notes

    @property
    def why(self) -> str:
        """What is wrong with its bytes, for a person."""
        return "" if self.trouble is None else str(self.trouble)


class AnswerJudge:
    """Reads what devices send, and gives verdicts. Nothing that one sends raises an error here.

    Args:
        algorithm: of the run.
        uploads: where uploads are safe.
        members: who is in the run, by its contract.
        receipts: send devices the verdicts.
        tracer: follows each answer.
        clock: seconds that never go back.

    Attributes:
        assemblers: by device, what puts its packets together.
    """

    def __init__(
        self,
        algorithm: Algorithm[Any, Any, Any],
        uploads: UploadLog,
        members: Members,
        receipts: Receipts,
        tracer: Tracer = SILENT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._contract, self._algorithm, self._uploads = members.contract, algorithm, uploads
        self._members, self._receipts, self._tracer = members, receipts, tracer
        self._lines = LogRateLimiter(clock=clock)
        self._ignored = wire.IgnoredFields()
        self._room = ChunkMemory(CHUNK_MEMORY)
        self._kept: dict[str, tuple[Whole, Notes]] = {}  # for the next round
        self.assemblers: dict[str, Assembler] = {}
        for name in members:
            self.admit(name)

    def admit(self, device: str) -> None:
        """Take what a device sends from now on."""
        self.assemblers[device] = Assembler(wire.MAX_FRAME, memory=self._room)

    def forget_unfinished(self) -> None:
        """Forget what is not whole yet."""
        for each in self.assemblers.values():
            each.clear()

    def judge_kept(self, gathering: Gathering[Frame]) -> list[Judged]:
        """Judge what came before its round, now that this one is open."""
        kept, self._kept = self._kept, {}
        return [self._judge_whole(gathering, name, *each) for name, each in sorted(kept.items())]

    def judge(self, gathering: Gathering[Frame], device: str, arrival: Arrival) -> Judged | None:
        """Judge a packet of an answer; None where more of them are to come."""
        number, chunk = gathering.round_number, arrival.payload
        if not chunk:
            return Judged(None)  # `agent doctor` asks the broker whether the device may send
        if arrival.trust.refusal:
            return self.unbelieved(number, device, arrival)
        if repeated := self._repeated(gathering, device, chunk):
            return repeated
        try:
            payload = self._assemble(device, chunk)
        except WireError as error:
            self._drop(device, number, error)
            refuse = partial(self._receipts.refuse_chunk, device, number, chunk, error)
            heard = DeviceMessage(device, Verdict.MALFORMED, len(chunk), reason=str(error))
            return Judged(heard, receipt=refuse)
        if device in self.assemblers:
            self._receipts.took_chunk(device, whole=payload is not None)
        if payload is None:
            return None
        return self._judge_whole(gathering, device, payload, arrival.notes)

    def unbelieved(self, number: int, device: str, arrival: Arrival) -> Judged:
        """Return what to do with a message that nobody can be sure is the device's.

        One whose signer's certificate has not come yet is asked for again: it then brings it.
        """
        chunk, trust = arrival.payload, arrival.trust
        place = place_of(chunk)
        if trust.is_unknown and place is not None and place.index < place.count <= MAX_CHUNKS:
            return Judged(None, receipt=partial(self._receipts.ask_again, device, number, place))
        self._drop(device, number, trust.refusal)
        verdict = Verdict.UNVERIFIED
        heard = DeviceMessage(device, verdict, len(chunk), reason=trust.refusal)
        if place is None:
            return Judged(heard)
        refuse = partial(self._receipts.give, device, number, place.digest, verdict, trust.refusal)
        return Judged(heard, receipt=refuse)

    def _repeated(self, gathering: Gathering[Frame], device: str, chunk: bytes) -> Judged | None:
        """Judge a chunk of an answer that the round holds already; None if it is none.

        Whoever is not sure that his answer has arrived sends its first chunk.
        """
        place = place_of(chunk)
        if place is None or place.count == 1 or gathering.digests.get(device) != place.digest:
            return None
        if place.index:
            return Judged(None)
        number, kind = gathering.round_number, Verdict.DUPLICATE
        receipt = partial(self._receipts.give, device, number, place.digest, kind)
        return Judged(DeviceMessage(device, kind, len(chunk)), receipt=receipt)

    def _assemble(self, device: str, chunk: bytes) -> Whole | None:
        """Return an answer once it is whole; of a stranger nothing is kept, and a chunk will do."""
        invited = device in self.assemblers
        return self.assemblers[device].take(chunk) if invited else Whole(chunk, b"")

    def _judge_whole(
        self, gathering: Gathering[Frame], device: str, whole: Whole, notes: Notes
    ) -> Judged:
        """Judge an answer; what a device of 0.1 adds to it is in the message's notes."""
        answer = self._read(gathering, device, whole, notes)
        if answer is None:
            self._kept[device] = whole, notes
            return Judged(None)
        receipt = self._receipt(gathering.round_number, device, whole, answer)
        message = self._message(device, len(whole.payload), notes, answer)
        if answer.frame is None or answer.verdict is not Verdict.ACCEPTED:
            return Judged(message, receipt=receipt)
        base = answer.frame.envelope.round
        return Judged(message, Upload(device, answer.frame.digest, whole.payload, base), receipt)

    def _read(
        self, gathering: Gathering[Frame], device: str, whole: Whole, notes: Notes
    ) -> _ReadAnswer | None:
        """Read an answer, and log what is wrong with it; None if it can only count later."""
        number, opened, frame = gathering.round_number, None, None
        verdict: Verdict | None = Verdict.MALFORMED
        trouble: WireError | None = None
        try:
            if device in self.assemblers:
                opened = wire.open_frame(whole.payload, expected=whole.digest)
        except WireError as error:
            trouble = error
        made = notes_of("" if opened is None else opened.envelope.trace, notes)
        with self._tracer.span("receive", made, device=device, round=number) as traced:
            try:
                if trouble is None:
                    frame, verdict = self._read_answer(gathering, device, opened)
            except WireError as error:
                trouble = error
        if trouble is not None:
            self._drop(device, number, trouble)
        if verdict is None:
            return None
        return _ReadAnswer(opened, frame, verdict, trouble, traced)

    def _receipt(
        self, number: int, device: str, whole: Whole, answer: _ReadAnswer
    ) -> Callable[[], None]:
        """Return what gives the receipt for an answer to this round, or another one."""
        sent = whole.digest.hex() or wire.digest(whole.payload)
        if answer.trouble is not None and whole.is_damaged:
            return partial(self._receipts.ask_for_all, device, number, sent, whole.chunks)
        if answer.opened is not None and answer.verdict is not Verdict.MALFORMED:
            number = answer.opened.envelope.round
        return partial(self._receipts.give, device, number, sent, answer.verdict, answer.why)

    def _message(self, device: str, size: int, notes: Notes, answer: _ReadAnswer) -> DeviceMessage:
        """Return what is told of an answer of so many bytes."""
        verdict, frame, traced = answer.verdict, answer.frame, answer.traced
        if frame is None:
            return DeviceMessage(device, verdict, size, notes=traced, reason=answer.why)
        ignored = self._ignored.add(frame.ignored, device)
        report = frame.messages.get(Report)
        report = None if report is None else report.with_notes(notes)
        return DeviceMessage(device, verdict, size, report=report, ignored=ignored, notes=traced)

    def _elsewhere(
        self, gathering: Gathering[Frame], device: str, opened: OpenFrame
    ) -> Verdict | None:
        """Return the verdict on an answer to another round; None where it can count in this one."""
        number = opened.envelope.round
        misplaced = gathering.misplaced(number)
        if number >= gathering.round_number:
            return misplaced
        held = self._uploads.held(number, device)
        if held == opened.digest:
            return Verdict.DUPLICATE  # whose receipt was lost
        return misplaced or (None if held is None else Verdict.CONFLICT)

    def _drop(self, device: str, number: int, error: WireError | str) -> None:
        left = self._lines.allowed(device)
        if left:
            more = "; further ones within a minute are not logged" if left == 1 else ""
            facts = {"device": device, "round": number}
            log.warning("ignored a message of %s: %s%s", device, error, more, extra=facts)

    def _read_answer(
        self, gathering: Gathering[Frame], device: str, opened: OpenFrame | None
    ) -> tuple[Frame | None, Verdict | None]:
        """Return an answer's frame, as far as it is one of this run, and its verdict.

        There is none yet for an answer that can only count in the next round.

        Raises:
            WireError: if it is none, and not of another round or run.
        """
        if opened is None:
            return None, Verdict.UNINVITED
        envelope = opened.envelope
        if envelope.run != self._contract.run:
            return None, Verdict.WRONG_ROUND
        if envelope.evaluates and envelope.round == gathering.round_number:
            if self._algorithm.upload in gathering.kinds:
                return None, Verdict.LATE  # the run had fewer rounds when this was made
        elif elsewhere := self._elsewhere(gathering, device, opened):
            frame = self._misplaced(device, opened)
            if frame is not None and elsewhere is Verdict.LATE and not envelope.evaluates:
                self._members.heard(device, envelope, in_time=False)
            return frame, elsewhere
        with self._tracer.span("check", bytes=len(opened.body)):
            frame = self.decoded(device, opened, gathering.kinds)
        if gathering.is_ahead(device, envelope.round):
            return frame, None
        verdict = gathering.offer(device, frame.envelope.round, frame.digest, frame)
        if verdict is Verdict.UNINVITED:
            return frame, Verdict.NOT_ASKED
        if verdict is Verdict.ACCEPTED:
            self._members.heard(device, envelope, in_time=True)
            self._room.most = max(self._room.most, 2 * len(self.assemblers) * len(opened.body))
        return frame, verdict

    def _misplaced(self, device: str, opened: OpenFrame) -> Frame | None:
        """Return the frame of another round's answer, whose report counts; None if it is none."""
        try:
            return self.decoded(device, opened, (self._algorithm.upload, Report))
        except WireError:
            return None

    def decoded(self, device: str, opened: OpenFrame, kinds: tuple[type, ...]) -> Frame:
        """Return a frame that is this device's answer.

        Raises:
            WireError: if it is none.
        """
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
