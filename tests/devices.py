"""Devices in the test's own process: each is a thread with a real link, which a test can cut."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge.agent.service import Agent, subscriptions
from edge.agent.settings import DeviceSettings
from edge.agent.task_session import load_context
from edgeloop.mqtt.connection import Arrival, MqttConnection, Reconnected
from edgeloop.protocol.task import presence_topic
from edgeloop.protocol.wire import GROWS
from edgeloop.runtime.tracing import SILENT, Tracer

Heard = Callable[[Arrival], bool]


class CutError(Exception):
    """The device was cut off; as after a power cut, it does nothing more."""


class Cord(MqttConnection):
    """A device's link that notes what arrives, until it is cut.

    Args:
        settings: the device's.
        last: told of each arrival; if it says so, that one does not get through, and none after.
    """

    def __init__(self, settings: DeviceSettings, last: Heard) -> None:
        name = f"edgeloop.{settings.task}.{settings.name}"
        presence = presence_topic(settings.task, settings.name)
        topics = subscriptions(settings.task)
        super().__init__(
            settings.broker, name, topics, presence, presence_notes=GROWS, persistent=False
        )
        self.arrived: list[Arrival] = []
        self._last = last
        self._cut = threading.Event()
        self._owner = threading.current_thread()  # of the test, which closes it

    def cut(self) -> None:
        """Let nothing through from now on."""
        self._cut.set()

    def receive(self, timeout: float | None) -> Arrival | Reconnected | None:
        """Return the next event, or None when the time is up.

        Raises:
            CutError: once it is cut.
        """
        end = float("inf") if timeout is None else time.monotonic() + timeout
        while not self._cut.is_set():
            left = max(0.0, end - time.monotonic())
            event = super().receive(min(0.05, left))  # between looks at whether it is cut
            if isinstance(event, Arrival):
                if self._last(event):
                    break
                self.arrived.append(event)
            if event is not None or not left:
                return event
        raise CutError

    def flush(self, timeout: float, topic: str | None = None) -> bool:
        """Wait until the broker has what was sent, as long as it is not cut.

        Raises:
            CutError: once it is cut.
        """
        if self._cut.is_set() and threading.current_thread() is not self._owner:
            raise CutError
        return super().flush(timeout, topic)

    def fetched(self) -> int:
        """Return how many chunks of broadcasts have arrived."""
        return sum("/broadcast/" in each.topic for each in self.arrived)


@dataclass(frozen=True)
class Device:
    """A device at work.

    Attributes:
        link: its connection.
        ended: the path of its summary, once the task is over.
    """

    link: Cord
    ended: Future[Path]


@contextmanager
def at_work(
    settings: DeviceSettings, last: Heard = lambda arrival: False, tracer: Tracer = SILENT
) -> Iterator[Device]:
    """Have a device take part in its task until the block ends, or `last` says so.

    Raises:
        Exception: what the device ended with, unless it was cut off.
    """
    with Cord(settings, last) as connection, ThreadPoolExecutor(1) as pool:
        ended = pool.submit(Agent(load_context(settings), connection, tracer).run)
        try:
            yield Device(connection, ended)
        finally:
            connection.cut()
            error = ended.exception()
            if error is not None and not isinstance(error, CutError):
                raise error


def wait_until(met: Callable[[], bool], seconds: float = 60.0) -> None:
    """Return as soon as a condition is met."""
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, "it has not come to that"
        time.sleep(0.01)  # between looks
