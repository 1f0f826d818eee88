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
        size: bytes of an upload.
    """

    first: float = math.inf
    last: float = -math.inf
    latencies: list[float] = field(default_factory=list)
    size: int = 0

    @property
    def rate(self) -> float:
        """Uploads a second, from the first one's leaving to the broker's word on the last."""
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

    def failed(self, what: str) -> None:
        """Something has failed."""
        self.failures[what] += 1


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that a share of the others does not exceed; NaN of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else math.nan


def rows(found: Measured) -> list[tuple[str, ...]]:
    """Return a row a round: number, uploads, bytes, uploads a second, p50 and p99 in ms."""
    return [
        (
            str(number),
            f"{len(each.latencies)} of {found.connected}",
            str(each.size),
            f"{each.rate:.0f}",
            f"{1000 * quantile(each.latencies, 0.5):.1f}",
            f"{1000 * quantile(each.latencies, 0.99):.1f}",
        )
        for number, each in sorted(found.rounds.items())
    ]


COLUMNS = ("round", "uploads", "bytes", "uploads/s", "p50 ms", "p99 ms")
