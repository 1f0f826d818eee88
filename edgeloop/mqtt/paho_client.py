"""paho's client as we need it: its settings, who we are, and what it keeps to itself."""

import logging
from collections.abc import Callable
from typing import Any

from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edgeloop.errors import BrokerError, BrokerSetupError
from edgeloop.mqtt.bulk_client import BulkClient
from edgeloop.mqtt.progress import Progress
from edgeloop.mqtt.tls import Identity
from edgeloop.runtime.config import MOST_CHUNK_BYTES, BrokerSettings

log = logging.getLogger(__name__)

SESSION_SECONDS = 7 * 24 * 3600
KEEPALIVE_SECONDS = 30
MAX_INFLIGHT = 20  # messages that the broker may deliver before the first is acknowledged


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
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
        )
        self.name, self.account = client_id, broker.username or client_id
        self._broker = broker
        self.username_pw_set(broker.username, broker_password(broker))
        self._identity = None if broker.ca_file is None else Identity(broker)
        if self._identity is not None:
            self.tls_set_context(self._identity.context)
        self.on_pre_connect = self._renew_credentials
        self._progress = Progress()

    def _renew_credentials(self, _client: Any, _data: Any) -> None:
        """Read password and certificates again, before each connection."""
        try:
            self.username_pw_set(self._broker.username, broker_password(self._broker))
            if self._identity is not None:
                self._identity.renew()
        except BrokerError as error:  # half replaced, perhaps; the ones from before may do
            log.warning("%s", error)

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

    def reconnect(self) -> MQTTErrorCode:
        """Connect, as paho does; tell of it."""
        self.dials()
        try:
            return super().reconnect()
        except (OSError, UnicodeError) as error:  # UnicodeError: no host has such a name
            self.dial_failed(error)
            raise ConnectionError(str(error)) from error

    def _check_keepalive(self) -> None:
        """Part from a dead connection, as paho does, and not from a slow one.

        Its question waits behind all that is to be sent: while that goes out, it has no answer.
        """
        self._progress.look(self.socket(), self.want_write())
        if self._ping_t and self._progress.within(self._keepalive / 2):
            self._ping_t = 0.0
        super()._check_keepalive()
