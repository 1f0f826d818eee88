"""A proxy before a real broker that changes what the broker says, or says something of its own."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Change = Callable[[bytes], bytes]


def refusing(*codes: int) -> Callable[[int], bytes | None]:
    """Refuse the first connections with these reason codes of MQTT 5."""
    return lambda number: bytes([0x20, 3, 0, codes[number], 0]) if number < len(codes) else None


def split(stream: bytes) -> tuple[list[bytes], bytes]:
    """Return a stream's whole packets, and what is there of the next one."""
    packets = []
    while (size := _size(stream)) is not None and len(stream) >= size:
        packets.append(stream[:size])
        stream = stream[size:]
    return packets, stream


def _size(stream: bytes) -> int | None:
    """Return the bytes of the first packet; None if the header is not there yet."""
    length = 0
    for place, byte in enumerate(stream[1:5]):
        length |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return 2 + place + length
    return None


def _pump(source: socket.socket, sink: socket.socket, change: Change) -> None:
    """Carry whole packets, however the socket cuts them."""
    rest = b""
    with suppress(OSError):
        while data := source.recv(65536):
            packets, rest = split(rest + data)
            sink.sendall(b"".join(map(change, packets)))
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def _unchanged(data: bytes) -> bytes:
    return data


def _carry(client: socket.socket, port: int, change: Change, life: float | None) -> None:
    with client, suppress(OSError), socket.create_connection(("127.0.0.1", port)) as broker:
        down = threading.Thread(target=_pump, args=(broker, client, change))
        end = threading.Timer(life or 3600, _cut, (client,))
        down.start()
        end.start()
        _pump(client, broker, _unchanged)
        end.cancel()
        end.join()
        down.join()


def _cut(client: socket.socket) -> None:
    with suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)


def _answer(client: socket.socket, answer: bytes) -> None:
    with client, suppress(OSError):
        client.recv(4096)
        client.sendall(answer)


@contextmanager
def before(
    port: int,
    first: Callable[[int], bytes | None] = lambda number: None,
    change: Change = _unchanged,
    life: float | None = None,
) -> Iterator[int]:
    """Listen before a broker's port; yield the port.

    Args:
        port: the broker's.
        first: what to answer a connection's first packet with, by its number, before it is closed.
        change: what becomes of each packet that the broker sends.
        life: seconds after which each connection is closed.
    """
    threads: list[threading.Thread] = []

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = server.accept()
                answer = first(len(threads))
                if answer is None:
                    carried = (client, port, change, life)
                    thread = threading.Thread(target=_carry, args=carried)
                else:
                    thread = threading.Thread(target=_answer, args=(client, answer))
                threads.append(thread)
                thread.start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        serving = threading.Thread(target=serve)
        serving.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            serving.join()
            for thread in threads:
                thread.join()
