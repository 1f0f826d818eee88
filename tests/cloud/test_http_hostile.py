"""Strangers at the aggregator's HTTP port hold nothing, and take it from nobody."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from cloud.aggregator.http import Server, app
from cloud.aggregator.metrics import Metrics
from cloud.http import connections
from cloud.http.connections import MAX_CONNECTIONS
from tests.cloud.test_http import STATUS

DROPS = 100


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(app(lambda: STATUS, Metrics()), "127.0.0.1", 0)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def connected(server: Server, stack: ExitStack, said: bytes = b"") -> socket.socket:
    made = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))
    made.sendall(said)
    return made


def is_healthy(server: Server) -> bool:
    url = f"http://127.0.0.1:{server.port}/healthz"
    return httpx.get(url, trust_env=False, timeout=30).status_code == 200


def is_over(connection: socket.socket) -> bool:
    try:
        return connection.recv(65536) == b""
    except ConnectionResetError:
        return True


def drips(connection: socket.socket, drop: bytes) -> int:
    """Return how many drops were taken before the connection was cut off."""
    for number in range(DROPS):
        try:
            connection.sendall(drop)
        except OSError:
            return number
        time.sleep(0.1)  # a slow one
    return DROPS


@pytest.mark.parametrize("said", [b"", b"GET /status HTTP/1.1\r\nHost: x\r\nX: "])
def test_many_who_ask_nothing_keep_nobody_out(
    server: Server, stack: ExitStack, said: bytes
) -> None:
    first = connected(server, stack, said)
    for _ in range(3 * MAX_CONNECTIONS):
        connected(server, stack, said)
    assert is_healthy(server)
    assert is_over(first)
    assert len(server._server.server_state.connections) <= MAX_CONNECTIONS


def test_who_asks_slowly_is_cut_off(
    server: Server, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.3)
    slow = connected(server, stack, b"GET /healthz HTTP/1.1\r\n")
    assert drips(slow, b"X-More: x\r\n") < DROPS


def test_who_never_ends_a_body_is_cut_off(
    server: Server, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.3)
    head = b"POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    slow = connected(server, stack, head)
    assert slow.recv(65536).startswith(b"HTTP/1.1 405")
    assert drips(slow, b"x") < DROPS


def test_who_asks_again_in_time_is_answered(server: Server) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as client:
        for _ in range(5):
            assert client.get("/status").status_code == 200


@pytest.mark.parametrize(
    "said",
    [
        b"GET /" + b"x" * 10_000_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 10_000_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
        b"\x00\xff" * 1000,
        b"GET /%00%ff%0a HTTP/9.9\r\n\r\n",
        b"GET /status HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ],
)
def test_what_is_no_request_is_no_trouble(
    server: Server, stack: ExitStack, said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        stranger = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        try:
            stranger.sendall(said)
        except OSError:
            continue  # it is cut off before it has said all
    assert is_healthy(server)
    assert [each.getMessage() for each in caplog.records if each.name != "httpx"] == []
