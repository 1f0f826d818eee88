"""An HTTP proxy that knows CONNECT, and a TLS front that asks for ALPN, before a test's broker."""

import base64
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Open = Callable[[socket.socket], socket.socket]


@dataclass
class Served:
    """What listens on a port, and what it has heard.

    Attributes:
        port: where.
        heard: a line a connection.
    """

    port: int
    heard: list[str] = field(default_factory=list)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def _carry(client: socket.socket, target: int, greet: Open) -> None:
    with (
        suppress(OSError),
        client,
        greet(client) as near,
        socket.create_connection(("127.0.0.1", target)) as far,
    ):
        back = threading.Thread(target=_pump, args=(far, near))
        back.start()
        _pump(near, far)
        back.join()


@contextmanager
def _serving(target: int, greet: Callable[[Served], Open]) -> Iterator[Served]:
    threads: list[threading.Thread] = []

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = server.accept()
                thread = threading.Thread(target=_carry, args=(client, target, greet(served)))
                threads.append(thread)
                thread.start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        served = Served(server.getsockname()[1])
        serving = threading.Thread(target=serve)
        serving.start()
        try:
            yield served
        finally:
            server.shutdown(socket.SHUT_RDWR)
            serving.join()
            for thread in threads:
                thread.join()


def _head(client: socket.socket) -> str:
    found = b""
    while not found.endswith(b"\r\n\r\n"):
        byte = client.recv(1)
        if not byte:
            raise ConnectionError("gone")
        found += byte
    return found.decode()


@contextmanager
def http_proxy(target: int, user: str = "", status: str = "200 OK") -> Iterator[Served]:
    """Serve as a proxy that leads to one local port whatever it is asked for.

    Args:
        target: the port.
        user: "name:password" that it wants.
        status: of its answer.
    """
    wanted = base64.b64encode(user.encode()).decode()

    def greet(served: Served) -> Open:
        def answer(client: socket.socket) -> socket.socket:
            head = _head(client)
            served.heard.append(head.split("\r\n")[0])
            known = not user or f"Proxy-Authorization: Basic {wanted}\r\n" in head
            said = status if known else "407 Proxy Authentication Required"
            client.sendall(f"HTTP/1.1 {said}\r\nVia: test\r\n\r\n".encode())
            if not said.startswith("2"):
                client.close()
                raise ConnectionError(said)
            return client

        return answer

    with _serving(target, greet) as served:
        yield served


@contextmanager
def tls_front(target: int, certificate: str, key: str, protocol: str) -> Iterator[Served]:
    """Serve TLS before a plain port; what a client asks for by ALPN is heard."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols([protocol])

    def greet(served: Served) -> Open:
        def shake(client: socket.socket) -> socket.socket:
            wrapped = context.wrap_socket(client, server_side=True)
            served.heard.append(wrapped.selected_alpn_protocol() or "none")
            return wrapped

        return shake

    with _serving(target, greet) as served:
        yield served
