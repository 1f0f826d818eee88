"""How much one device may send: what is more is not read, and costs the others nothing."""

import time
from collections.abc import Callable
from dataclasses import dataclass

MEGABYTE = 2**20
MINUTE = 60.0


@dataclass(frozen=True)
class RateLimits:
    """What one device may send within a minute; strangers have as much, all together.

    Attributes:
        messages: how many.
        size: bytes.
    """

    messages: int = 6_000
    size: int = 1024 * MEGABYTE

    def __str__(self) -> str:
        return f"{self.messages} messages and {self.size // MEGABYTE} MB a minute"


@dataclass
class _Left:
    """What is left of a minute's worth, and when that was so."""

    messages: float
    size: float
    when: float


class RateLimiter:
    """Counts what devices send; what is not used fills up again, to a minute's worth.

    Args:
        limits: of each.
        clock: seconds that never go back.
    """

    def __init__(self, limits: RateLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits, self._clock = limits, clock
        self._left: dict[str, _Left] = {}

    def takes(self, who: str, size: int) -> bool:
        """Count a message of so many bytes; tell whether it is to be read.

        A message that is larger than what is left is, if anything is left: else a limit below a
        packet's size would take nothing at all.
        """
        left = self._now(who)
        if left.messages < 1 or left.size <= 0:
            return False
        left.messages -= 1
        left.size -= size
        return True

    def _now(self, who: str) -> _Left:
        now, most = self._clock(), self.limits
        if (left := self._left.get(who)) is None:
            left = self._left[who] = _Left(most.messages, most.size, now)
            return left
        part = (now - left.when) / MINUTE
        left.messages = min(most.messages, left.messages + part * most.messages)
        left.size = min(most.size, left.size + part * most.size)
        left.when = now
        return left
