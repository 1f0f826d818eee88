"""How large the pieces of what is sent should be, by how fast the link has taken those before."""

import time
from collections import OrderedDict
from collections.abc import Callable

PIECE_SECONDS = 4.0
"""That one piece should take: shorter than a keep-alive, longer than a round trip."""

FIRST_BYTES = 65_536
"""Of a piece, while nothing is known of the link."""

_LEAST_SAMPLE = 2048  # bytes; what is smaller tells of the round trip alone
_MOST_UNDER_WAY = 1000


class LinkPace:
    """Measures a link by the broker's acknowledgements.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._rate: float | None = None  # bytes a second
        self._under_way: OrderedDict[int, tuple[float, int]] = OrderedDict()
        self._last = 0.0  # when the last one was acknowledged

    def connected(self) -> None:
        """A new connection is there: what is under way now has waited for it."""
        self._under_way.clear()

    def sent(self, number: int, size: int, begun: float) -> None:
        """A packet of so many bytes is on its way since a time."""
        self._under_way[number] = begun, size
        if len(self._under_way) > _MOST_UNDER_WAY:
            self._under_way.popitem(last=False)

    def acknowledged(self, number: int) -> None:
        """The broker has a packet."""
        now = self.clock()
        begun, size = self._under_way.pop(number, (now, 0))
        took, self._last = now - max(begun, self._last), now
        if size >= _LEAST_SAMPLE:
            rate, before = size / max(took, 1e-3), self._rate
            is_slow = before is None or rate < before  # that is believed at once, the other by half
            self._rate = rate if is_slow or before is None else (before + rate) / 2

    def piece(self, most: int) -> int:
        """Return how many bytes a piece should have, of at most so many."""
        wanted = FIRST_BYTES if self._rate is None else int(self._rate * PIECE_SECONDS)
        return min(most, wanted)
