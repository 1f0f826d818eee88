"""Carries orders and files to a task's devices, over its broker, and their outcomes back.

The broker keeps what devices are to hear: a device that is away hears it when it is back. What the
server has told is in its database, so that it is all told again where the broker has forgotten it.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from pydantic import ValidationError

from edgeloop.errors import EdgeloopError
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol.rollout import (
    Order,
    Outcome,
    applied_topic,
    desired_topic,
    device_of,
    shipped_topic,
)
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.pace import LOG_LINES, LogRateLimiter

log = logging.getLogger(__name__)

MOST_AT_ONCE = 1000
FLUSH_SECONDS = 10.0
SELDOM_SECONDS = 60.0
"""Between tries to reach a broker whose devices are only heard."""


class Line:
    """A connection to a task's broker.

    Args:
        task: whose devices are told.
        broker: where.

    Raises:
        BrokerAwayError: if the broker cannot be reached now.
        RefusedError: if it refuses this client.
    """

    def __init__(self, task: str, broker: BrokerSettings) -> None:
        self._task, self._lines = task, LogRateLimiter()
        self._stack = ExitStack()
        self._chunks: dict[str, int] = {}  # of a file that the broker keeps
        self._link = self._stack.enter_context(
            MqttConnection(
                broker,
                f"edgeloop-server.{task.replace('.', '%2E')}",
                [applied_topic(task, "+", "+")],
                persistent=False,  # outcomes are kept by the broker
            )
        )

    def close(self) -> None:
        """Part from the broker."""
        self._stack.close()

    def ship(self, sha256: str, content: bytes) -> None:
        """Have the broker keep a file."""
        topic = shipped_topic(self._task, sha256)
        self._chunks[sha256] = len(self._link.chunks_of(content))
        self._link.publish_retained(topic, content)

    def drop(self, sha256: str, size: int) -> None:
        """Have the broker forget a file of so many bytes, which may be gone here."""
        count = self._chunks.pop(sha256, None) or len(self._link.chunks_of(bytes(size)))
        for index in range(count):
            topic = f"{shipped_topic(self._task, sha256)}/{index}"
            self._link.publish(topic, b"", retain=True)

    def tell(self, device: str, order: Order) -> None:
        """Have the broker keep an order for a device."""
        topic = desired_topic(self._task, device, order.kind)
        self._link.publish(topic, order.text(), retain=True)

    def take_back(self, device: str, kind: str) -> None:
        """Have the broker forget what a device was told of a kind."""
        self._link.publish(desired_topic(self._task, device, kind), b"", retain=True)

    def flush(self) -> bool:
        """Wait until the broker has all of it; tell whether it has."""
        return self._link.flush(FLUSH_SECONDS)

    def heard(self) -> Iterator[tuple[str, Outcome] | None]:
        """Yield what devices say, by their names; None where the broker may have forgotten all."""
        while events := self._link.receive_all(0.0, MOST_AT_ONCE):
            for event in events:
                if not isinstance(event, Arrival):
                    yield None
                    continue
                if (found := self._outcome(event)) is not None:
                    yield found
                event.acknowledge()

    def _outcome(self, arrival: Arrival) -> tuple[str, Outcome] | None:
        device = device_of(self._task, arrival.topic)
        if not arrival.payload or not device:
            return None
        why = arrival.trust.refusal
        if not why:
            try:
                return device, Outcome.model_validate_json(arrival.payload)
            except ValidationError as error:
                why = f"it cannot be read ({error.error_count()} problems)"
        if self._lines.allowed(device) == LOG_LINES:
            log.warning("ignored what %s says of a roll-out: %s", device, why)
        return None


class Lines:
    """Connections to the brokers of tasks that have something to be carried.

    Args:
        broker_of: where a task's devices are reached.
    """

    def __init__(self, broker_of: Callable[[str], BrokerSettings]) -> None:
        self._broker_of = broker_of
        self._open: dict[str, Line] = {}
        self._tried: dict[str, float] = {}

    def line(self, task: str, *, only_hears: bool = False) -> tuple[Line, bool] | None:
        """Return a task's connection, and whether it is new; None while there is none.

        Args:
            task: whose devices are told.
            only_hears: whether nobody waits for it: it is tried once a minute, and nothing is said.
        """
        if (found := self._open.get(task)) is not None:
            return found, False
        if only_hears and time.monotonic() < self._tried.get(task, 0.0) + SELDOM_SECONDS:
            return None
        self._tried[task] = time.monotonic()
        try:
            found = self._open[task] = Line(task, self._broker_of(task))
        except EdgeloopError as error:
            level = logging.DEBUG if only_hears else logging.WARNING
            log.log(level, "devices of %s cannot be told of roll-outs now: %s", task, error)
            return None
        return found, True

    def keep(self, tasks: set[str]) -> None:
        """Close the connections of other tasks."""
        for task in self._open.keys() - tasks:
            self._open.pop(task).close()

    def close(self) -> None:
        """Close all."""
        self.keep(set())
