"""What has arrived for a device, in its order; of rounds that wait to be read only the newest."""

from collections import deque

from pydantic import ValidationError

from edgeloop.mqtt.connection import Arrival, MqttConnection, Reconnected
from edgeloop.protocol.task import Opening, round_topic

MOST_AT_ONCE = 1000
"""Messages that are taken from the connection in one step."""

FURTHER_SECONDS = 0.1
"""For further ones to come once some were dropped: a broker sends a few at a time."""


class Inbox:
    """A device's messages.

    A device that trains, or whose link was away, finds several openings when it looks up. All but
    the last are of rounds that are over: nothing is fetched for them.

    Args:
        connection: of the device.
        task: its own.
    """

    def __init__(self, connection: MqttConnection, task: str) -> None:
        self._connection, self._topic = connection, round_topic(task)
        self._waiting: deque[Arrival | Reconnected] = deque()
        self._postponed: deque[Arrival] = deque()

    def receive(self, seconds: float) -> Arrival | Reconnected | None:
        """Return the next event, what was postponed first, or None when the time is up."""
        if self._postponed:
            return self._postponed.popleft()
        return self.receive_new(seconds)

    def receive_new(self, seconds: float) -> Arrival | Reconnected | None:
        """Return the next event that was not postponed, or None when the time is up."""
        self._take_in(0.0 if self._waiting else seconds)
        return self._waiting.popleft() if self._waiting else None

    def postpone(self, arrival: Arrival) -> None:
        """Have `receive` return it again."""
        self._postponed.append(arrival)

    def _take_in(self, seconds: float) -> None:
        """Take what has come, and drop the openings of rounds before the last one that has."""
        self._waiting.extend(self._connection.receive_all(seconds, MOST_AT_ONCE))
        while self._drop_old():
            self._waiting.extend(self._connection.receive_all(FURTHER_SECONDS, MOST_AT_ONCE))

    def _drop_old(self) -> bool:
        """Drop the openings that a later one has overtaken; tell whether there were any."""
        if sum(self._is_opening(each) for each in self._waiting) < 2:
            return False
        newest: Opening | None = None
        kept: deque[Arrival | Reconnected] = deque()
        for event in reversed(self._waiting):
            opening = self._opening(event)
            if opening is None or newest is None or _is_same(opening, newest):
                newest = newest or opening
                kept.appendleft(event)
            elif isinstance(event, Arrival):
                event.acknowledge()
        dropped = len(kept) < len(self._waiting)
        self._waiting = kept
        return dropped

    def _is_opening(self, event: Arrival | Reconnected) -> bool:
        return isinstance(event, Arrival) and event.topic == self._topic and bool(event.payload)

    def _opening(self, event: Arrival | Reconnected) -> Opening | None:
        """Return what an event opens; None if it is none, or none that can be read."""
        if not (isinstance(event, Arrival) and self._is_opening(event)):
            return None
        try:
            return Opening.model_validate_json(event.payload)
        except ValidationError:
            return None


def _is_same(one: Opening, other: Opening) -> bool:
    return (one.run, one.round) == (other.run, other.round)
