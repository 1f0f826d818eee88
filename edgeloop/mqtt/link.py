"""The link to a broker: it dials, heals, and says why there is none, on paho's network thread."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgeloop.errors import (
    BrokerAwayError,
    BrokerError,
    BusyError,
    ForbiddenError,
)
from edgeloop.mqtt.dial_failures import explain, tls_error
from edgeloop.mqtt.paho_client import PahoClient
from edgeloop.mqtt.reason_codes import SEE_ITS_LOG, TAKEN_OVER, reason_for
from edgeloop.mqtt.rivals import LOOK_FROM, Rivals
from edgeloop.mqtt.trouble import RepeatedWarnings, broker_error, silence
from edgeloop.runtime.config import LEAST_CHUNK_BYTES, BrokerSettings
from edgeloop.runtime.pace import Backoff

log = logging.getLogger(__name__)

UNSPECIFIED = 0x80
WORDLESS = "it ended the connection without a word"
"""For paho's "Unspecified error", which tells a person nothing."""


class Listeners(NamedTuple):
    """Who hears of a link, on the network thread.

    Attributes:
        up: called at each connection, with the bytes of the largest packet that the broker takes.
        down: called when a connection that was up is lost.
        back: called when a connection after the first is up, and its subscriptions are answered.
    """

    up: Callable[[int], None]
    down: Callable[[], None]
    back: Callable[[], None]


class Link:
    """A link that heals itself.

    Args:
        client: paho's.
        broker: where it connects.
        listeners: who hears of it.
        warnings: of what is said again and again.
        patience: seconds for the first connection; None: without end, where time can help.
        rivals: whether others go by this client's name.

    Attributes:
        number: counts the connections: an acknowledgement belongs to one.
        packet: bytes of the largest packet that the broker takes; None for any.
        takeovers: counts the connections that were lost to another client of this id, as far as
            the broker or this client's presence tells.
    """

    def __init__(
        self,
        client: PahoClient,
        broker: BrokerSettings,
        listeners: Listeners,
        warnings: RepeatedWarnings,
        patience: float | None,
        rivals: Rivals,
    ) -> None:
        self.number = 0
        self.packet: int | None = None
        self.takeovers = 0
        self._client, self._broker = client, broker
        self._listeners, self._warnings, self._patience = listeners, warnings, patience
        self._settled = threading.Event()  # the first connection is up and subscribed, or refused
        self._failure: BrokerError | None = None
        self._trouble: BrokerError | None = None  # why there is no connection now
        self._backoff, self._rivals = Backoff(), rivals
        self._phase: Literal["down", "dialling", "refused", "up"] = "down"
        self._ending = False
        self._back = False  # this connection is not the first, and nobody has heard of it yet
        self._redialled = False  # by us, to show another certificate
        self._since = time.monotonic()  # when the connection came up, or was lost
        client.dials, client.dial_failed = self._on_dial, self._on_dial_failed
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect

    def begin(self, persistent: bool, inflight: int) -> None:
        """Connect, and wait until the first subscriptions are answered.

        Args:
            persistent: whether the broker keeps a session for this client when it is away.
            inflight: messages that the broker may deliver before the first is acknowledged.

        Raises:
            BrokerAwayError: if the broker cannot be reached in time.
            RefusedError: if it refuses this client: `BusyError` where time can help.
        """
        self._schedule_reconnect()
        self._client.begin(persistent, inflight)
        try:
            self._settled.wait(self._patience)
        except BaseException:  # a person's Ctrl-C, too
            self.end()
            raise
        if self._failure is not None or not self._settled.is_set():
            self.end()
            raise self._failure or self._trouble or silence(self._broker)

    def end(self) -> None:
        """Part from the broker."""
        self._ending = True
        self._client.end()

    def redial(self) -> None:
        """Connect again, with the certificate and the password that the files hold now."""
        if self._phase == "up":  # or the next attempt takes them
            self._redialled = True
            self._client.cut()

    @property
    def state(self) -> str:
        """Return whether the connection is up, or why it is not."""
        if self._client.is_connected():
            return f"connected to {self._broker.address}"
        why = "" if self._trouble is None else f" ({self._trouble.problem})"
        return f"not connected to {self._broker.address}{why}"

    @property
    def brief(self) -> int:
        """How many connections in a row did not last."""
        return self._backoff.brief

    def subscribed(self) -> None:
        """Settle; tell of a connection that is back once the broker sends us messages again."""
        self._settled.set()
        if self._back:
            self._back = False
            self._listeners.back()

    def _error(
        self, problem: str, remedy: str, kind: type[BrokerError] = BrokerAwayError
    ) -> BrokerError:
        return broker_error(self._broker, problem, remedy, kind)

    def _schedule_reconnect(self) -> float:
        """Have paho wait before it dials again; return how long."""
        pause = self._backoff.pause()
        self._client.reconnect_delay_set(pause, pause)  # type: ignore[arg-type]  # seconds all the same
        return pause

    def _on_dial(self) -> None:
        """Another attempt to connect begins."""
        self._phase = "dialling"

    def _on_dial_failed(self, error: OSError | UnicodeError) -> None:
        """The attempt came to nothing."""
        self._phase = "down"
        self._note_trouble(*explain(self._broker, error))

    def _note_trouble(self, trouble: BrokerError, passing: bool = True) -> None:
        """Note why there is no connection; at the start, give up what time cannot help."""
        self._trouble = trouble
        self._backoff.failed()
        pause = self._schedule_reconnect()
        if not passing and not self._settled.is_set():
            self._fail(trouble)
        elif self._settled.is_set() or self._patience is None:
            self._warnings.warn(str(trouble), "%s; tries again, next in %.0f s", trouble, pause)

    def _fail(self, failure: BrokerError) -> None:
        """End this link before it began."""
        self._failure = failure
        self._ending = True
        self._settled.set()
        self._client.disconnect()

    def _on_connect(
        self,
        client: Client,
        _data: Any,
        flags: ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if self._ending:
            client.disconnect()
            return
        if reason.is_failure:
            self._phase = "refused"
            cause = reason_for(reason.value, getattr(properties, "ServerReference", None))
            problem = f"refuses {self._client.name} ({reason})"
            kind = BusyError if cause.passing else ForbiddenError
            self._note_trouble(self._error(problem, cause.remedy, kind), cause.passing)
            return
        if not self._check_capabilities(properties):
            return
        self._client.heed_receive_maximum(properties)
        self._phase, self.number = "up", self.number + 1
        self._back, away = self.number > 1, time.monotonic() - self._since
        self._since = time.monotonic()
        if self._back or self._trouble is not None:
            again = "again " * self._back
            log.info("connected %sto %s after %.0f s", again, self._broker.address, away)
        self._trouble = None
        self._backoff.connected()
        self.packet = getattr(properties, "MaximumPacketSize", None)
        packet = self.packet or self._broker.chunk_bytes
        self._listeners.up(max(min(self._broker.chunk_bytes, packet), LEAST_CHUNK_BYTES))

    def _check_capabilities(self, properties: Properties | None) -> bool:
        """Return whether the broker can do what is asked of it; if not, part from it."""
        packet = getattr(properties, "MaximumPacketSize", None) or LEAST_CHUNK_BYTES
        lacks = {
            (0x9A, "keeps no retained messages"): getattr(properties, "RetainAvailable", 1) == 0,
            (0x9B, "takes no QoS 1"): getattr(properties, "MaximumQoS", 1) == 0,
            (0x95, f"takes packets of {packet} bytes only"): packet < LEAST_CHUNK_BYTES,
        }
        lacking = [each for each, so in lacks.items() if so]
        if not lacking or self._settled.is_set():  # once it was all right it may be so again
            return True
        self._phase = "refused"
        code, problem = lacking[0]
        trouble = self._error(problem, reason_for(code).remedy, ForbiddenError)
        self._note_trouble(trouble, passing=False)
        return False

    def _on_disconnect(
        self,
        _client: Client,
        _data: Any,
        flags: DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        phase, self._phase = self._phase, "down"
        if phase == "up":
            self._listeners.down()
        if self._ending or phase in ("down", "refused"):
            return
        if phase == "dialling":
            alert = self._client.alert
            cause = silence(self._broker) if alert is None else tls_error(self._broker, alert)
            self._note_trouble(cause)
        else:
            self._on_lost(reason, flags.is_disconnect_packet_from_server, properties)

    def _on_lost(self, reason: ReasonCode, explained: bool, properties: Properties | None) -> None:
        """Go on after a connection that was up; the broker may have said why."""
        lasted, self._since = time.monotonic() - self._since, time.monotonic()
        redialled, self._redialled = self._redialled, False
        if redialled:
            log.info("connects to %s again, with what its files hold now", self._broker.address)
            return
        taken = explained and reason.value == TAKEN_OVER
        self._backoff.lost(lasted, taken)
        known = self._backoff.brief >= LOOK_FROM and self._rivals.found == "another"
        self.takeovers += taken or known
        pause = self._schedule_reconnect()
        address = self._broker.address
        said = WORDLESS if reason.value == UNSPECIFIED and not explained else str(reason)
        self._trouble = self._error(f"was lost: {said}", SEE_ITS_LOG)
        # Not every broker says who took the session: Mosquitto 2.0 just closes, again and again.
        if taken or self._backoff.unsteady:
            why, check = self._unsteady(taken)
            text = (
                "lost the broker %s (%s), %d times after a short while: %s; trying again in %s; %s"
            )
            seconds = f"{pause:.0f} s"
            log.warning(text, address, said, self._backoff.brief, why, seconds, check)
            return
        remedy = ""
        if explained:
            other_server = getattr(properties, "ServerReference", None)
            remedy = f"; {reason_for(reason.value, other_server).remedy}"
        text = "lost the broker %s (%s) after %.0f s; trying again in %.0f s%s"
        log.warning(text, address, said, lasted, pause, remedy)

    def _unsteady(self, taken: bool) -> tuple[str, str]:
        """Say why connections do not last, as far as broker and presence tell, and what to do."""
        other = f"there is another client with the id {self._client.name}"
        weak = "the link does not hold (a weak network, a proxy's limit)"
        rival, check = reason_for(TAKEN_OVER).remedy, "check the network"
        if taken or self._rivals.found == "another":
            return other, rival
        if self._rivals.found == "alone":
            return weak, check
        return f"{weak}, or {other}", f"{check}, or {rival}"
