"""Answers to the open round that are written already: before a restart, or by other processes."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from edgeloop.answers import Report
from edgeloop.cohorts.batches import MOST_AT_ONCE
from edgeloop.cohorts.events import DeviceMessage, Event
from edgeloop.cohorts.judging import AnswerJudge
from edgeloop.cohorts.receipts import Receipts
from edgeloop.cohorts.roster import Roster
from edgeloop.cohorts.uploads import SharedLog, UploadLog
from edgeloop.protocol import wire
from edgeloop.protocol.gathering import Gathering, Verdict
from edgeloop.protocol.wire import Frame, WireError
from edgeloop.runtime.pace import Timer

log = logging.getLogger(__name__)

FETCH_SECONDS = 0.1
"""Between two looks at what others have written."""


@dataclass
class StoredAnswers:
    """Gives a round the answers to it that its log holds.

    Attributes:
        uploads: where uploads are safe.
        judge: reads them.
        receipts: tell devices that their answers count.
        roster: hears of the devices whose answers others have taken.
        observe: called with each answer that others have taken.
        clock: seconds that never go back.
        shared: where others write uploads; None where all come on the connection.
    """

    uploads: UploadLog
    judge: AnswerJudge
    receipts: Receipts
    roster: Roster
    observe: Callable[[Event], None]
    clock: Callable[[], float]
    shared: SharedLog | None = None
    _unusable: set[str] = field(default_factory=set)  # whose stored answers do not count
    _fetch_again: Timer = field(init=False)

    def __post_init__(self) -> None:
        self._fetch_again = Timer(FETCH_SECONDS, clock=self.clock)

    def begin(self, gathering: Gathering[Frame]) -> None:
        """Offer what is stored; what is refused today is dropped, and its device may send again."""
        number = gathering.round_number
        if self.shared is not None:
            self.shared.begin(number)
        self._unusable.clear()
        for device, payload in self.uploads.recall(number).items():
            frame = self._offer(gathering, device, payload)
            if frame is not None:
                base = frame.envelope.round
                self.receipts.give(device, base, frame.digest, Verdict.ACCEPTED)

    def left(self) -> float:
        """Return the seconds until the next look at what others have written."""
        return float("inf") if self.shared is None else self._fetch_again.left()

    def fetch_due(self, gathering: Gathering[Frame]) -> None:
        """Offer what others have written, if it is time to look."""
        if self.shared is not None and self._fetch_again.due():
            self._fetch_all(self.shared, gathering)

    def end(self, gathering: Gathering[Frame]) -> None:
        """Let nobody write to the round any more, and offer what others have written."""
        if self.shared is not None:
            self.shared.end(gathering.round_number)
            self._fetch_all(self.shared, gathering)

    def _fetch_all(self, shared: SharedLog, gathering: Gathering[Frame]) -> None:
        """Offer all that others have written, some at a time."""
        while self._fetch(shared, gathering) == MOST_AT_ONCE:
            pass

    def _fetch(self, shared: SharedLog, gathering: Gathering[Frame]) -> int:
        """Offer what others have written; return how much that is."""
        known = gathering.uploads.keys() | self._unusable
        found = shared.arrived(gathering.round_number, known, MOST_AT_ONCE)
        for device, payload in found.items():
            frame = self._offer(gathering, device, payload)
            if frame is None:
                self._unusable.add(device)
                continue
            self.roster.heard_of(device)
            report, size = frame[Report], len(payload)
            self.observe(DeviceMessage(device, Verdict.ACCEPTED, size, report=report))
        return len(found)

    def _offer(self, gathering: Gathering[Frame], device: str, payload: bytes) -> Frame | None:
        """Offer what is stored of a device; None, and it is dropped, if it is refused today."""
        number = gathering.round_number
        try:
            frame = self.judge.decoded(device, wire.open_frame(payload), gathering.kinds)
        except WireError as error:
            facts = {"device": device, "round": number}
            text = "round %d: ignored the stored answer of %s: %s"
            log.warning(text, number, device, error, extra=facts)
            self.uploads.drop(number, device)
            return None
        verdict = gathering.offer(device, frame.envelope.round, frame.digest, frame)
        return None if verdict is Verdict.UNINVITED and self.shared is not None else frame
