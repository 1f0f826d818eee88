"""Fetches what the broker keeps: subscribes while it is wanted, asks again for what is missing."""

import logging
from collections.abc import Callable

from edgeloop.mqtt.connection import MqttConnection
from edgeloop.protocol import wire
from edgeloop.protocol.chunks import Assembler, place_of
from edgeloop.protocol.task import SMALL, broadcast_topic
from edgeloop.runtime.pace import Timer

log = logging.getLogger(__name__)

STALLED_SECONDS = 60.0
"""Without a chunk, after which those that are missing are asked for; longer each time."""

MOST_STALLED_SECONDS = 600.0

MOST_ASKED = 64
"""Chunks that are asked for at a time: a broker's queue holds them."""


class BroadcastSubscription:
    """Subscribes to a broadcast while it is wanted.

    A broker drops what does not fit its queue, and says nothing. So chunks that do not come are
    asked for by their own topics, some at a time: a subscription has the broker send what it keeps.

    Args:
        connection: of the device.
        task: its own.
        above: names the topic above the chunks of one of the task's slots.

    Attributes:
        assembler: puts its chunks together.
        bytes: that have arrived since somebody set this to 0.
    """

    def __init__(
        self,
        connection: MqttConnection,
        task: str,
        above: Callable[[str, int | str], str] = broadcast_topic,
    ) -> None:
        self.assembler = Assembler(wire.MAX_FRAME)
        self.bytes = 0
        self._connection = connection
        self._task, self._above = task, above
        self._topic: str | None = None  # above the chunks that are wanted
        self._asked: list[str] = []  # their filters
        self._last_asked = -1  # the last chunk that was asked for by its own topic
        self._pause = STALLED_SECONDS
        self._stalled = Timer(STALLED_SECONDS)

    def start(self, slot: int | str, size: int) -> None:
        """Have a slot's broadcast, or the base, of about so many bytes, unless it is on its way."""
        wanted = self._above(self._task, slot)
        self.assembler.limit = min(2 * size + SMALL, wire.MAX_FRAME)
        if wanted != self._topic:
            self.stop()
            self._topic = wanted
            self._ask([f"{wanted}/+"])
            self._wait(STALLED_SECONDS)

    def stop(self) -> None:
        """Have no broadcast."""
        if self._topic is not None:
            self._ask([])
            self._topic = None
            self.assembler.clear()

    def offer(self, chunk: bytes) -> bytes | None:
        """Take a chunk; return the whole payload if this was the last piece missing.

        Raises:
            WireError: as `Assembler.offer`.
        """
        self._wait(STALLED_SECONDS)
        payload = self.assembler.offer(chunk)
        place = place_of(chunk)
        if payload is None and place is not None and place.index == self._last_asked:
            self._ask_next()
        return payload

    def left(self) -> float:
        """Return the seconds until missing chunks may have to be asked for."""
        return float("inf") if self._topic is None else self._stalled.left()

    def ask_missing(self) -> None:
        """Ask for what is missing, if nothing has come for a while."""
        if self._topic is None or not self._stalled.due():
            return
        self._wait(min(2 * self._pause, MOST_STALLED_SECONDS))
        if not self._connection.connected:
            return  # everything is subscribed to again when it is back
        self._ask_next()

    def _ask_next(self) -> None:
        """Ask for the first chunks that are missing; for all where none has come."""
        begun = self.assembler.unfinished(MOST_ASKED)
        if not begun:
            self._ask([f"{self._topic}/+"])
            return
        missing, count = begun[-1].missing, begun[-1].count
        log.info("asking again for %d of %d chunks that have not arrived", len(missing), count)
        self._ask([f"{self._topic}/{index}" for index in missing])
        self._last_asked = missing[-1]

    def _wait(self, seconds: float) -> None:
        self._pause = seconds
        self._stalled = Timer(seconds, jitter=0.2)

    def _ask(self, filters: list[str]) -> None:
        for each in self._asked:
            self._connection.unsubscribe(each)
        for each in filters:
            self._connection.subscribe(each)
        self._asked, self._last_asked = filters, -1
