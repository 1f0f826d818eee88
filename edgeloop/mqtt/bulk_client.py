"""paho's client where many messages come at once: one system call for many packets.

paho reads a packet in five system calls and writes each in two, and makes a table of all of MQTT's
properties for each that it reads. Between those calls another thread has the interpreter.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

AT_ONCE = 262_144
"""Bytes that are read in one system call."""

_PUBLISH, _PUBACK = 0x30, 0x40
_QOS, _QOS_1, _RETAINED = 0x06, 0x02, 0x01

TakePlain = Callable[[str, bytes, int, bool], None]


class _Held(threading.local):
    """What a thread holds back to send together; None while it holds nothing back."""

    packets: bytearray | None = None
    connection: int = 0


class BulkClient(Client):
    """Reads and writes many packets at once.

    Attributes:
        take_plain: called instead of `on_message` with a message of QoS 1 without properties:
            topic, payload, number, whether it was retained.
        heard: when bytes last came from the broker, by `time.monotonic`; paho's own note of it is
            of its questions, too.
    """

    take_plain: TakePlain | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._unread = memoryview(b"")
        self._has_read = False
        self._held = _Held()
        self._connection_number = 0
        self.heard = 0.0

    # ---- reading

    def reconnect(self) -> MQTTErrorCode:
        """Connect, as paho does; what was read or held back of a connection before is gone."""
        self._unread = memoryview(b"")
        self._connection_number += 1
        return super().reconnect()

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Read once from the connection, and handle every packet that is whole then."""
        self._has_read = False
        with self.together():
            done = super().loop_read(max_packets)
            while not done and self._unread:
                done = super().loop_read(max_packets)
        return done

    def _sock_recv(self, size: int) -> Any:
        """Return a view of the next bytes; the system is called once at most in a `loop_read`."""
        if not self._unread:
            if not isinstance(self._sock, socket.socket):  # websockets have frames of their own
                return self._received(size)
            if self._has_read:
                raise BlockingIOError
            self._unread = memoryview(self._received(max(size, AT_ONCE)))
            self._has_read = True
        found = self._unread[:size]
        self._unread = self._unread[size:]
        return found

    def _received(self, size: int) -> Any:
        if found := super()._sock_recv(size):
            self.heard = time.monotonic()
        return found

    def _handle_publish(self) -> MQTTErrorCode:
        packet: bytearray = self._in_packet["packet"]
        head: int = self._in_packet["command"]
        end = 2 + int.from_bytes(packet[:2])  # of the topic; two bytes of number, then properties
        plain = head & _QOS == _QOS_1 and packet[end + 2 : end + 3] == b"\0"
        if self.take_plain is None or not plain:
            return super()._handle_publish()
        try:
            topic = packet[2:end].decode()
        except UnicodeDecodeError:
            return super()._handle_publish()
        number = int.from_bytes(packet[end : end + 2])
        payload = bytes(memoryview(packet)[end + 3 :])
        self.take_plain(topic, payload, number, bool(head & _RETAINED))
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _handle_pubackcomp(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        packet: bytearray = self._in_packet["packet"]
        if cmd != "PUBACK" or len(packet) not in (2, 3):
            return super()._handle_pubackcomp(cmd)
        number, code = int.from_bytes(packet[:2]), packet[2] if len(packet) == 3 else 0
        if code not in _known_codes():
            return super()._handle_pubackcomp(cmd)
        with self._out_message_mutex:
            if number in self._out_messages:
                return self._do_on_publish(number, _reason(code), _no_properties())
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    # ---- writing

    @contextmanager
    def together(self) -> Iterator[None]:
        """Send what this thread publishes and acknowledges in the block at its end, at once."""
        held = self._held
        if held.packets is not None:
            yield
            return
        held.packets, held.connection = bytearray(), self._connection_number
        try:
            yield
        finally:
            packets, held.packets = held.packets, None
            self._release(packets, held.connection)

    def _release(self, packets: bytearray, connection: int) -> None:
        """Send packets; those of a connection that is gone its broker delivers or wants again."""
        if packets and connection == self._connection_number:
            super()._packet_queue(_PUBACK, packets, 0, 1)

    def _packet_queue(
        self, command: int, packet: bytes | bytearray, mid: int, qos: int, info: Any = None
    ) -> MQTTErrorCode:
        held = self._held
        if held.packets is None:
            return super()._packet_queue(command, packet, mid, qos, info)
        if qos == 1 and command & 0xF0 in (_PUBLISH, _PUBACK):
            held.packets += packet
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        packets, held.packets = held.packets, bytearray()  # an order that must stay
        self._release(packets, held.connection)
        return super()._packet_queue(command, packet, mid, qos, info)


@cache
def _known_codes() -> frozenset[int]:
    """Return the reason codes that MQTT 5 knows of an acknowledgement."""
    names = ReasonCode(PacketTypes.PUBACK).names
    return frozenset(
        code
        for code, by_name in names.items()
        if any(PacketTypes.PUBACK in kinds for kinds in by_name.values())
    )


@cache
def _reason(code: int) -> ReasonCode:
    return ReasonCode(PacketTypes.PUBACK, identifier=code)


@cache
def _no_properties() -> Properties:
    return Properties(PacketTypes.PUBACK)  # type: ignore[no-untyped-call]  # paho left it out
