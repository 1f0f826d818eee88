"""What has arrived for a device, in its order; of rounds that wait to be read only the newest."""

import logging
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from edge.agent.freshness import Freshness
from edge.agent.presence import PresenceTeller
from edgeloop.mqtt.connection import Arrival, MqttConnection, Reconnected
from edgeloop.protocol.presence import State
from edgeloop.protocol.task import Opening, contract_topic, round_topic
from edgeloop.runtime.pace import LOG_LINES, LogRateLimiter

log = logging.getLogger(__name__)

MOST_AT_ONCE = 1000
"""Messages that are taken from the connection in one step."""

FURTHER_SECONDS = 0.1
"""For further ones to come once some were dropped: a broker sends a few at a time."""


class Inbox:
    """A device's messages.

    A device that trains, or whose link was away, finds several openings when it looks up. All but
    the last are of rounds that are over: nothing is fetched for them. What nobody can be sure is
    the task's is dropped first, and the log says so.

    Args:
        connection: of the device.
        task: its own.
        folder: its own.
        presence: says that no contract has come that can be believed.
    """

    def __init__(
        self, connection: MqttConnection, task: str, folder: Path, presence: PresenceTeller
    ) -> None:
        self._connection, self._topic = connection, round_topic(task)
        self._contract, self._presence = contract_topic(task), presence
        self._freshness, self._lines = Freshness(folder, task), LogRateLimiter()
        self._agreed = False  # whether a contract has come that can be believed
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
        self._waiting.extend(self._received(seconds))
        while self._drop_old():
            self._waiting.extend(self._received(FURTHER_SECONDS))

    def _received(self, seconds: float) -> Iterator[Arrival | Reconnected]:
        """Yield what has come and can be believed."""
        for event in self._connection.receive_all(seconds, MOST_AT_ONCE):
            if isinstance(event, Arrival) and self._is_refused(event):
                event.acknowledge()
            else:
                yield event

    def _is_refused(self, arrival: Arrival) -> bool:
        why = arrival.trust.refusal or self._freshness.refusal(arrival)
        is_contract = arrival.topic == self._contract and bool(arrival.payload)
        if why and is_contract and not self._agreed:
            self._presence.say(State.REFUSED, reason=f"the contract: {why}")
        self._agreed = self._agreed or (is_contract and not why)
        if why and self._lines.allowed(arrival.topic) == LOG_LINES:
            log.warning("ignored a message on %s: %s", arrival.topic, why)
            if self._agreed and arrival.topic in (self._contract, self._topic):
                self._presence.obstacle(f"ignored the {self._called(arrival)}: {why}")
        return bool(why)

    def _called(self, arrival: Arrival) -> str:
        return "contract" if arrival.topic == self._contract else "opening of a round"

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
