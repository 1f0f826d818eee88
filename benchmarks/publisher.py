"""Publishes what a file holds as fast as a broker takes it (`python -m benchmarks.publisher`).

No client library: packets are made before the first is sent, so that the publisher takes little of
the processor from the two that are measured. Prints when each left, in seconds since 1970.
"""

import json
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

CONNECT = b"\x10\x17\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x0apublisher1"
ACCEPTED = 0x20
PUBACK = 0x40
WINDOW = 20  # packets that Mosquitto takes before the first is acknowledged
Message = tuple[str, bytes]


def write(path: Path, messages: Sequence[Message]) -> None:
    """Write topics and payloads to a file."""
    with path.open("wb") as file:
        for topic, payload in messages:
            for each in (topic.encode(), payload):
                file.write(len(each).to_bytes(4) + each)


def read(file: BinaryIO) -> Iterator[Message]:
    """Yield topics and payloads from a file."""
    while head := file.read(4):
        topic = file.read(int.from_bytes(head)).decode()
        yield topic, file.read(int.from_bytes(file.read(4)))


def packet(number: int, topic: str, payload: bytes, about: bytes = b"\x00") -> bytes:
    """Return a PUBLISH of QoS 1, MQTT 5, with properties as they travel; without any at first."""
    name = topic.encode()
    body = len(name).to_bytes(2) + name + number.to_bytes(2) + about
    return b"\x32" + _length(len(body) + len(payload)) + body + payload


def _length(size: int) -> bytes:
    digits = bytearray()
    while True:
        size, digit = divmod(size, 128)
        digits.append(digit | (0x80 if size else 0))
        if not size:
            return bytes(digits)


def publish(port: int, packets: Sequence[bytes]) -> list[float]:
    """Send packets, so many at a time as the broker takes; return when each left."""
    times: list[float] = []
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(CONNECT)
        if client.recv(256)[0] != ACCEPTED:
            raise RuntimeError("the broker refuses the publisher")
        acknowledged, rest = 0, b""
        while acknowledged < len(packets):
            while len(times) < len(packets) and len(times) - acknowledged < WINDOW:
                times.append(time.time())
                client.sendall(packets[len(times) - 1])
            rest += client.recv(65_536)
            while len(rest) >= 2 and len(rest) >= 2 + rest[1]:
                acknowledged += rest[0] == PUBACK
                rest = rest[2 + rest[1] :]
    return times


def main() -> None:
    """Publish a file to the broker on a port of this machine."""
    port, path = int(sys.argv[1]), Path(sys.argv[2])
    with path.open("rb") as file:
        packets = [packet(at % 65_535 + 1, *each) for at, each in enumerate(read(file))]
    print(json.dumps(publish(port, packets)))


if __name__ == "__main__":
    main()
