"""Whether bytes move on a connection, by what the system counts (Linux; elsewhere nobody knows)."""

import socket
import struct
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paho.mqtt.client import SocketLike

_COUNTS = struct.Struct("120xQQ8xI")
"""Of `struct tcp_info`, since Linux 4.6: bytes that the other side has acknowledged and sent, and
those that wait here until it takes more."""


class Progress:
    """Tells a slow line from a dead one."""

    def __init__(self) -> None:
        self._acknowledged = self._received = 0
        self._moved = 0.0

    def look(self, connection: "SocketLike | None", sending: bool) -> None:
        """Note what has moved since the look before.

        Args:
            connection: of TCP, be there TLS on it or not.
            sending: whether something waits to be sent. If nothing does, here or in the system,
                acknowledgements say only that the other side's system lives.
        """
        acknowledged, received, waiting = _counts(connection)
        went = acknowledged > self._acknowledged and (sending or waiting > 0)
        if went or received > self._received:
            self._moved = time.monotonic()
        self._acknowledged, self._received = acknowledged, received

    def within(self, seconds: float) -> bool:
        """Return whether anything has moved so lately, as far as `look` saw."""
        return time.monotonic() - self._moved < seconds


def _counts(connection: "SocketLike | None") -> tuple[int, int, int]:
    """Return the bytes acknowledged, received, and waiting; zeros where nobody counts them."""
    connection = getattr(connection, "_socket", connection)  # of a websocket
    if not isinstance(connection, socket.socket) or sys.platform != "linux":
        return 0, 0, 0
    try:
        found = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _COUNTS.size)
    except OSError:  # closed
        return 0, 0, 0
    if len(found) < _COUNTS.size:
        return 0, 0, 0
    acknowledged, received, waiting = _COUNTS.unpack(found)
    return acknowledged, received, waiting
