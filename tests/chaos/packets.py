"""MQTT 5 packets as bytes: where they end, and what is within a PUBLISH."""

from collections.abc import Iterator
from dataclasses import dataclass, field

PUBLISH, CONNECT, DUPLICATE = 3, 1, 0x08


def _number(data: bytes | bytearray, start: int) -> tuple[int, int] | None:
    """Return a variable byte integer and where it ends; None if more bytes are to come."""
    value = 0
    for place in range(4):
        if start + place >= len(data):
            return None
        byte = data[start + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, start + place + 1
    raise ValueError("no variable byte integer")


@dataclass
class Packets:
    """Cuts a stream into packets.

    Attributes:
        rest: the beginning of a packet whose end has not arrived.
    """

    rest: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes; yield each packet that is whole."""
        self.rest += data
        while (end := self._end()) is not None:
            packet = bytes(self.rest[:end])
            del self.rest[:end]
            yield packet

    def _end(self) -> int | None:
        found = _number(self.rest, 1)
        if found is None or len(self.rest) < sum(found):
            return None
        return sum(found)


def is_publish(packet: bytes) -> bool:
    return packet[0] >> 4 == PUBLISH


def payload_start(packet: bytes) -> int:
    """Return where a PUBLISH's payload begins."""
    found = _number(packet, 1)
    assert found is not None
    start = found[1]
    start += 2 + int.from_bytes(packet[start : start + 2])  # the topic
    start += 2 if packet[0] & 0x06 else 0  # the packet's number
    properties = _number(packet, start)
    assert properties is not None
    return sum(properties)


def damaged(packet: bytes, where: float) -> bytes:
    """Return a PUBLISH with one bit of its payload changed; without a payload as it is.

    Args:
        packet: whole.
        where: in the payload, from 0 to 1.
    """
    start = payload_start(packet)
    if start == len(packet):
        return packet
    at = start + min(int(where * (len(packet) - start)), len(packet) - start - 1)
    return packet[:at] + bytes([packet[at] ^ 0x10]) + packet[at + 1 :]


def repeated(packet: bytes) -> bytes:
    """Return a PUBLISH of QoS 1 as it is sent a second time."""
    return bytes([packet[0] | DUPLICATE]) + packet[1:] if packet[0] & 0x06 else packet
