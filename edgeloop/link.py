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
from typing import Any, Self

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edgeloop import chunks
from edgeloop.certificates import Identity
from edgeloop.errors import BrokerError
from edgeloop.settings import BrokerSettings
from edgeloop.tracing import NONE, Notes

log = logging.getLogger(__name__)

SESSION_SECONDS = 7 * 24 * 3600
KEEPALIVE_SECONDS = 30
OVERHEAD = 1024  # bytes of a packet besides its payload: topic, properties, head
TAKEN_OVER = 0x8E  # MQTT 5: another client connected with this client id
BRIEF_SECONDS, BRIEF_LIMIT = 5.0, 5  # so many connections in a row, so brief, are a fight for an id


def broker_password(broker: BrokerSettings) -> str | None:
    """Read the password file's first line, if there is one.

    Raises:
        BrokerError: if it cannot be read.
    """
    if broker.password_file is None:
        return None
    try:
        return broker.password_file.read_text(encoding="utf-8").split("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise BrokerError(
            "broker.password_file", f"cannot be read ({error})", "give a readable file"
        ) from error


def _user_properties(notes: Notes) -> Properties | None:
    if not notes:
        return None
    found = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho left it out
    found.UserProperty = list(notes.items())
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
    """The connection was lost and is back; the broker has forgotten what it held for us."""


class Link:
    """A connection that heals itself, with a fixed client id and a session that outlives it.

    Args:
        broker: where to connect.
        client_id: the same at every start of the same client.
        subscriptions: topic filters, subscribed anew at each connection.
        presence: topic that always says, retained, whether this client is "online" or "offline";
            when it vanishes the broker says so, by its last will.
        watch: told, on the network thread, when the connection comes and goes.
    """

    def __init__(
        self,
        broker: BrokerSettings,
        client_id: str,
        subscriptions: Sequence[str],
        presence: str | None = None,
        watch: Callable[[bool], None] = lambda connected: None,
    ) -> None:
        self._broker = broker
        self._client_id = client_id
        self._inbox: queue.SimpleQueue[Arrival | Reconnected | BrokerError] = queue.SimpleQueue()
        self._filters = tuple(subscriptions)  # always replaced as a whole: two threads look at it
        self._settled = threading.Event()  # the first connection is up and subscribed, or refused
        self._failure: BrokerError | None = None
        self._connection = 0  # counts them: an acknowledgement belongs to one
        self._forgotten = False  # the broker of this connection knows no session of ours
        self._since = 0.0  # when the connection came up
        self._brief = 0  # connections in a row that did not last
        self._limit = broker.chunk_bytes
        self._sent = self._confirmed = 0  # messages given to paho, and taken by the broker
        self._confirmation = threading.Condition()
        self._held: dict[str, int] = {}
        self._presence = presence
        self._watch = watch
        self._client = self._made()

    def _made(self) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            self._client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
        )
        client.username = self._broker.username
        client.password = broker_password(self._broker)
        if self._broker.ca_file is not None:
            self._identify(client, Identity(self._broker))
        client.reconnect_delay_set(min_delay=1, max_delay=30)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = lambda *_: self._subscribed()
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        if self._presence is not None:
            client.will_set(self._presence, b"offline", qos=1, retain=True)
        return client

    def _identify(self, client: Client, identity: Identity) -> None:
        def renew(_client: Client, _data: Any) -> None:
            try:
                identity.renew()
            except BrokerError as error:  # half replaced, perhaps; the ones from before may do
                log.warning("%s", error)

        client.tls_set_context(identity.context)
        client.on_pre_connect = renew

    def __enter__(self) -> Self:
        """Connect and subscribe.

        Raises:
            BrokerError: if the broker cannot be reached in time, or refuses this client.
        """
        self._dial(time.monotonic() + self._broker.connect_seconds)
        self._client.loop_start()
        self._settled.wait(self._broker.connect_seconds)
        if self._failure is not None or not self._settled.is_set():
            self._client.disconnect()
            self._client.loop_stop()
            raise self._failure or self._error("does not answer", self._advice())
        return self

    def __exit__(self, *_: object) -> None:
        if self._presence is not None:
            self.publish(self._presence, b"offline", retain=True)
        self.flush(timeout=5.0)
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def connected(self) -> bool:
        """Tell whether the connection is up."""
        return self._client.is_connected()

    def _dial(self, deadline: float) -> None:
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho left it out
        session.SessionExpiryInterval = SESSION_SECONDS
        address = self._broker.host, self._broker.port
        while True:
            try:
                self._client.connect(
                    *address, KEEPALIVE_SECONDS, clean_start=False, properties=session
                )
            except ssl.SSLCertVerificationError as error:
                problem = f"shows a certificate that does not hold ({error.verify_message})"
                remedy = "mend host, or give its authority's certificate as ca_file"
                raise self._error(problem, remedy) from error
            except (OSError, UnicodeError) as error:  # UnicodeError: no host has such a name
                if time.monotonic() >= deadline:
                    problem = f"cannot be reached ({getattr(error, 'strerror', None) or error})"
                    raise self._error(problem, "start it, or mend host and port") from error
                time.sleep(0.2)  # between attempts to reach a broker that is still starting
            else:
                return

    def _advice(self) -> str:
        """Return what to do about a broker that takes a connection and says nothing."""
        if self._broker.ca_file is None:
            return "check that it speaks MQTT 5, without TLS unless ca_file is given"
        return "check that it speaks MQTT 5, and accepts the certificate in certificate_file"

    def _error(self, problem: str, remedy: str) -> BrokerError:
        return BrokerError(f"broker {self._broker.address}", problem, remedy)

    # ---- on paho's network thread

    def _on_connect(
        self,
        client: Client,
        _data: Any,
        flags: ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            if self._settled.is_set():
                log.warning("the broker refuses %s (%s); trying again", self._client_id, reason)
            else:
                self._fail(f"refuses {self._client_id} ({reason})", "mend username and password")
            return
        self._connection += 1
        self._since = time.monotonic()
        packet = getattr(properties, "MaximumPacketSize", None) or self._broker.chunk_bytes
        self._limit = min(self._broker.chunk_bytes, packet) - OVERHEAD
        self._forgotten = self._connection > 1 and not flags.session_present
        if self._filters:
            client.subscribe([(name, SubscribeOptions(qos=1)) for name in self._filters])
        else:
            self._subscribed()
        self._watch(True)
        if self._presence is not None:
            self.publish(self._presence, b"online", retain=True)

    def _subscribed(self) -> None:
        """Settle; tell of a broker that has forgotten us only once it sends us messages again."""
        self._settled.set()
        if self._forgotten:
            self._forgotten = False
            self._inbox.put(Reconnected())

    def _on_disconnect(
        self,
        _client: Client,
        _data: Any,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._watch(False)
        if not reason.is_failure:
            return
        lasted = time.monotonic() - self._since
        self._brief = self._brief + 1 if lasted < BRIEF_SECONDS else 0
        # Not every broker says who took the session: Mosquitto 2.0 just closes, again and again.
        if reason.value == TAKEN_OVER or self._brief >= BRIEF_LIMIT:
            self._fail(
                f"has another client with the id {self._client_id}",
                "stop the other process, or give this one another name",
            )
        else:
            log.warning("lost the broker %s (%s); trying again", self._broker.address, reason)

    def _fail(self, problem: str, remedy: str) -> None:
        """End this link for good; its owner learns of it at the next `receive`."""
        self._failure = self._error(problem, remedy)
        self._settled.set()
        self._inbox.put(self._failure)
        self._client.disconnect()

    def _on_message(self, client: Client, _data: Any, message: MQTTMessage) -> None:
        connection = self._connection

        def acknowledge() -> None:
            if connection == self._connection:  # a later connection delivers it anew
                client.ack(message.mid, message.qos)

        notes = dict(getattr(message.properties, "UserProperty", ()))
        self._inbox.put(Arrival(message.topic, bytes(message.payload), acknowledge, notes))

    def _on_publish(self, *_: object) -> None:
        with self._confirmation:
            self._confirmed += 1
            self._confirmation.notify_all()

    # ---- on the owner's thread

    def receive(self, timeout: float | None) -> Arrival | Reconnected | None:
        """Return the next event, or None when the time is up.

        Raises:
            BrokerError: if another process has taken this client's name.
        """
        try:
            event = self._inbox.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(event, BrokerError):
            raise event
        return event

    def subscribe(self, name: str) -> None:
        """Have the messages of one more topic filter, the retained ones at once."""
        self._filters = (*self._filters, name)
        self._client.subscribe(name, options=SubscribeOptions(qos=1))

    def unsubscribe(self, name: str) -> None:
        """Have the messages of a topic filter no longer."""
        self._filters = tuple(each for each in self._filters if each != name)
        self._client.unsubscribe(name)

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, notes: Notes = NONE
    ) -> None:
        """Send one packet at least once; while the broker is away it waits here."""
        with self._confirmation:
            self._sent += 1
        info = self._client.publish(
            topic, payload, qos=1, retain=retain, properties=_user_properties(notes)
        )
        if info.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
            raise self._error(f"takes no message ({info.rc.name})", "see the broker's log")

    def send(self, topic: str, payload: bytes, notes: Notes = NONE) -> int:
        """Send a payload of any size, in chunks, to one topic; return the bytes that takes.

        The notes go with each chunk: whichever comes last has them.
        """
        parts = chunks.split(payload, self._limit)
        for chunk in parts:
            self.publish(topic, chunk, notes=notes)
        return sum(map(len, parts))

    def hold(self, topic: str, payload: bytes) -> None:
        """Have the broker keep a payload of any size: chunk i retained at topic/i."""
        parts = chunks.split(payload, self._limit)
        for index, chunk in enumerate(parts):
            self.publish(f"{topic}/{index}", chunk, retain=True)
        for index in range(len(parts), self._held.get(topic, 0)):
            self.publish(f"{topic}/{index}", b"", retain=True)
        self._held[topic] = len(parts)

    def flush(self, timeout: float) -> bool:
        """Wait until the broker has all that was sent; tell whether it has."""
        with self._confirmation:
            return self._confirmation.wait_for(lambda: self._confirmed >= self._sent, timeout)
