"""What came of devices' answers since the aggregator's start, for `/status`: nothing is stored."""

import math
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from cloud.aggregator.ledger import PastRound
from edgeloop.cohorts.events import DeviceMessage, UploadExcluded
from edgeloop.protocol.gathering import Verdict
from edgeloop.runtime.logs import one_line
from edgeloop.runtime.pace import LogRateLimiter

MOST_REFUSALS = 200
"""The newest that are kept; whoever looks every few seconds misses none."""

_LONGEST_NAME, _LONGEST_REASON = 64, 300
_TAKEN = (Verdict.ACCEPTED, Verdict.DUPLICATE)
_REASONS = {
    Verdict.CONFLICT: "it is not the answer that the device has given to this round before",
    Verdict.LATE: "it is to a round that was closed without it",
    Verdict.WRONG_ROUND: "it is to a later round, or to another run of the task",
    Verdict.UNINVITED: "the device is not in the run",
    Verdict.NOT_ASKED: "the device was not asked in this round",
    Verdict.TOO_MANY: "the device sends more within a minute than it may: it was not read",
    Verdict.MALFORMED: "it cannot be read",
}


class RefusedAnswer(BaseModel):
    """An answer that was not taken.

    Attributes:
        serial: the same whenever it is told again, and no other's.
        device: whose it was.
        round: the one that was open.
        verdict: what was found, as `edgeloop_uploads_total` names it.
        reason: the same in a sentence.
        at: when it came.
    """

    model_config = ConfigDict(frozen=True)

    serial: str
    device: str
    round: int
    verdict: str
    reason: str
    at: datetime


class Received(NamedTuple):
    """What a device has sent: bytes, and when the last answer came that was taken."""

    size: int = 0
    last_answer: datetime | None = None


@dataclass(frozen=True)
class RoundFacts:
    """What a round was like; None for what was not heard of since the start.

    Attributes:
        bytes_up: of all answers to it.
        bytes_down: of its broadcast, once; 0 if the broker had it already.
        low: the 10th percentile of the accuracies of the devices that answered.
        median: the 50th.
        high: the 90th.
        measures: the algorithm's own numbers of it.
    """

    bytes_up: int | None = None
    bytes_down: int | None = None
    low: float | None = None
    median: float | None = None
    high: float | None = None
    measures: Mapping[str, float] = field(default_factory=dict)


def utc() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


class AnswerRecord:
    """What is known of answers; any thread may tell it, and ask.

    Args:
        now: the clock.
    """

    def __init__(self, now: Callable[[], datetime] = utc) -> None:
        self._now, self._lock = now, threading.Lock()
        self._process, self._count = secrets.token_hex(8), 0
        self._refusals: deque[RefusedAnswer] = deque(maxlen=MOST_REFUSALS)
        self._received: dict[str, Received] = {}
        self._rounds: dict[int, RoundFacts] = {}
        self._lines = LogRateLimiter()

    def opened(self, round_number: int, size: int) -> None:
        """A round was opened with a broadcast of so many bytes."""
        with self._lock:
            known = self._rounds.get(round_number, RoundFacts(bytes_up=0))
            self._rounds[round_number] = replace(known, bytes_down=(known.bytes_down or 0) + size)

    def answered(self, message: DeviceMessage, round_number: int, *, invited: bool) -> None:
        """An answer came while a round was open; of a stranger nothing but its refusal is kept."""
        verdict = message.verdict
        if verdict is None:
            return
        with self._lock:
            known = self._rounds.get(round_number, RoundFacts())
            sent = (known.bytes_up or 0) + message.size
            self._rounds[round_number] = replace(known, bytes_up=sent)
            if invited:
                before = self._received.get(message.device, Received())
                last = self._now() if verdict in _TAKEN else before.last_answer
                self._received[message.device] = Received(before.size + message.size, last)
        if verdict not in _TAKEN and self._lines.allowed(message.device * invited):
            self._refuse(message.device, round_number, verdict, message.reason)

    def excluded(self, event: UploadExcluded) -> None:
        """A round was made without an answer that had been taken."""
        self._refuse(event.device, event.round_number, event.verdict, event.reason)

    def closed(
        self, round_number: int, accuracies: Iterable[float], measures: Mapping[str, float]
    ) -> None:
        """A round was closed.

        Args:
            round_number: its number.
            accuracies: of the devices that have test samples, before its training.
            measures: the algorithm's own numbers.
        """
        found = sorted(accuracies)
        low, median, high = (_quantile(found, share) for share in (0.1, 0.5, 0.9))
        with self._lock:
            known = self._rounds.get(round_number, RoundFacts())
            self._rounds[round_number] = replace(
                known,
                low=low,
                median=median,
                high=high,
                measures={name: each for name, each in measures.items() if math.isfinite(each)},
            )

    def received(self, device: str) -> Received:
        """Return what a device has sent."""
        return self._received.get(device, Received())

    def refusals(self) -> tuple[RefusedAnswer, ...]:
        """Return the newest refusals, in the order in which they came."""
        with self._lock:
            return tuple(self._refusals)

    def told(self, past: PastRound) -> PastRound:
        """Return a closed round with what is known of it."""
        known = self._rounds.get(past.number)
        if known is None:
            return past
        return replace(past, **vars(known) | {"measures": known.measures or past.measures})

    def _refuse(self, device: str, round_number: int, verdict: Verdict, reason: str) -> None:
        with self._lock:
            self._count += 1
            refused = RefusedAnswer(
                serial=f"{self._process}.{self._count}",
                device=one_line(device)[:_LONGEST_NAME],
                round=round_number,
                verdict=verdict.name.lower(),
                reason=one_line(reason or _REASONS.get(verdict, verdict.value))[:_LONGEST_REASON],
                at=self._now(),
            )
            self._refusals.append(refused)


def _quantile(ordered: list[float], share: float) -> float | None:
    return ordered[round(share * (len(ordered) - 1))] if ordered else None
