"""Messages of a device that sends too many: not read; a receipt says so now and then."""

import logging
import time
from collections.abc import Callable, Container
from functools import partial

from edgeloop.cohorts.events import DeviceMessage
from edgeloop.cohorts.judging import Judged
from edgeloop.cohorts.rates import RateLimiter, RateLimits
from edgeloop.cohorts.receipts import Receipts
from edgeloop.protocol.chunks import place_of
from edgeloop.protocol.gathering import Verdict
from edgeloop.runtime.pace import LOG_LINES, LogRateLimiter

log = logging.getLogger(__name__)


class FloodGate:
    """Counts what devices send.

    Args:
        limits: of each device; strangers have as much, all together.
        members: who is in the run; may be set anew, and what was counted stays.
        receipts: tell devices.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        limits: RateLimits,
        members: Container[str],
        receipts: Receipts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rates, self._lines = RateLimiter(limits, clock), LogRateLimiter(clock=clock)
        self.members, self._receipts = members, receipts

    def refused(self, device: str, number: int, channel: str, payload: bytes) -> Judged | None:
        """Count a message; return what to do with it if it is one too many, and else None.

        Args:
            device: of whom it says that it is.
            number: of the open round.
            channel: "upload" or "presence".
            payload: its bytes.
        """
        who, limits = device if device in self.members else "", self._rates.limits
        if self._rates.takes(who, len(payload)):
            return None
        if self._lines.allowed(who) == LOG_LINES:
            text = "ignoring messages of %s: more than %s arrive; stop it, or raise the task's"
            text += " max_messages_per_minute or max_megabytes_per_minute"
            name = who or "devices that are not in the run"
            log.warning(text, name, limits, extra={"device": who, "round": number})
        place = place_of(payload) if who and channel == "upload" else None
        message = DeviceMessage(device, Verdict.TOO_MANY, len(payload))
        if place is None:
            return Judged(message)
        slow = partial(self._receipts.slow_down, device, number, place.digest, str(limits))
        return Judged(message, receipt=slow)
