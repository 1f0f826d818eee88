"""What the aggregator tells devices of their answers: receipts, and chunks that are missing."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from edgeloop.mqtt.connection import MqttConnection
from edgeloop.protocol.chunks import MAX_CHUNKS, Assembler, Place, Unfinished, place_of
from edgeloop.protocol.gathering import Verdict
from edgeloop.protocol.receipt import (
    MOST_MISSING,
    REASONS,
    Receipt,
    asking,
    asking_again,
    receipt,
    slow_down,
)
from edgeloop.protocol.task import Contract, receipt_topic
from edgeloop.protocol.wire import OversizeError, WireError, digest
from edgeloop.runtime.pace import LogRateLimiter, Timer

EXPIRY_SECONDS = 3600
"""After which the broker may forget a receipt for a device that is away: it asks again."""

STALLED_SECONDS = 10.0
"""Without a further chunk, after which those that are missing are asked for; longer each time."""

MOST_ASKED_SECONDS = 300.0


class Receipts:
    """Sends receipts.

    Args:
        connection: of the aggregator.
        contract: of the run.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        connection: MqttConnection,
        contract: Contract,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection, self._contract, self._clock = connection, contract, clock
        self._refused = LogRateLimiter(clock=clock)
        self._slowed = LogRateLimiter(most=3, clock=clock)
        self._stalled: dict[str, tuple[float, float]] = {}  # when to ask a device, and its patience
        self._look = Timer(STALLED_SECONDS / 2, clock=clock)

    def give(
        self, device: str, round_number: int, digest: str, verdict: Verdict, reason: str = ""
    ) -> None:
        """Tell a device what became of its upload; so many refusals a minute, and no more."""
        why = reason or REASONS.get(verdict, "")
        answer = receipt(self._contract.run, round_number, digest, verdict, why)
        if answer.is_taken or self._refused.allowed(device * self._contract.admits(device)):
            self._send(device, answer)

    def refuse_chunk(self, device: str, round_number: int, chunk: bytes, error: WireError) -> None:
        """Tell a device that its upload is too large; ask again for a chunk that was damaged."""
        place = place_of(chunk)
        if place is None or isinstance(error, OversizeError):
            whole = digest(chunk) if place is None else place.digest
            self.give(device, round_number, whole, Verdict.MALFORMED, str(error))
        elif 0 < place.count <= MAX_CHUNKS:
            index = min(place.index, place.count - 1)
            self.ask_again(device, round_number, replace(place, index=index))

    def ask_for_all(self, device: str, round_number: int, digest: str, count: int) -> None:
        """Ask for all chunks of an upload that is not what its device sent; so many times."""
        if self._refused.allowed(device * self._contract.admits(device)):
            missing = tuple(range(min(count, MOST_MISSING)))
            wanted = Unfinished(digest, count, missing)
            self._send(device, asking(self._contract.run, round_number, wanted))

    def ask_again(self, device: str, round_number: int, place: Place) -> None:
        """Ask a device for a chunk once more, with its certificate; so many times a minute."""
        if self._refused.allowed(device * self._contract.admits(device)):
            self._send(device, asking_again(self._contract.run, round_number, place))

    def slow_down(self, device: str, round_number: int, digest: str, limits: str) -> None:
        """Tell a device, a few times a minute, that what it sends is not read for now."""
        if self._slowed.allowed(device):
            self._send(device, slow_down(self._contract.run, round_number, digest, limits))

    def took_chunk(self, device: str, whole: bool) -> None:
        """A chunk has come; note whether something of the device is unfinished since."""
        if whole:
            self._stalled.pop(device, None)
        else:
            self._stalled[device] = self._clock() + STALLED_SECONDS, STALLED_SECONDS

    def left(self) -> float:
        """Return the seconds until missing chunks may have to be asked for."""
        return self._look.left()

    def ask_missing(self, assemblers: Mapping[str, Assembler], round_number: int) -> None:
        """Ask those devices for chunks of which none has come for a while."""
        if not self._look.due():
            return
        now = self._clock()
        for device, (when, patience) in list(self._stalled.items()):
            if now < when:
                continue
            found = assemblers[device].unfinished(MOST_MISSING)
            if not found:
                del self._stalled[device]
                continue
            longer = min(2 * patience, MOST_ASKED_SECONDS)
            self._stalled[device] = now + longer, longer
            self._send(device, asking(self._contract.run, round_number, found[-1]))

    def _send(self, device: str, answer: Receipt) -> None:
        topic = receipt_topic(self._contract.task, device)
        self._connection.publish(topic, answer.text().encode(), expiry=EXPIRY_SECONDS)
