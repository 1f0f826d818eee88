"""paho's client as we need it: its settings, who we are, and what it keeps to itself."""

import logging
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edgeloop.errors import BrokerError, BrokerSetupError
from edgeloop.mqtt.bulk_client import BulkClient
from edgeloop.mqtt.progress import Progress
from edgeloop.mqtt.proxy import chosen, tunnel
from edgeloop.mqtt.tls import Identity
from edgeloop.runtime.config import MOST_CHUNK_BYTES, BrokerSettings

log = logging.getLogger(__name__)

SESSION_SECONDS = 7 * 24 * 3600
KEEPALIVE_SECONDS = 30
MOST_UNDER_WAY = 20  # messages to the broker that it has not acknowledged
MAX_INFLIGHT = 20  # messages that the broker may deliver before the first is acknowledged


def broker_password(broker: BrokerSettings) -> str | None:
    """Read the password file's first line, if there is one.

    Raises:
        BrokerSetupError: if it cannot be read.
    """
    return _first_line("broker.password_file", broker.password_file)


def _first_line(field: str, file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8-sig").split("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise BrokerSetupError(
            field, f"cannot be read ({error})", "give a readable file"
        ) from error


class PahoClient(BulkClient):
    """Tells of each attempt to reach the broker, and why one failed, which paho keeps to itself.

    Args:
        broker: where it will connect, and with what password and certificate.
        client_id: the same at every start of the same client.

    Attributes:
        name: its client id.
        account: whom the broker's access list knows this client as.
        dials: called when an attempt begins.
        dial_failed: called with what an attempt failed by.

    Raises:
        BrokerError: if the password or a certificate cannot be read.
    """

    dials: Callable[[], None]
    dial_failed: Callable[[OSError | UnicodeError], None]

    def __init__(self, broker: BrokerSettings, client_id: str) -> None:
        client_id = broker.client_id_prefix + client_id
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id,
            transport=broker.transport,
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
        )
        self.name, self.account = client_id, broker.username or client_id
        self._broker, self._prefix = broker, broker.prefix
        if broker.transport == "websockets":
            self.ws_set_options(broker.path)
        self.username_pw_set(broker.username, broker_password(broker))
        self._identity = None if broker.ca_file is None else Identity(broker)
        if self._identity is not None:
            self.tls_set_context(self._identity.context)
        self.on_pre_connect = self._renew_credentials
        self._dialled: socket.socket | None = None
        self._said_proxy = ""
        self._progress = Progress()

    def _renew_credentials(self, _client: Any, _data: Any) -> None:
        """Read password and certificates again, before each connection.

        Raises:
            DatesError: if this client's own certificate does not hold now.
        """
        try:
            self.username_pw_set(self._broker.username, broker_password(self._broker))
            if self._identity is not None:
                self._identity.renew()
        except BrokerError as error:  # half replaced, perhaps; the ones from before may do
            log.warning("%s", error)
        if self._identity is not None:
            self._identity.check_dates()

    def heed_receive_maximum(self, connack: Properties | None) -> None:
        """Have no more under way than the broker takes at a time, which paho does not ask."""
        most = getattr(connack, "ReceiveMaximum", None) or MOST_UNDER_WAY
        self._max_inflight_messages = min(MOST_UNDER_WAY, most)

    def full(self, topic: str) -> str:
        """Return a topic, or a filter, as the broker knows it: behind the prefix."""
        if not self._prefix or not topic.startswith("$share/"):
            return self._prefix + topic
        share, group, name = topic.split("/", 2)
        return f"{share}/{group}/{self._prefix}{name}"

    def bare(self, topic: str) -> str:
        """Return a topic that the broker has named as everybody else here knows it."""
        return topic.removeprefix(self._prefix)

    def begin(self, persistent: bool, inflight: int = MAX_INFLIGHT) -> None:
        """Have paho's thread connect, and connect again until `disconnect`.

        Args:
            persistent: whether the broker keeps a session for this client when it is away.
            inflight: messages that the broker may deliver before the first is acknowledged.
        """
        self.address(persistent, inflight)
        self.loop_start()

    def address(self, persistent: bool, inflight: int = MAX_INFLIGHT) -> None:
        """Note where and how `reconnect` connects; as `begin`."""
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho left it out
        session.SessionExpiryInterval = SESSION_SECONDS if persistent else 0
        session.ReceiveMaximum = inflight
        session.MaximumPacketSize = MOST_CHUNK_BYTES
        self.connect_async(
            self._broker.host,
            self._broker.port,
            KEEPALIVE_SECONDS,
            clean_start=not persistent,
            properties=session,
        )

    def end(self) -> None:
        """Part from the broker, and end paho's thread."""
        self.disconnect()
        self.loop_stop()
        self._reset_sockets(sockpair_only=True)  # which paho leaves to the garbage collector

    def reconnect(self) -> MQTTErrorCode:
        """Connect, as paho does; tell of it."""
        self.dials()
        try:
            return super().reconnect()
        except (OSError, UnicodeError) as error:  # UnicodeError: no host has such a name
            self._close_dialled()
            self.dial_failed(error)
            raise ConnectionError(str(error)) from error

    def _create_socket_connection(self) -> socket.socket:
        """Connect, through a proxy if there is one on the way; paho would ask PySocks."""
        self._dialled = None
        if (proxy := chosen(self._broker)) is None:
            self._dialled = super()._create_socket_connection()
            return self._dialled
        if self._said_proxy != str(proxy):
            self._said_proxy = str(proxy)
            log.info("connects to %s through %s", self._broker.address, proxy)
        secret = _first_line("broker.proxy_password_file", self._broker.proxy_password_file)
        place = self._broker.host, self._broker.port
        self._dialled = tunnel(proxy, *place, self._connect_timeout, secret or proxy.password)
        return self._dialled

    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        self._dialled = super()._ssl_wrap_socket(tcp_sock)
        return self._dialled

    def cut(self) -> None:
        """Cut the connection below TLS and websockets: paho's thread finds it lost."""
        if self._dialled is not None:
            with suppress(OSError):  # it was lost just now
                socket.socket.shutdown(self._dialled, socket.SHUT_RDWR)

    @property
    def alert(self) -> ssl.SSLError | None:
        """Why the broker ended TLS on the last connection, if it has said so."""
        return getattr(self._dialled, "alert", None)

    def _close_dialled(self) -> None:
        """Close the connection of an attempt that failed behind it, which paho forgets."""
        if self._dialled is not None:
            self._dialled.close()

    def _check_keepalive(self) -> None:
        """Part from a dead connection, as paho does, and not from a slow one.

        Its question waits behind all that is to be sent: while that goes out, it has no answer.
        """
        self._progress.look(self.socket(), self.want_write())
        lately = self._keepalive / 2
        hears = time.monotonic() - self.heard < lately
        if self._ping_t and (hears or self._progress.within(lately)):
            self._ping_t = 0.0
        super()._check_keepalive()
