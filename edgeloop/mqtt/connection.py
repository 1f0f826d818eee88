"""A connection to an MQTT 5 broker: what arrives waits in an inbox, what leaves is cut to fit.

The only place that knows paho. Its network thread does nothing but move messages: a message is
acknowledged by its owner, after it has done with it what must not be lost.
"""

import logging
import queue
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edgeloop.errors import (
    BrokerAwayError,
    BrokerError,
    BrokerSetupError,
    BusyError,
    ForbiddenError,
)
from edgeloop.mqtt.deliveries import Deliveries
from edgeloop.mqtt.reason_codes import SEE_ITS_LOG, TAKEN_OVER, reason_for
from edgeloop.mqtt.tls import Identity, verification_problem
from edgeloop.protocol import chunks
from edgeloop.runtime.config import LEAST_CHUNK_BYTES, MOST_CHUNK_BYTES, BrokerSettings
from edgeloop.runtime.pace import Backoff, Timer
from edgeloop.runtime.tracing import NONE, Notes

log = logging.getLogger(__name__)

SESSION_SECONDS = 7 * 24 * 3600
KEEPALIVE_SECONDS = 30
OVERHEAD = 1024  # bytes of a packet besides its payload: topic, properties, head
MAX_INFLIGHT = 20  # messages that the broker may deliver before the first is acknowledged
REPEAT_WARNING_SECONDS = 60.0  # between two lines on the same trouble

Refusable = Literal["publish", "subscribe"]
"""What a broker can refuse to a client that is connected."""


def broker_password(broker: BrokerSettings) -> str | None:
    """Read the password file's first line, if there is one.

    Raises:
        BrokerSetupError: if it cannot be read.
    """
    if broker.password_file is None:
        return None
    try:
        return broker.password_file.read_text(encoding="utf-8-sig").split("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise BrokerSetupError(
            "broker.password_file", f"cannot be read ({error})", "give a readable file"
        ) from error


def _properties(notes: Notes, expiry: int | None) -> Properties | None:
    if not notes and expiry is None:
        return None
    found = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho left it out
    if notes:
        found.UserProperty = list(notes.items())
    if expiry is not None:
        found.MessageExpiryInterval = expiry
    return found


@dataclass(frozen=True)
class Arrival:
    """A message that arrived.

    Attributes:
        topic: where it was published.
        payload: its bytes.
        acknowledge: tells the broker that it need not deliver it again.
        notes: its MQTT 5 user properties; of several with one name, the last.
    """

    topic: str
    payload: bytes
    acknowledge: Callable[[], None]
    notes: Notes = field(default_factory=dict)


@dataclass(frozen=True)
class Reconnected:
    """The connection was lost and is back; the broker may have forgotten what it held for us."""


class _Client(Client):
    """Tells of each attempt to reach the broker, and why one failed, which paho keeps to itself."""

    def __init__(self, client_id: str, connection: "MqttConnection") -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
        )
        self._connection = connection

    def reconnect(self) -> MQTTErrorCode:
        self._connection.on_dial()
        try:
            return super().reconnect()
        except (OSError, UnicodeError) as error:  # UnicodeError: no host has such a name
            self._connection.on_dial_failed(error)
            raise ConnectionError(str(error)) from error


class MqttConnection:
    """A connection that heals itself, with a fixed client id and a session that outlives it.

    Once it is up it never gives up: it tries again, ever more slowly, and says why.

    Args:
        broker: where to connect.
        client_id: the same at every start of the same client.
        subscriptions: topic filters, subscribed again at each connection.
        presence: topic that always says, retained, whether this client is "online" or "offline";
            when it vanishes the broker says so, by its last will.
        watch: told, on the network thread, when the connection comes and goes.
        retry_forever: whether the first connection, too, is tried without end where time can help,
            unless the settings say for how long.
        persistent: whether the broker keeps a session for this client when it is away.
        presence_notes: go with "online".
        refusal: told, on the network thread, of what the broker refuses, and its reason code.
    """

    def __init__(  # noqa: PLR0913 - keywords but five, with defaults
        self,
        broker: BrokerSettings,
        client_id: str,
        subscriptions: Sequence[str],
        presence: str | None = None,
        watch: Callable[[bool], None] = lambda connected: None,
        *,
        retry_forever: bool = False,
        persistent: bool = True,
        presence_notes: Notes = NONE,
        refusal: Callable[[Refusable, str], None] = lambda operation, reason: None,
    ) -> None:
        self._broker = broker
        self._client_id = client_id
        self._inbox: queue.SimpleQueue[Arrival | Reconnected | BrokerError] = queue.SimpleQueue()
        self._filters = tuple(subscriptions)  # always replaced as a whole: two threads look at it
        self._settled = threading.Event()  # the first connection is up and subscribed, or refused
        self._failure: BrokerError | None = None
        self._trouble: BrokerError | None = None  # why there is no connection now
        self._said: dict[str, Timer] = {}  # the lines that are said once a minute
        self._backoff = Backoff()
        self._phase: Literal["down", "dialling", "refused", "up"] = "down"
        self._ending = False
        self._connection = 0  # counts them: an acknowledgement belongs to one
        self._back = False  # this connection is not the first, and not yet told of
        self._since = time.monotonic()  # when the connection came up, or was lost
        self._limit = broker.chunk_bytes
        self._deliveries: Deliveries[str] = Deliveries()
        self._asked: Deliveries[tuple[str, ...]] = Deliveries()
        self._unheard: dict[str, str] = {}  # filters that the broker refuses, and why
        self._held: dict[str, int] = {}
        self._presence, self._presence_notes = presence, presence_notes
        self._watch, self._refusal = watch, refusal
        self._persistent = persistent
        forever = retry_forever and broker.connect_seconds is None
        self._patience = None if forever else broker.connect_timeout
        self._client = self._make_client()

    def _make_client(self) -> _Client:
        client = _Client(self._client_id, self)
        client.username_pw_set(self._broker.username, broker_password(self._broker))
        identity = None if self._broker.ca_file is None else Identity(self._broker)
        if identity is not None:
            client.tls_set_context(identity.context)
        client.on_pre_connect = self._credentials_renewal(identity)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        if self._presence is not None:
            client.will_set(self._presence, b"offline", qos=1, retain=True)
        return client

    def _credentials_renewal(self, identity: Identity | None) -> Callable[[Client, Any], None]:
        """Return what reads password and certificates again, before each connection."""

        def renew(client: Client, _data: Any) -> None:
            try:
                client.username_pw_set(self._broker.username, broker_password(self._broker))
                if identity is not None:
                    identity.renew()
            except BrokerError as error:  # half replaced, perhaps; the ones from before may do
                log.warning("%s", error)

        return renew

    def __enter__(self) -> Self:
        """Connect and subscribe.

        Raises:
            BrokerAwayError: if the broker cannot be reached in time.
            RefusedError: if it refuses this client: `BusyError` where time can help.
        """
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho left it out
        session.SessionExpiryInterval = SESSION_SECONDS if self._persistent else 0
        session.ReceiveMaximum = MAX_INFLIGHT
        session.MaximumPacketSize = MOST_CHUNK_BYTES
        self._schedule_reconnect()
        self._client.connect_async(
            self._broker.host,
            self._broker.port,
            KEEPALIVE_SECONDS,
            clean_start=not self._persistent,
            properties=session,
        )
        self._client.loop_start()
        try:
            self._settled.wait(self._patience)
        except BaseException:  # a person's Ctrl-C, too
            self._end()
            raise
        if self._failure is not None or not self._settled.is_set():
            self._end()
            raise self._failure or self._trouble or self._silent_remedy()
        return self

    def __exit__(self, *_: object) -> None:
        if self._presence is not None:
            self.publish(self._presence, b"offline", retain=True)
        self.flush(timeout=5.0)
        self._end()

    def _end(self) -> None:
        self._ending = True
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def connected(self) -> bool:
        """Return whether the connection is up."""
        return self._client.is_connected()

    @property
    def state(self) -> str:
        """Return whether the connection is up, or why it is not."""
        if self.connected:
            return f"connected to {self._broker.address}"
        why = "" if self._trouble is None else f" ({self._trouble.problem})"
        return f"not connected to {self._broker.address}{why}"

    def _error(
        self, problem: str, remedy: str, kind: type[BrokerError] = BrokerAwayError
    ) -> BrokerError:
        return kind(f"broker {self._broker.address}", problem, remedy)

    def _silent_remedy(self) -> BrokerError:
        """Return what to do about a broker that takes a connection and says nothing."""
        remedy = "check that it speaks MQTT 5, without TLS unless ca_file is given"
        if self._broker.ca_file is not None:
            remedy = "check that it speaks MQTT 5, and accepts the certificate in certificate_file"
        return self._error("does not answer", remedy)

    # ---- on paho's network thread

    def _schedule_reconnect(self) -> float:
        """Have paho wait before it dials again; return how long."""
        pause = self._backoff.pause()
        self._client.reconnect_delay_set(pause, pause)  # type: ignore[arg-type]  # seconds all the same
        return pause

    def on_dial(self) -> None:
        """Another attempt to connect begins."""
        self._phase = "dialling"

    def on_dial_failed(self, error: OSError | UnicodeError) -> None:
        """The attempt came to nothing."""
        self._phase = "down"
        if isinstance(error, ssl.SSLCertVerificationError):
            words = verification_problem(self._broker, error)
            self._note_trouble(self._error(*words, BrokerSetupError), passing=False)
            return
        problem = f"cannot be reached ({getattr(error, 'strerror', None) or error})"
        kind = BrokerAwayError if isinstance(error, OSError) else BrokerSetupError
        self._note_trouble(self._error(problem, "start it, or check host and port", kind))

    def _note_trouble(self, trouble: BrokerError, passing: bool = True) -> None:
        """Note why there is no connection; at the start, give up what time cannot help."""
        self._trouble = trouble
        self._backoff.failed()
        pause = self._schedule_reconnect()
        if not passing and not self._settled.is_set():
            self._fail(trouble)
        elif self._settled.is_set() or self._patience is None:
            self._warn_once(str(trouble), "%s; tries again, next in %.0f s", trouble, pause)

    def _warn_once(self, key: str, text: str, *facts: object) -> None:
        """Warn, of the same thing once a minute."""
        pace = self._said.get(key)
        if pace is None:
            if len(self._said) > 100:  # addresses in messages, say, that are never the same
                self._said.clear()
            self._said[key] = Timer(REPEAT_WARNING_SECONDS)
        elif not pace.due():
            return
        log.warning(text, *facts)

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
            told = reason_for(reason.value, getattr(properties, "ServerReference", None))
            problem = f"refuses {self._client_id} ({reason})"
            kind = BusyError if told.passing else ForbiddenError
            self._note_trouble(self._error(problem, told.remedy, kind), told.passing)
            return
        if not self._check_capabilities(properties):
            return
        self._phase, self._connection = "up", self._connection + 1
        self._back, away = self._connection > 1, time.monotonic() - self._since
        self._since = time.monotonic()
        packet = getattr(properties, "MaximumPacketSize", None) or self._broker.chunk_bytes
        self._limit = max(min(self._broker.chunk_bytes, packet), LEAST_CHUNK_BYTES) - OVERHEAD
        if self._back or self._trouble is not None:
            again = "again " * self._back
            log.info("connected %sto %s after %.0f s", again, self._broker.address, away)
        self._trouble = None
        self._backoff.connected()
        if self._filters:
            self._subscribe(self._filters)
        else:
            self._subscribed()
        self._watch(True)
        if self._presence is not None:
            self.publish(self._presence, b"online", retain=True, notes=self._presence_notes)

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

    def _subscribe(self, filters: tuple[str, ...]) -> None:
        options = [(name, SubscribeOptions(qos=1)) for name in filters]
        code, number = self._client.subscribe(options)
        if code == MQTTErrorCode.MQTT_ERR_SUCCESS and number is not None:
            self._asked.sent(number, filters)

    def _on_subscribe(
        self,
        _client: Client,
        _data: Any,
        number: int,
        reasons: Sequence[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        refused = {at: str(each) for at, each in enumerate(reasons) if each.is_failure}
        filters = self._asked.acknowledged(number, None)
        for at, name in enumerate(filters or ()):
            self._unheard.pop(name, None)
            if at in refused:
                self._unheard[name] = refused[at]
        for at, reason in refused.items():
            self._refusal("subscribe", reason)
            name = filters[at] if filters else "a topic"
            text = "the broker refuses to send %s to %s (%s); check its access list for %s"
            self._warn_once(f"subscribe {name}", text, name, self._client_id, reason, self._who)
        self._subscribed()

    @property
    def _who(self) -> str:
        return self._broker.username or self._client_id

    def _subscribed(self) -> None:
        """Settle; tell of a connection that is back once the broker sends us messages again."""
        self._settled.set()
        if self._back:
            self._back = False
            self._inbox.put(Reconnected())

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
            self._watch(False)
        if self._ending or phase in ("down", "refused"):
            return
        if phase == "dialling":
            self._note_trouble(self._silent_remedy())
        else:
            self._on_lost(reason, flags.is_disconnect_packet_from_server, properties)

    def _on_lost(self, reason: ReasonCode, told: bool, properties: Properties | None) -> None:
        """Go on after a connection that was up; the broker may have told why."""
        lasted, self._since = time.monotonic() - self._since, time.monotonic()
        taken = told and reason.value == TAKEN_OVER
        self._backoff.lost(lasted, taken)
        pause = self._schedule_reconnect()
        address = self._broker.address
        self._trouble = self._error(f"was lost: {reason}", SEE_ITS_LOG)
        # Not every broker says who took the session: Mosquitto 2.0 just closes, again and again.
        if taken or self._backoff.unsteady:
            log.warning(
                "lost the broker %s (%s), %d times after a short while: the link does not hold (a"
                " weak network, a proxy's limit), or there is another client with the id %s; tries"
                " again in %.0f s; check the network, or stop the other process, or give this one"
                " another name",
                address,
                reason,
                self._backoff.brief,
                self._client_id,
                pause,
            )
            return
        remedy = ""
        if told:
            told_server = getattr(properties, "ServerReference", None)
            remedy = f"; {reason_for(reason.value, told_server).remedy}"
        text = "lost the broker %s (%s) after %.0f s; tries again in %.0f s%s"
        log.warning(text, address, reason, lasted, pause, remedy)

    def _on_message(self, client: Client, _data: Any, message: MQTTMessage) -> None:
        connection = self._connection

        def acknowledge() -> None:
            if connection == self._connection:  # a later connection delivers it again
                client.ack(message.mid, message.qos)

        try:
            topic = message.topic
        except UnicodeDecodeError:  # Mosquitto lets none through; others do
            self._warn_once("topic", "ignored a message whose topic is not valid text")
            acknowledge()
            return
        if message.qos == 0 and self._inbox.qsize() >= MAX_INFLIGHT:
            self._warn_once(
                f"flood {topic}", "dropped messages on %s: more of them than can be read", topic
            )
            return
        notes = dict(getattr(message.properties, "UserProperty", ()))
        self._inbox.put(Arrival(topic, bytes(message.payload), acknowledge, notes))

    def _on_publish(
        self,
        _client: Client,
        _data: Any,
        number: int,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        topic = self._deliveries.acknowledged(number, str(reason) if reason.is_failure else None)
        if reason.is_failure:
            self._refusal("publish", str(reason))
            place = "what this client publishes" if topic is None else topic
            text = "the broker refuses messages on %s (%s); check its access list for %s"
            key = f"publish {place.rstrip('0123456789')}"  # one line for all chunks
            self._warn_once(key, text, place, reason, self._who)

    # ---- on the owner's thread

    def receive(self, timeout: float | None) -> Arrival | Reconnected | None:
        """Return the next event, or None when the time is up."""
        try:
            event = self._inbox.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(event, BrokerError):
            raise event
        return event

    def refusals(self) -> list[str]:
        """Return what the broker refuses now, each as a sentence for a person."""
        published = self._deliveries.refused()
        return [
            *(f"refuses messages on {topic} ({why})" for topic, why in published.items()),
            *(f"refuses to send {name} ({why})" for name, why in self._unheard.copy().items()),
        ]

    def resubscribe_refused(self) -> None:
        """Subscribe again to what the broker has refused to send."""
        if self._unheard and self.connected:
            self._subscribe(tuple(self._unheard))

    def subscribe(self, name: str) -> None:
        """Have the messages of one more topic filter, the retained ones at once."""
        self._filters = (*self._filters, name)
        self._subscribe((name,))

    def unsubscribe(self, name: str) -> None:
        """Have the messages of a topic filter no longer."""
        self._filters = tuple(each for each in self._filters if each != name)
        self._unheard.pop(name, None)
        self._client.unsubscribe(name)

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        notes: Notes = NONE,
        expiry: int | None = None,
    ) -> None:
        """Send one packet at least once; while the broker is away it waits here.

        Args:
            topic: where.
            payload: its bytes.
            retain: whether the broker keeps it for those who come later.
            notes: go with it, as user properties.
            expiry: seconds after which the broker may forget it for those who are away.
        """
        self._deliveries.renew(topic)
        self._publish(topic, payload, retain, _properties(notes, expiry))

    def _publish(
        self, topic: str, payload: bytes, retain: bool, properties: Properties | None
    ) -> None:
        info = self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        if info.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
            raise self._error(f"takes no message ({info.rc.name})", SEE_ITS_LOG)
        self._deliveries.sent(info.mid, topic)

    def send(self, topic: str, payload: bytes, notes: Notes = NONE) -> int:
        """Send a payload of any size, in chunks, to one topic; return the bytes that takes.

        The notes go with each chunk: whichever comes last has them.
        """
        parts = chunks.split(payload, self._limit)
        self._deliveries.renew(topic)
        for chunk in parts:
            self._publish(topic, chunk, False, _properties(notes, None))
        return sum(map(len, parts))

    def publish_retained(self, topic: str, payload: bytes) -> None:
        """Have the broker keep a payload of any size: chunk i retained at topic/i."""
        parts = chunks.split(payload, self._limit)
        for index, chunk in enumerate(parts):
            self.publish(f"{topic}/{index}", chunk, retain=True)
        for index in range(len(parts), self._held.get(topic, 0)):
            self.publish(f"{topic}/{index}", b"", retain=True)
        self._held[topic] = len(parts)

    def republish(self, topic: str, payload: bytes, expiry: int) -> None:
        """Send what is held once more, for those who have subscribed to it and miss it."""
        for index, chunk in enumerate(chunks.split(payload, self._limit)):
            self.publish(f"{topic}/{index}", chunk, expiry=expiry)

    def is_pending(self, topic: str) -> bool:
        """Return whether something that was sent there waits for the broker's word on it."""
        return topic in self._deliveries.open()

    def is_refused(self, topic: str) -> bool:
        """Return whether the broker refuses what was last sent there."""
        return topic in self._deliveries.refused()

    def flush(self, timeout: float, topic: str | None = None) -> bool:
        """Wait until the broker has all that was sent, or all on one topic; tell whether it has.

        What it refuses it does not have.
        """
        return self._deliveries.flush(timeout, topic)
