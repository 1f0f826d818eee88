"""Carries orders and files to a task's devices, over its broker, and their outcomes back.

The broker keeps what devices are to hear: a device that is away hears it when it is back. What the
server has told is in its database, so that it is all told again where the broker has forgotten it.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import ExitStack
from threading import Thread

from pydantic import ValidationError

from edgeloop.errors import EdgeloopError
from edgeloop.mqtt.connection import Arrival, MqttConnection, Reconnected
from edgeloop.protocol.rollout import (
    Order,
    Outcome,
    applied_topic,
    desired_topic,
    device_of,
    shipped_topic,
)
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.logs import one_line
from edgeloop.runtime.pace import LOG_LINES, LogRateLimiter

log = logging.getLogger(__name__)

MOST_AT_ONCE = 1000
"""Outcomes that the broker delivers before the first is acknowledged, and that are written down
together."""

QUIET_SECONDS, LONGEST_SECONDS = 0.05, 5.0
"""A turn hears a task's devices until they are quiet, or so long: other tasks wait meanwhile."""

FLUSH_SECONDS = 10.0
AGAIN_SECONDS, SELDOM_SECONDS = 5.0, 60.0
"""Between tries to reach a broker whose devices are to be told something, and one whose devices are
only heard."""

DIALLING, DIAL_SECONDS = 64, 1.0
"""Brokers that are dialled at the same time, and how long a turn waits for all of them."""


class Line:
    """A connection to a task's broker.

    Args:
        task: whose devices are told.
        broker: where.

    Attributes:
        is_fresh: whether the broker may lack something that it was told to keep.

    Raises:
        BrokerAwayError: if the broker cannot be reached now.
        RefusedError: if it refuses this client.
    """

    def __init__(self, task: str, broker: BrokerSettings) -> None:
        self._task, self._lines = task, LogRateLimiter()
        self.is_fresh = True
        self._stack = ExitStack()
        self._chunks: dict[str, int] = {}  # of a file that the broker keeps
        self._kept: dict[str, bytes] = {}  # orders that the broker keeps, by their topics
        self._events: list[Arrival | Reconnected] = []  # heard, and not yet written down
        self._link = self._stack.enter_context(
            MqttConnection(
                broker,
                f"edgeloop-server.{task.replace('.', '%2E')}",
                [applied_topic(task, "+", "+")],
                persistent=False,  # outcomes are kept by the broker
                inflight=MOST_AT_ONCE,
            )
        )

    def close(self) -> None:
        """Part from the broker."""
        self._stack.close()

    def ship(self, sha256: str, content: bytes) -> None:
        """Have the broker keep a file, unless it was given it since it may have forgotten all."""
        if sha256 in self._chunks:
            return
        topic = shipped_topic(self._task, sha256)
        count = len(self._link.chunks_of(content))
        self._link.publish_retained(topic, content)
        self._chunks[sha256] = count

    def drop(self, sha256: str, size: int) -> None:
        """Have the broker forget a file of so many bytes, which may be gone here."""
        count = self._chunks.pop(sha256, None) or len(self._link.chunks_of(bytes(size)))
        for index in range(count):
            topic = f"{shipped_topic(self._task, sha256)}/{index}"
            self._link.publish(topic, b"", retain=True)

    def tell(self, device: str, order: Order) -> None:
        """Have the broker keep an order for a device."""
        self._keep(desired_topic(self._task, device, order.kind), order.text())

    def take_back(self, device: str, kind: str) -> None:
        """Have the broker forget what a device was told of a kind."""
        self._keep(desired_topic(self._task, device, kind), b"")

    def _keep(self, topic: str, payload: bytes) -> None:
        """Say it, unless it was said, or waits to be, since the broker may have forgotten all."""
        if self._kept.get(topic) != payload:
            self._link.publish(topic, payload, retain=True)
            self._kept[topic] = payload

    def flush(self) -> bool:
        """Wait until the broker has all of it; tell whether it has."""
        if not self._link.connected:
            return False
        if self._link.flush(FLUSH_SECONDS):
            self._kept = {topic: payload for topic, payload in self._kept.items() if payload}
            return True
        if self._link.refusals():  # it is said again, once somebody may have mended that
            self.is_fresh = True
            self._kept.clear()
            for sha256 in filter(self._is_refused, list(self._chunks)):
                del self._chunks[sha256]
        return False

    def _is_refused(self, sha256: str) -> bool:
        """Return whether the broker refuses a part of a file."""
        topic = shipped_topic(self._task, sha256)
        return any(self._link.is_refused(f"{topic}/{n}") for n in range(self._chunks[sha256]))

    def heard(self) -> Iterator[list[tuple[str, Outcome]]]:
        """Yield what devices say, by their names.

        It is acknowledged when the next is asked for. Whoever fails before hears it again.
        """
        until, patience = time.monotonic() + LONGEST_SECONDS, 0.0
        while events := self._events or self._link.receive_all(patience, MOST_AT_ONCE):
            self._events = events
            arrivals = [each for each in events if isinstance(each, Arrival)]
            if len(arrivals) < len(events):  # a connection was made again
                self.is_fresh = True
                self._chunks.clear()
                self._kept.clear()
            told = [self._outcome(each) for each in arrivals]
            yield [each for each in told if each is not None]
            self._events, patience = [], QUIET_SECONDS
            with self._link.together():
                for each in arrivals:
                    each.acknowledge()
            if time.monotonic() > until:
                return

    def _outcome(self, arrival: Arrival) -> tuple[str, Outcome] | None:
        device = device_of(self._task, arrival.topic)
        if not arrival.payload or not device:
            return None
        why = arrival.trust.refusal
        if not why:
            try:
                return device, _shown(Outcome.model_validate_json(arrival.payload))
            except ValidationError as error:
                why = f"it cannot be read ({error.error_count()} problems)"
        if self._lines.allowed(device) == LOG_LINES:
            log.warning("ignored what %s says of a roll-out: %s", device, why)
        return None


def _shown(told: Outcome) -> Outcome:
    """Return what a device says with escapes for control characters, which no database takes."""
    return told.model_copy(update={"reason": one_line(told.reason)})


class Lines:
    """Connections to the brokers of tasks that have something to be carried.

    Args:
        broker_of: where a task's devices are reached.
    """

    def __init__(self, broker_of: Callable[[str], BrokerSettings]) -> None:
        self._broker_of = broker_of
        self._open: dict[str, Line] = {}
        self._dialled: dict[str, Future[Line]] = {}
        self._failed: dict[str, float] = {}  # since when

    def reach(self, tasks: Mapping[str, bool]) -> dict[str, Line]:
        """Return the connections of tasks, as far as there are any.

        Those that are missing are dialled at the same time, and waited for `DIAL_SECONDS` in all.

        Args:
            tasks: whose devices are told, and of each whether they are only heard: nobody waits for
                that, so it is tried once a minute, and nothing is said.
        """
        begun = [
            self._dial(task) for task, only_hears in tasks.items() if self._due(task, only_hears)
        ]
        wait(begun, DIAL_SECONDS)
        for task, only_hears in tasks.items():
            if task in self._dialled and self._dialled[task].done():
                self._take(task, only_hears=only_hears)
        return {task: self._open[task] for task in tasks if task in self._open}

    def _due(self, task: str, only_hears: bool) -> bool:
        if task in self._open or task in self._dialled or len(self._dialled) >= DIALLING:
            return False
        again = SELDOM_SECONDS if only_hears else AGAIN_SECONDS
        return time.monotonic() >= self._failed.get(task, -again) + again

    def _dial(self, task: str) -> "Future[Line]":
        """Begin to connect, on a thread that the process's end does not wait for."""
        dialled = self._dialled[task] = Future()
        Thread(target=self._connect, args=(task, dialled), name="roll-outs", daemon=True).start()
        return dialled

    def _connect(self, task: str, dialled: "Future[Line]") -> None:
        try:
            dialled.set_result(Line(task, self._broker_of(task)))
        except Exception as error:  # it is raised where the connection is taken
            dialled.set_exception(error)

    def _take(self, task: str, *, only_hears: bool) -> None:
        """Take a connection that was made, or say why it was not."""
        self._failed[task] = time.monotonic()
        try:
            self._open[task] = self._dialled.pop(task).result()
            del self._failed[task]
        except EdgeloopError as error:
            level = logging.DEBUG if only_hears else logging.WARNING
            log.log(level, "devices of %s cannot be told of roll-outs now: %s", task, error)

    def keep(self, tasks: set[str]) -> None:
        """Close the connections of other tasks."""
        for task in self._open.keys() - tasks:
            self._open.pop(task).close()
        for task in self._dialled.keys() - tasks:
            if self._dialled[task].done():
                _close(self._dialled.pop(task))

    def close(self) -> None:
        """Close all."""
        self.keep(set())
        for dialled in self._dialled.values():
            dialled.add_done_callback(_close)


def _close(dialled: "Future[Line]") -> None:
    """Close a connection that nobody wants any more, if it was made."""
    if dialled.exception() is None:
        dialled.result().close()
