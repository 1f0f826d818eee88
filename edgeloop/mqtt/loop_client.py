"""An MQTT client without a thread of its own: an asyncio loop moves its messages.

It uses paho's interface for loops of others (`on_socket_open` and its like), so that one process
can be thousands of clients.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edgeloop.mqtt.messages import Arrival, properties
from edgeloop.mqtt.paho_client import PahoClient
from edgeloop.mqtt.sealing import checked, overhead, seal_of, signed
from edgeloop.runtime.config import LEAST_CHUNK_BYTES, BrokerSettings
from edgeloop.runtime.tracing import NONE, Notes


class Heard(NamedTuple):
    """Who gets what a client hears, on the loop's thread.

    Attributes:
        up: the connection is there; None, or why the broker refuses it.
        down: a connection that was there is lost, and why.
        arrived: a message.
        taken: the number of a packet that the broker has taken; None, or why it refuses it.
    """

    up: Callable[[str | None], None]
    down: Callable[[str], None]
    arrived: Callable[[Arrival], None]
    taken: Callable[[int, str | None], None]


class LoopClient:
    """One client of many in a process.

    Args:
        broker: where it connects.
        client_id: of its own.
        heard: who gets it.
        will: the topic on which the broker says "offline", retained, when it vanishes.

    Raises:
        BrokerError: if the password or a certificate cannot be read, to connect or to sign with.
    """

    def __init__(self, broker: BrokerSettings, client_id: str, heard: Heard, will: str) -> None:
        self._broker, self._heard, self._seal = broker, heard, seal_of(broker)
        self._limit = broker.chunk_bytes
        self._loop = asyncio.get_running_loop()
        self._client = client = PahoClient(broker, client_id)
        client.dials, client.dial_failed = (lambda: None), (lambda error: None)
        client.will_set(client.full(will), b"offline", qos=1, retain=True)
        client.on_socket_open, client.on_socket_close = self._opened, self._closed
        client.on_socket_register_write = self._wants_to_write
        client.on_socket_unregister_write = self._has_written
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_message, client.on_publish = self._on_message, self._on_publish
        client.address(persistent=False)

    @property
    def connected(self) -> bool:
        """Whether the connection is up."""
        return self._client.is_connected()

    @property
    def limit(self) -> int:
        """Bytes of the largest payload of a packet that the broker takes."""
        return self._limit

    def dial(self) -> None:
        """Connect; blocks until there is a connection, so call it on a thread of a pool.

        Raises:
            OSError: if there is none.
        """
        self._client.reconnect()

    def tend(self) -> None:
        """Send what keeps the connection alive; call it every few seconds."""
        self._client.loop_misc()

    def subscribe(self, topics: Sequence[str]) -> None:
        """Have the messages of some topics."""
        self._client.subscribe(
            [(self._client.full(each), SubscribeOptions(qos=1)) for each in topics]
        )

    def publish(self, topic: str, payload: bytes, retain: bool = False, notes: Notes = NONE) -> int:
        """Send a packet at least once; return its number, with which `taken` is called."""
        told = signed(self._seal, topic, payload, notes)
        sent, place = properties(told, None), self._client.full(topic)
        return self._client.publish(place, payload, qos=1, retain=retain, properties=sent).mid

    def end(self) -> None:
        """Part from the broker."""
        self._client.disconnect()

    # ---- what paho tells; a connection may be made on another thread

    def _opened(self, _client: Client, _data: Any, sock: Any) -> None:
        self._loop.call_soon_threadsafe(self._read_soon, sock)

    def _read_soon(self, sock: Any) -> None:
        if sock.fileno() >= 0:  # else it was closed meanwhile
            self._loop.add_reader(sock, self._client.loop_read)

    def _closed(self, _client: Client, _data: Any, sock: Any) -> None:
        self._loop.remove_reader(sock)
        self._loop.remove_writer(sock)

    def _wants_to_write(self, _client: Client, _data: Any, sock: Any) -> None:
        self._loop.call_soon_threadsafe(self._write_soon, sock)

    def _write_soon(self, sock: Any) -> None:
        if sock.fileno() >= 0:  # else it was closed meanwhile
            self._loop.add_writer(sock, self._client.loop_write)

    def _has_written(self, _client: Client, _data: Any, sock: Any) -> None:
        self._loop.remove_writer(sock)

    def _on_connect(
        self,
        _client: Client,
        _data: Any,
        _flags: ConnectFlags,
        reason: ReasonCode,
        found: Properties | None,
    ) -> None:
        self._client.heed_receive_maximum(found)
        packet = getattr(found, "MaximumPacketSize", None) or self._broker.chunk_bytes
        least = min(self._broker.chunk_bytes, packet)
        least = max(least, LEAST_CHUNK_BYTES)
        self._limit = least - overhead(self._seal, least)
        self._heard.up(str(reason) if reason.is_failure else None)

    def _on_disconnect(
        self,
        _client: Client,
        _data: Any,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._heard.down(str(reason))

    def _on_message(self, client: Client, _data: Any, message: MQTTMessage) -> None:
        notes = dict(getattr(message.properties, "UserProperty", ()))
        topic, payload = self._client.bare(message.topic), bytes(message.payload)
        arrival = Arrival(topic, payload, lambda: None, notes)
        self._heard.arrived(checked(self._seal, arrival))
        client.ack(message.mid, message.qos)

    def _on_publish(
        self,
        _client: Client,
        _data: Any,
        number: int,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._heard.taken(number, str(reason) if reason.is_failure else None)
