"""When something is due that is done again and again, and how long to wait for a connection."""

import random
import time
from collections.abc import Callable

BRIEF_SECONDS, BRIEF_LIMIT = 5.0, 5  # so many connections in a row, so brief, are no accident
STEADY_SECONDS = 120.0  # a connection that lasts so long makes up for brief ones
FIRST_SECONDS, AGAIN_SECONDS = 0.2, 1.0  # before the second attempt, at the start and later
AWAY_SECONDS, UNSTEADY_SECONDS = 30.0, 60.0  # the longest waits

LOG_LINES = 20

Clock = Callable[[], float]


class Timer:
    """Tells when something is due again.

    Args:
        period: seconds between two times.
        first: seconds before the first time; the period if not given.
        jitter: the share of the period that each time may differ by, so that many who began
            together do not continue together.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        period: float,
        first: float | None = None,
        jitter: float = 0.0,
        clock: Clock = time.monotonic,
    ) -> None:
        self._period, self._jitter, self._clock = period, jitter, clock
        self._next = clock() + (self._drawn() if first is None else first)

    def _drawn(self) -> float:
        return self._period * random.uniform(1 - self._jitter, 1 + self._jitter)  # noqa: S311

    def due(self) -> bool:
        """Return whether the time has come; if so, the next one is a period later."""
        if self._clock() < self._next:
            return False
        self.reset()
        return True

    def reset(self) -> None:
        """Have the next time a period from now."""
        self._next = self._clock() + self._drawn()

    def left(self) -> float:
        """Return the seconds until the next time."""
        return max(0.0, self._next - self._clock())


class LogRateLimiter:
    """Tells how many more lines may be written, so that nobody can fill a log.

    Args:
        most: lines of one kind within a period.
        period: seconds.
        clock: seconds that never go back.
    """

    def __init__(
        self, most: int = LOG_LINES, period: float = 60.0, clock: Clock = time.monotonic
    ) -> None:
        self._most, self._period, self._clock = most, period, clock
        self._counts: dict[str, tuple[float, int]] = {}

    def allowed(self, kind: str) -> int:
        """Return how many lines of a kind may be written now, this one among them."""
        now = self._clock()
        begun, count = self._counts.get(kind, (now, 0))
        if now - begun >= self._period:
            begun, count = now, 0
        self._counts[kind] = begun, count + 1
        return max(0, self._most - count)


class Backoff:
    """How long to wait before connecting again: longer while it fails, or does not last."""

    def __init__(self) -> None:
        self.brief = 0
        self._failed = 0
        self._least = FIRST_SECONDS

    def connected(self) -> None:
        """A connection is up."""
        self._failed, self._least = 0, AGAIN_SECONDS

    def failed(self) -> None:
        """An attempt failed."""
        self._failed += 1

    def lost(self, lasted: float, taken_over: bool) -> None:
        """A connection was lost after so many seconds, perhaps to another client of this id."""
        if taken_over or lasted < BRIEF_SECONDS:
            self.brief += 1
        elif lasted > STEADY_SECONDS:
            self.brief = 0

    @property
    def unsteady(self) -> bool:
        """Whether connections do not last."""
        return self.brief > BRIEF_LIMIT

    def pause(self) -> float:
        """Return how many seconds to wait."""
        away = min(AWAY_SECONDS, self._least * 2.0 ** min(self._failed, 20))
        doubled = min(max(0, self.brief - BRIEF_LIMIT), 20)
        unsteady = min(UNSTEADY_SECONDS, AGAIN_SECONDS * 2.0**doubled) if doubled else 0.0
        return max(away, unsteady) * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
