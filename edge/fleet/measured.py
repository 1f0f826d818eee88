"""What a fleet measures."""

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass
class RoundMeasured:
    """A round as the fleet saw it; its seconds are on the fleet's clock.

    Attributes:
        first: when the first upload left.
        last: when the broker had taken the last one.
        latencies: seconds from an upload's leaving to the broker's word on it.
        receipts: seconds from an upload's leaving to its receipt: the ledger has it.
        size: bytes of an upload.
    """

    first: float = math.inf
    last: float = -math.inf
    latencies: list[float] = field(default_factory=list)
    receipts: list[float] = field(default_factory=list)
    size: int = 0

    @property
    def rate(self) -> float:
        """Uploads a second, from the first one's leaving to the last word on one."""
        seconds = self.last - self.first
        return len(self.latencies) / seconds if seconds > 0 else math.nan


@dataclass
class Measured:
    """All of it.

    Attributes:
        devices: that were asked for.
        connected: how many have been connected.
        connect_seconds: until all of them were, or had failed.
        rounds: by their numbers; the last evaluation is one.
        failures: how often what has failed.
    """

    devices: int
    connected: int = 0
    connect_seconds: float = 0.0
    rounds: dict[int, RoundMeasured] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    clock: Callable[[], float] = time.perf_counter

    def left(self, number: int, size: int) -> float:
        """An upload leaves; return when."""
        now = self.clock()
        found = self.rounds.setdefault(number, RoundMeasured())
        found.first, found.size = min(found.first, now), max(found.size, size)
        return now

    def taken(self, number: int, since: float) -> None:
        """The broker has taken an upload that left then."""
        now, found = self.clock(), self.rounds[number]
        found.last = max(found.last, now)
        found.latencies.append(now - since)

    def receipted(self, number: int, since: float) -> None:
        """The receipt of an upload that left then is here."""
        now, found = self.clock(), self.rounds[number]
        found.last = max(found.last, now)
        found.receipts.append(now - since)

    def failed(self, what: str) -> None:
        """Something has failed."""
        self.failures[what] += 1


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that a share of the others does not exceed; NaN of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else math.nan


def rows(found: Measured) -> list[tuple[str, ...]]:
    """Return a row a round, as `COLUMNS` says."""
    return [
        (
            str(number),
            f"{len(each.latencies)} of {found.connected}",
            str(each.size),
            f"{each.rate:.0f}",
            *(_milliseconds(each.latencies, share) for share in (0.5, 0.99)),
            str(len(each.receipts)),
            *(_milliseconds(each.receipts, share) for share in (0.5, 0.99)),
        )
        for number, each in sorted(found.rounds.items())
    ]


def _milliseconds(values: Sequence[float], share: float) -> str:
    return f"{1000 * quantile(values, share):.1f}" if values else ""


COLUMNS = (
    *("round", "uploads", "bytes", "uploads/s", "broker: p50 ms", "p99 ms"),
    *("receipts", "ledger: p50 ms", "p99 ms"),
)
"""Times are from an upload's leaving to the broker's acknowledgement, and to the receipt."""
