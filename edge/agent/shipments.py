"""What the cloud ships to a device: fetched, checked, applied whole or not at all, and answered.

    shipped.json    the last order of each kind, and what became of it

The broker keeps a device's newest order of each kind, so that one that was away, or was killed at
any moment, hears it when it is back: what is not finished is begun again, what is finished is said
again. Files are fetched in chunks, as broadcasts are, one after the other.
"""

import logging
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edge.agent.fetching import BroadcastSubscription
from edge.agent.patience import until_written
from edge.agent.shipped_kinds import Shipped
from edge.agent.task_session import DeviceContext
from edgeloop.errors import EdgeloopError
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol.rollout import (
    Kind,
    Order,
    Outcome,
    applied_topic,
    desired_topic,
    device_of,
    digest_of,
    outcome,
    shipped_topic,
)
from edgeloop.runtime import atomic_files
from edgeloop.runtime.pace import LOG_LINES, LogRateLimiter

log = logging.getLogger(__name__)

RECORD = "shipped.json"

FAILURES = (ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError)
"""What a file from elsewhere can lead to, or a disk that is full."""


class Shipments:
    """Carries out a device's orders.

    Args:
        context: its settings.
        connection: of the device; it is subscribed to its orders.
        kinds: what is done with each kind of thing.
    """

    def __init__(
        self, context: DeviceContext, connection: MqttConnection, kinds: Mapping[Kind, Shipped]
    ) -> None:
        mine = context.settings
        self._context, self._connection, self._kinds = context, connection, kinds
        self._task, self._name, self._path = mine.task, mine.name, mine.folder / RECORD
        self._fetching = BroadcastSubscription(connection, mine.task, shipped_topic)
        self._waiting: dict[Kind, Order] = {}
        self._now: Order | None = None  # whose file is on its way
        self._lines = LogRateLimiter()
        self._record = _read(self._path)
        connection.subscribe(desired_topic(mine.task, mine.name, "+"))

    def takes(self, topic: str) -> bool:
        """Return whether a message is about what is shipped."""
        above = shipped_topic(self._task, "")
        return topic.startswith(above) or device_of(self._task, topic) == self._name

    def handle(self, arrival: Arrival) -> None:
        """Take an order, or a chunk of a file.

        Raises:
            WireError: if it is no chunk, or one that does not fit those before.
        """
        if not arrival.topic.startswith(shipped_topic(self._task, "")):
            self._take_order(arrival)
            return
        content = self._fetching.offer(arrival.payload)
        if content is None or self._now is None:
            return
        order, self._now = self._now, None
        self._fetching.stop()
        self._apply(order, content)
        self._begin_next()

    def left(self) -> float:
        """Return the seconds until `look` should be asked again."""
        return self._fetching.left()

    def look(self) -> None:
        """Ask for chunks that are missing; say what the device has taken out of use since."""
        self._fetching.ask_missing()
        for kind, shipped in self._kinds.items():
            before = self._outcome(kind)
            if before is None or before.state != "applied":
                continue
            if why := shipped.taken_out(self._record[kind]["order"]["sha256"]):
                self._settle(Order.model_validate(self._record[kind]["order"]), "rolled back", why)

    def _take_order(self, arrival: Arrival) -> None:
        kind = arrival.topic.rpartition("/")[2]
        if not arrival.payload:  # withdrawn
            self._waiting = {each: o for each, o in self._waiting.items() if each != kind}
            if self._now is not None and self._now.kind == kind:
                self._stop_fetching()
            return
        try:
            order = Order.model_validate_json(arrival.payload)
        except ValidationError as error:
            self._ignore(f"an order that cannot be read ({error.error_count()} problems)")
            return
        if order.kind != kind:
            self._ignore(f"an order of a {order.kind} among those of a {kind}")
            return
        before = self._outcome(order.kind)
        if before is not None and order.serial < before.serial:
            self._ignore(f"an order of a {kind} that is older than the last one")
        elif before is not None and order.serial == before.serial and before.state != "fetching":
            self._say(before)
        elif self._now is None or self._now.serial != order.serial:
            self._waiting[order.kind] = order
            if self._now is not None and self._now.kind == kind:
                self._stop_fetching()
            self._begin_next()

    def _stop_fetching(self) -> None:
        self._now = None
        self._fetching.stop()
        self._begin_next()

    def _ignore(self, what: str) -> None:
        if self._lines.allowed("") == LOG_LINES:
            log.warning("ignored %s", what)

    def _begin_next(self) -> None:
        """Carry out what waits, until something must be fetched."""
        while self._now is None and self._waiting:
            order = self._waiting.pop(next(iter(self._waiting)))
            if order.kind not in self._context.settings.rollouts.accept:
                text = f"this device takes no {order.kind} from afar: see [rollouts] accept"
                self._settle(order, "failed", text)
            elif order.action == "roll back":
                self._undo(order)
            elif self._is_held(order):
                self._settle(order, "applied")
            else:
                self._now = order
                self._settle(order, "fetching")
                self._fetching.start(order.sha256, order.size)

    def _is_held(self, order: Order) -> bool:
        try:
            return self._kinds[order.kind].holds(order.sha256)
        except OSError:
            return False

    def _apply(self, order: Order, content: bytes) -> None:
        if digest_of(content) != order.sha256:
            self._settle(order, "failed", "what came has other bytes than the order says")
            return
        try:
            self._kinds[order.kind].apply(order.sha256, content)
        except (EdgeloopError, *FAILURES) as error:
            self._settle(order, "failed", _said(error))
        else:
            self._settle(order, "applied")

    def _undo(self, order: Order) -> None:
        try:
            self._kinds[order.kind].undo(order.sha256)
        except (EdgeloopError, *FAILURES) as error:
            self._settle(order, "failed", f"cannot go back: {_said(error)}")
        else:
            self._settle(order, "rolled back")

    def _settle(self, order: Order, state: Any, reason: str = "") -> None:
        """Remember what became of an order, and say it."""
        found = outcome(order, state, reason)
        self._record[order.kind] = {
            "order": order.model_dump(mode="json"),
            "outcome": found.model_dump(mode="json"),
        }
        until_written(partial(_write, self._path, self._record))
        words = f": {found.reason}" if found.reason else ""
        level = logging.WARNING if state in ("failed", "rolled back") else logging.INFO
        log.log(level, "roll-out %s: its %s is %s here%s", order.rollout, order.kind, state, words)
        self._say(found)

    def _say(self, found: Outcome) -> None:
        topic = applied_topic(self._task, self._name, found.kind)
        self._connection.publish(topic, found.text(), retain=True)

    def _outcome(self, kind: Kind) -> Outcome | None:
        told = self._record.get(kind)
        return None if told is None else Outcome.model_validate(told["outcome"])


def _said(error: Exception) -> str:
    if isinstance(error, EdgeloopError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _read(path: Path) -> dict[Kind, dict[str, Any]]:
    """Return what is remembered; nothing where it cannot be read: all is begun again."""
    with suppress(OSError, ValueError, AttributeError, ValidationError, KeyError, TypeError):
        found = atomic_files.read_json(path)["kinds"]
        for each in found.values():
            Order.model_validate(each["order"])
            Outcome.model_validate(each["outcome"])
        return dict(found)
    return {}


def _write(path: Path, record: Mapping[Kind, Any]) -> None:
    with atomic_files.writing(path.parent):
        atomic_files.write_checked_json(path, {"kinds": dict(record)})
