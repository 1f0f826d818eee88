"""A cohort across MQTT: publishes a round's broadcast, gathers the devices' answers."""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, Generic, TypeVar

from edgeloop.algorithm import Algorithm
from edgeloop.answers import Answer, Report
from edgeloop.bases import sending
from edgeloop.cohorts.announcing import Announcer
from edgeloop.cohorts.batches import INFLIGHT as INFLIGHT
from edgeloop.cohorts.batches import MOST_AT_ONCE as MOST_AT_ONCE
from edgeloop.cohorts.batches import BatchWriter
from edgeloop.cohorts.deadlines import RoundDeadlines as RoundDeadlines
from edgeloop.cohorts.events import AnswersGathered, Event, LeftError, OpenRound, RoundOpened
from edgeloop.cohorts.flood import FloodGate
from edgeloop.cohorts.judging import AnswerJudge
from edgeloop.cohorts.members import Members
from edgeloop.cohorts.packets import PacketReader
from edgeloop.cohorts.rates import RateLimits
from edgeloop.cohorts.receipts import Receipts
from edgeloop.cohorts.roster import Roster
from edgeloop.cohorts.stored import StoredAnswers
from edgeloop.cohorts.uploads import SharedLog, UploadLog
from edgeloop.mqtt.connection import Arrival, MqttConnection, Reconnected
from edgeloop.protocol.gathering import Gathering, Verdict
from edgeloop.protocol.task import Contract, presence_topic, upload_topic
from edgeloop.protocol.wire import Frame
from edgeloop.runtime.pace import LogRateLimiter, Timer
from edgeloop.runtime.tracing import NONE, SILENT, Tracer

log = logging.getLogger(__name__)

ANNOUNCE_SECONDS = 30.0
"""Between two announcements of a round that waits for answers."""

FAREWELL_SECONDS = 60.0
"""At most, at a run's end, for devices to hear that their last answers are here."""

FIRST_STATUS_SECONDS, STATUS_SECONDS = 10.0, 60.0
"""Before the first line on what is waited for, and between two of them."""

LOOK_SECONDS = 0.002
"""Between two looks at whether uploads are written, while nothing else comes."""

U = TypeVar("U")
B = TypeVar("B")


class MqttCohort(Generic[B, U]):
    """The server's end of a task.

    Args:
        connection: subscribed to the task's `subscriptions`.
        contract: of the task; published at the start.
        algorithm: of the contract.
        deadlines: how long to wait, and for whom.
        uploads: where uploads are safe.
        observe: called with every round that opens and ends, and with all that a device sends.
        clock: seconds that never go back.
        tracer: follows each answer; the notes of a round's trace go out with the round.
        announce_seconds: between two announcements of a round that waits for answers.
        base: the graph of the base that devices compute on; held by the broker for them.
        roster: of the run's devices, where it outlives this cohort.
        members: who is in the run; None for those that the contract lists.
        limits: what one device may send within a minute.
        shared: where others write uploads; None where all come on the connection.
    """

    JUDGE: ClassVar[type[AnswerJudge]] = AnswerJudge

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
        self._observe = observe
        self._clock = clock
        self._tracer = tracer
        self._notes = NONE
        self._members = Members(contract) if members is None else members
        self._roster = Roster(contract.devices, clock) if roster is None else roster
        self._roster.admit(self._members)
        packed = None if base is None else sending.encode(contract, base)
        self._announcer = Announcer(connection, self._members, self._roster, packed, clock)
        self._receipts = Receipts(connection, contract, clock)
        self._flood = FloodGate(limits, self._members, self._receipts, clock)
        judged = algorithm, uploads, self._members, self._receipts, tracer, clock
        self._judge = self.JUDGE(*judged)
        self._packets = PacketReader(
            algorithm,
            self._members,
            self._roster,
            self._announcer,
            self._flood,
            self._judge,
            observe,
            LogRateLimiter(clock=clock),
        )
        self._stored = StoredAnswers(
            uploads, self._judge, self._receipts, self._roster, observe, clock, shared
        )
        self._batches = BatchWriter(connection, uploads, observe, tracer)
        self._gathered_digests: Mapping[str, str] = {}
        self._open: tuple[Gathering[Frame], float] | None = None  # and when it was opened
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

        The opening names who is to train; others keep quiet.

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
        gathering = self._gathering(round_number, quorum, kinds)
        with self._tracer.span("gather", task=task, run=run, round=round_number) as self._notes:
            return self._gather(gathering, broadcast)

    def _gather(self, gathering: Gathering[Frame], broadcast: B) -> Mapping[str, Frame]:
        number = gathering.round_number
        if not gathering.stalest:
            self._judge.forget_unfinished()  # as a round opens, that is an answer to one before
        self._stored.begin(gathering)
        self._batches.write_now(number, self._judge.judge_kept(gathering))
        begun = self._clock()
        asked = tuple(sorted(self._asked or ()))
        size = self._announcer.open(number, broadcast, self._notes, asked=asked)
        opened = self._clock()
        self._open = gathering, opened
        recalled = len(gathering.uploads)
        self._observe(RoundOpened(number, size, opened - begun, recalled, self._notes))
        self._listen(gathering)
        self._open = None
        self._gathered_digests = gathering.digests
        self._observe(AnswersGathered(number, len(gathering.missing()), self._clock() - opened))
        return gathering.close()

    def _listen(self, gathering: Gathering[Frame]) -> None:
        """Take what arrives until the round is over; meanwhile have nobody miss that it is open."""
        self._again.reset()
        while not gathering.is_over(now := self._clock()):
            soon = min(gathering.until(now), self._again.left(), self._word.left())
            self._hear_next(gathering, soon)
            if self._again.due():
                self._remind(gathering)
            if self._word.due():
                self._log_waiting(gathering)
        self._batches.write_all(gathering.round_number)
        self._stored.end(gathering)

    def _remind(self, gathering: Gathering[Frame]) -> None:
        """Say again what is waited for."""
        self._announcer.remind(gathering.missing())

    def _hear_next(self, gathering: Gathering[Frame], seconds: float) -> None:
        """Take what has arrived, or does next in time; ask for what is missing."""
        soon = min(seconds, self._receipts.left(), self._announcer.left(), self._stored.left())
        if self._batches.is_writing:
            soon = min(soon, LOOK_SECONDS)
        arrivals: list[Arrival] = []
        for event in self._connection.receive_all(soon, self._batches.room):
            if isinstance(event, Reconnected):
                self._announcer.look()
                self._again.reset()
            elif self._announcer.take(event):
                event.acknowledge()
            else:
                arrivals.append(event)
        self._take(gathering, arrivals)
        self._stored.fetch_due(gathering)
        self._announcer.settle_late()
        self._receipts.ask_missing(self._judge.assemblers, gathering.round_number)

    def _take(self, gathering: Gathering[Frame], arrivals: Collection[Arrival]) -> None:
        """Judge what has arrived, while what was judged before is written.

        Raises:
            LeftError: if devices leave; what came with their word is safe. Nothing else that a
                device sends can end a round.
        """
        packets, number = self._packets, gathering.round_number
        judged = [(each, packets.read(gathering, each)) for each in arrivals]
        self._batches.add(number, judged)
        if packets.leaving or packets.evicted:
            self._batches.write_all(number)
            raise LeftError(packets.leaving, packets.evicted)

    def _part_from(self, round_number: int, frames: Mapping[str, Frame]) -> None:
        """Say that the run is over; stay until who answered and is there has heard of it."""
        self._announcer.end()
        # A round after the last, so that what comes now is late.
        gathering = self._gathering(round_number + 1, 0, (Report,))
        gathering.digests.update({device: frame.digest for device, frame in frames.items()})
        end = self._clock() + FAREWELL_SECONDS
        while self._roster.unsettled(frames, self._contract.run, round_number):
            if (left := end - self._clock()) <= 0:
                break
            self._hear_next(gathering, min(left, 1.0))
        self._batches.write_all(gathering.round_number)

    def _gathering(
        self, round_number: int, quorum: int, kinds: tuple[type, ...]
    ) -> Gathering[Frame]:
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
            kinds=kinds,
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
