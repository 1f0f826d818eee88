"""A cohort across MQTT: publishes a round's broadcast, gathers the devices' answers."""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from edgeloop.algorithm import Algorithm
from edgeloop.answers import Answer, Report
from edgeloop.bases import sending
from edgeloop.cohorts.announcing import Announcer
from edgeloop.cohorts.deadlines import RoundDeadlines as RoundDeadlines
from edgeloop.cohorts.events import (
    AnswersGathered,
    DeviceMessage,
    Event,
    LeftError,
    OpenRound,
    RoundOpened,
)
from edgeloop.cohorts.flood import FloodGate
from edgeloop.cohorts.judging import AnswerJudge, Judged
from edgeloop.cohorts.members import Members
from edgeloop.cohorts.rates import RateLimits
from edgeloop.cohorts.receipts import Receipts
from edgeloop.cohorts.roster import FOUGHT_OVER, Roster
from edgeloop.cohorts.uploads import SharedLog, UploadLog
from edgeloop.cohorts.write_behind import WriteBehind
from edgeloop.mqtt.connection import Arrival, MqttConnection, Reconnected
from edgeloop.protocol import wire
from edgeloop.protocol.gathering import Gathering, Verdict
from edgeloop.protocol.task import (
    EVICTED,
    LEFT,
    Contract,
    is_eviction,
    leaver,
    presence_topic,
    upload_topic,
)
from edgeloop.protocol.wire import Frame, WireError
from edgeloop.runtime.pace import LOG_LINES, LogRateLimiter, Timer
from edgeloop.runtime.tracing import NONE, SILENT, Tracer

log = logging.getLogger(__name__)

ANNOUNCE_SECONDS = 30.0
"""Between two announcements of a round that waits for answers."""

FAREWELL_SECONDS = 60.0
"""At most, at a run's end, for devices to hear that their last answers are here."""

FIRST_STATUS_SECONDS, STATUS_SECONDS = 10.0, 60.0
"""Before the first line on what is waited for, and between two of them."""

MOST_AT_ONCE = 200
"""Messages whose uploads are written together."""

INFLIGHT = 2 * MOST_AT_ONCE
"""Messages that the broker delivers before the first is acknowledged: so many are judged while
others are written."""

FETCH_SECONDS = 0.1
"""Between two looks at what others have written."""

LOOK_SECONDS = 0.002
"""Between two looks at whether uploads are written, while nothing else comes."""

U = TypeVar("U")
B = TypeVar("B")


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
        roster: of the run's devices, where it outlives this cohort.
        members: who is in the run; None for those that the contract lists.
        limits: what one device may send within a minute.
        shared: where others write uploads; None where all come on the connection.
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
        roster: Roster | None = None,
        members: Members | None = None,
        limits: RateLimits = RateLimits(),  # noqa: B008 - frozen
        shared: SharedLog | None = None,
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
        self._members = Members(contract) if members is None else members
        self._told = LogRateLimiter(clock=clock)
        self._roster = Roster(contract.devices, clock) if roster is None else roster
        packed = None if base is None else sending.encode(contract, base)
        self._roster.admit(self._members)
        self._announcer = Announcer(connection, self._members, self._roster, packed, clock)
        self._receipts = Receipts(connection, contract, clock)
        self._flood = FloodGate(limits, self._members, self._receipts, clock)
        self._judge = AnswerJudge(algorithm, uploads, self._members, self._receipts, tracer, clock)
        self._gathered_digests: Mapping[str, str] = {}
        self._open: tuple[Gathering[Frame], float] | None = None  # and when it was opened
        self._leaving: set[str] = set()
        self._evicted: set[str] = set()
        self._batch: list[tuple[Arrival, Judged | None]] = []  # judged, and not being written
        self._writes = WriteBehind()
        self._unusable: set[str] = set()  # whose stored answers to the open round do not count
        self._shared, self._fetch_again = shared, Timer(FETCH_SECONDS, clock=clock)
        self._asked: frozenset[str] | None = None  # in the open round; None for everybody
        self._again = Timer(announce_seconds, jitter=0.2, clock=clock)
        self._word = Timer(STATUS_SECONDS, FIRST_STATUS_SECONDS, clock=clock)
        self._announcer.announce()

    @staticmethod
    def subscriptions(task: str, shared: bool = False) -> list[str]:
        """Return what the server's link subscribes to; no uploads where others take them."""
        return [*([] if shared else [upload_topic(task, "+")]), presence_topic(task, "+")]

    def ask(
        self, round_number: int, broadcast: B, participants: Collection[str] | None = None
    ) -> Mapping[str, Answer[U]]:
        """Open a round and return its answers by client; resume a round that a crash cut off.

        Devices that are not to join are told so, and keep quiet.

        Raises:
            LeftError: if a device asks to be taken out, and can be; the answers are in the log.
            TooFewUploadsError: if the round was given up with fewer answers than the quorum.
        """
        self._asked = None if participants is None else frozenset(participants)
        kind = self._algorithm.upload
        frames = self._gathered(round_number, broadcast, self._deadlines.quorum, kind, Report)
        return {
            device: Answer(
                frame.messages.get(kind), frame[Report], round_number - frame.envelope.round
            )
            for device, frame in frames.items()
        }

    def finish(self, round_number: int, broadcast: B) -> Mapping[str, Report]:
        """Have the devices evaluate the last broadcast; return the reports that come in time.

        Raises:
            LeftError: as `ask`.
        """
        self._asked = None
        frames = self._gathered(round_number, broadcast, 0, Report)
        self._part_from(round_number, frames)
        return {device: frame[Report] for device, frame in frames.items()}

    def tell(self, round_number: int, broadcast: B) -> None:
        """Say where the run stands, which is over; nobody's answer is waited for."""
        self._announcer.open(round_number, broadcast, NONE, over=True)

    def open_round(self) -> OpenRound | None:
        """Return the round that takes answers now; any thread may ask."""
        if (found := self._open) is None:
            return None
        gathering, opened = found
        answered = frozenset(gathering.uploads.copy())
        return OpenRound(
            gathering.round_number,
            gathering.needed(),
            answered,
            gathering.invited - answered,
            self._clock() - opened,
        )

    def refuse(self, round_number: int, device: str, reason: str) -> None:
        """Tell a device that its accepted upload to the last round was set aside."""
        digest = self._gathered_digests.get(device)
        if digest is not None:
            self._receipts.give(device, round_number, digest, Verdict.IMPLAUSIBLE, reason)

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
        if not gathering.stalest:
            self._judge.forget_unfinished()  # as a round opens, that is an answer to one before
        if self._shared is not None:
            self._shared.begin(round_number)
        self._recall(gathering, kinds)
        self._settle(round_number, self._judge.judge_kept(gathering, kinds))
        begun = self._clock()
        asked = tuple(sorted(self._asked or ()))
        size = self._announcer.open(round_number, broadcast, self._notes, asked=asked)
        opened = self._clock()
        self._open = gathering, opened
        recalled = len(gathering.uploads)
        self._observe(RoundOpened(round_number, size, opened - begun, recalled, self._notes))
        self._listen(gathering, kinds)
        self._open = None
        self._gathered_digests = gathering.digests
        self._observe(
            AnswersGathered(round_number, len(gathering.missing()), self._clock() - opened)
        )
        return gathering.close()

    def _listen(self, gathering: Gathering[Frame], kinds: tuple[type, ...]) -> None:
        """Take what arrives until the round is over; meanwhile have nobody miss that it is open."""
        self._again.reset()
        while not gathering.is_over(now := self._clock()):
            soon = min(gathering.until(now), self._again.left(), self._word.left())
            self._hear_next(gathering, kinds, soon)
            if self._again.due():
                self._announcer.remind(gathering.missing())
            if self._word.due():
                self._log_waiting(gathering)
        self._write_all(gathering.round_number)
        if self._shared is not None:
            self._shared.end(gathering.round_number)
            self._fetch_all(self._shared, gathering, kinds)

    def _fetch_all(
        self, shared: SharedLog, gathering: Gathering[Frame], kinds: tuple[type, ...]
    ) -> None:
        """Offer all that others have written, some at a time."""
        while self._fetch(shared, gathering, kinds) == MOST_AT_ONCE:
            pass

    def _fetch(
        self, shared: SharedLog, gathering: Gathering[Frame], kinds: tuple[type, ...]
    ) -> int:
        """Offer what others have written; return how much that is."""
        number = gathering.round_number
        known = gathering.uploads.keys() | self._unusable
        found = shared.arrived(number, known, MOST_AT_ONCE)
        for device, payload in found.items():
            frame = self._offer_stored(gathering, device, payload, kinds)
            if frame is None:
                self._unusable.add(device)
                continue
            self._roster.heard_of(device)
            told = frame[Report]
            self._observe(DeviceMessage(device, Verdict.ACCEPTED, len(payload), report=told))
        return len(found)

    def _hear_next(
        self, gathering: Gathering[Frame], kinds: tuple[type, ...], seconds: float
    ) -> None:
        """Take what has arrived, or does next in time; ask for what is missing."""
        soon = min(seconds, self._receipts.left(), self._announcer.left())
        if self._writes.is_open:
            soon = min(soon, LOOK_SECONDS)
        if self._shared is not None:
            soon = min(soon, self._fetch_again.left())
        arrivals: list[Arrival] = []
        for event in self._connection.receive_all(soon, MOST_AT_ONCE - len(self._batch)):
            if isinstance(event, Reconnected):
                self._announcer.look()
                self._again.reset()
            elif self._announcer.take(event):
                event.acknowledge()
            else:
                arrivals.append(event)
        self._take(gathering, arrivals, kinds)
        if self._shared is not None and self._fetch_again.due():
            self._fetch_all(self._shared, gathering, kinds)
        self._announcer.settle_late()
        self._receipts.ask_missing(self._judge.assemblers, gathering.round_number)

    def _part_from(self, round_number: int, frames: Mapping[str, Frame]) -> None:
        """Say that the run is over; stay until who answered and is there has heard of it."""
        self._announcer.end()
        gathering = self._gathering(round_number + 1, 0)  # so that what comes now is late
        gathering.digests.update({device: frame.digest for device, frame in frames.items()})
        end = self._clock() + FAREWELL_SECONDS
        while self._roster.unsettled(frames, self._contract.run, round_number):
            if (left := end - self._clock()) <= 0:
                break
            self._hear_next(gathering, (Report,), min(left, 1.0))
        self._write_all(gathering.round_number)

    def _recall(self, gathering: Gathering[Frame], kinds: tuple[type, ...]) -> None:
        """Offer what is stored; what is refused today is dropped, and its device may send again."""
        number = gathering.round_number
        self._unusable.clear()
        for device, payload in self._uploads.recall(number).items():
            frame = self._offer_stored(gathering, device, payload, kinds)
            if frame is not None:
                base = frame.envelope.round
                self._receipts.give(device, base, frame.digest, Verdict.ACCEPTED)

    def _offer_stored(
        self, gathering: Gathering[Frame], device: str, payload: bytes, kinds: tuple[type, ...]
    ) -> Frame | None:
        """Offer what is stored of a device; None, and it is dropped, if it is refused today."""
        number = gathering.round_number
        try:
            frame = self._judge.decoded(device, wire.open_frame(payload), kinds)
        except WireError as error:
            facts = {"device": device, "round": number}
            text = "round %d: ignored the stored answer of %s: %s"
            log.warning(text, number, device, error, extra=facts)
            self._uploads.drop(number, device)
            return None
        verdict = gathering.offer(device, frame.envelope.round, frame.digest, frame)
        return None if verdict is Verdict.UNINVITED and self._shared is not None else frame

    def _gathering(self, round_number: int, quorum: int) -> Gathering[Frame]:
        asked = frozenset(self._members)
        if self._asked is not None:
            asked &= self._asked
            quorum = min(quorum, len(asked))
        return self._deadlines.gathering(
            round_number,
            asked,
            quorum,
            self._clock(),
            may_grow=self._members.are_open and self._asked is None,
            there=self._roster.able,
        )

    def _log_waiting(self, gathering: Gathering[Frame]) -> None:
        """Say what the round waits for."""
        number, missing = gathering.round_number, sorted(gathering.missing())
        last = number >= self._contract.rounds
        what = "last evaluation" if last else f"round {number} of {self._contract.rounds}"
        names = [f"{each} ({self._roster.describe(each)})" for each in missing[:5]]
        more = len(missing) - len(names)
        log.info(
            "%s: %s, waits for %d of %d devices: %s%s",
            what,
            self._connection.state,
            len(missing),
            len(self._members),
            ", ".join(names),
            f" and {more} more" if more else "",
            extra={"round": number, "missing": len(missing)},
        )

    def _take(
        self, gathering: Gathering[Frame], arrivals: Iterable[Arrival], kinds: tuple[type, ...]
    ) -> None:
        """Judge what has arrived, while what was judged before is written.

        Nothing that a device sends can end a round.
        """
        self._batch += [(each, self._heard(gathering, each, kinds)) for each in arrivals]
        leave = bool(self._leaving or self._evicted)
        if leave or len(self._batch) >= MOST_AT_ONCE or not self._writes.is_running:
            self._write(gathering.round_number)
        if leave:
            self._writes.settle()
            raise LeftError(self._leaving, self._evicted)

    def _settle(self, number: int, judged: Sequence[Judged]) -> None:
        """Write what counts of what was judged, and then tell of it."""
        if any(each.upload for each in judged):
            self._record(number, judged)
        self._tell(judged, ())

    def _write(self, number: int) -> None:
        """Begin to write what was judged since the last time; tell of what was written then."""
        self._writes.settle()
        batch, self._batch = self._batch, []
        judged = [each for _, each in batch if each is not None]
        tell = partial(self._tell, judged, [arrival for arrival, _ in batch])
        if any(each.upload for each in judged):
            self._writes.begin(partial(self._record, number, judged), tell)
        else:
            tell()

    def _write_all(self, number: int) -> None:
        """Return when all that was judged is written, and told of."""
        self._write(number)
        self._writes.settle()

    def _tell(self, judged: Iterable[Judged], arrivals: Iterable[Arrival]) -> None:
        """Tell of what is safe now: devices, the observer, and last the broker."""
        with self._connection.together():
            for each in judged:
                if each.message is not None:
                    self._observe(each.message)
                each.receipt()
            for arrival in arrivals:
                arrival.acknowledge()

    def _record(self, number: int, judged: Iterable[Judged]) -> None:
        """Make the uploads of a batch safe, all in one step."""
        new = [each for each in judged if each.upload is not None]
        first, *others = (each.message.notes for each in new if each.message is not None)
        with self._tracer.span("record", first, others, uploads=len(new)):
            self._uploads.record_all(number, [each.upload for each in new if each.upload])

    def _heard(
        self, gathering: Gathering[Frame], arrival: Arrival, kinds: tuple[type, ...]
    ) -> Judged | None:
        """Judge one packet; None for a part of an answer."""
        channel, device = arrival.topic.split("/")[-2:]
        self._admit(gathering, device, arrival)
        parts = channel == "presence" and arrival.payload in (LEFT, EVICTED)
        number = gathering.round_number
        if not parts and (told := self._flood.refused(device, number, channel, arrival.payload)):
            return told
        if channel == "presence":
            return Judged(self._hear(device, arrival))
        self._roster.heard_of(device)
        return self._judge.judge(gathering, device, arrival, kinds)

    def _admit(self, gathering: Gathering[Frame], device: str, arrival: Arrival) -> None:
        """Take a device in at its first message, if it may join; it is safe before that counts."""
        comes = arrival.topic != presence_topic(self._contract.task, device) or (
            arrival.payload == b"online" and wire.speaks(arrival.notes) >= 1
        )
        if not comes or not self._members.admit(device, gathering.round_number):
            return
        self._judge.admit(device)
        self._roster.admit([device])
        if self._asked is None:
            gathering.invite(device)
        self._announcer.admitted()
        self._observe(DeviceMessage(device, joined=True))

    def _hear(self, device: str, arrival: Arrival) -> DeviceMessage:
        """Take a device's word on whether it is there, and what it is doing."""
        self._roster.hear(device, arrival)
        if (
            self._roster.is_fought_over(device)
            and self._told.allowed(f"fight {device}") == LOG_LINES
        ):
            text = "device %s: %s; stop one, or give it another name"
            log.warning(text, device, FOUGHT_OVER, extra={"device": device})
        invited = device in self._members
        if invited and leaver(self._contract, arrival.topic, arrival.payload, arrival.notes):
            self._leave(device)
        if invited and is_eviction(self._contract, arrival.payload, arrival.notes):
            self._evicted.add(device)
        return DeviceMessage(device, online=arrival.payload == b"online")

    def _leave(self, device: str) -> None:
        if self._algorithm.remove_clients is not None:
            self._leaving.add(device)
        elif self._told.allowed(f"left {device}"):
            text = "%s asks to be taken out, and %s cannot do that: begin a new run without it"
            log.warning(text, device, self._contract.algorithm, extra={"device": device})
