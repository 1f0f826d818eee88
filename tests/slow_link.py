"""A link to a server on which some of what is sent takes its time."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Pause = Callable[[bytes], float]


def _no_pause(data: bytes) -> float:
    return 0.0


def _carry(source: socket.socket, sink: socket.socket, pause: Pause) -> None:
    with suppress(OSError):  # the other side has gone
        while data := source.recv(65536):
            time.sleep(pause(data))  # the link's
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, target: int, up: Pause, down: Pause) -> None:
    with suppress(OSError):  # the listener is closed
        while True:
            near, _ = listener.accept()
            far = socket.create_connection(("127.0.0.1", target))
            threads = [
                threading.Thread(target=_carry, args=(near, far, up)),
                threading.Thread(target=_carry, args=(far, near, down)),
            ]
            for thread in threads:
                thread.start()
            threading.Thread(target=_close, args=(threads, near, far)).start()


def _close(threads: list[threading.Thread], *ends: socket.socket) -> None:
    for thread in threads:
        thread.join()
    for each in ends:
        each.close()


@contextmanager
def slow_link(target: int, up: Pause = _no_pause, down: Pause = _no_pause) -> Iterator[int]:
    """Carry to a server of this machine; yield the port to connect to instead.

    Args:
        target: the server's port.
        up: seconds to hold a piece of what a client sends.
        down: seconds to hold a piece of what the server sends.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_accept, args=(listener, target, up, down))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
