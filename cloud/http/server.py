"""Serves an application from a thread of its own, over HTTP or TLS."""

import asyncio
import errno
import socket
import ssl
import threading
import time
from typing import Any

import uvicorn

from cloud.http.connections import App, LimitedH11Protocol
from edgeloop.errors import ConfigError
from edgeloop.runtime.ports import listen_error

HANDSHAKE_SECONDS = 5.0
"""For a client to get through TLS: before that a connection counts nowhere."""

_START_SECONDS = 10.0
_STOP_SECONDS = 5.0
_PORT_ERRORS = {errno.EADDRINUSE: "is in use", errno.EACCES: "may not be used by this user"}


class _Loop(asyncio.SelectorEventLoop):
    """An event loop whose servers wait only so long for a TLS handshake."""

    async def create_server(self, *args: Any, **named: Any) -> asyncio.Server:
        if named.get("ssl") is not None:
            named["ssl_handshake_timeout"] = HANDSHAKE_SECONDS
        return await super().create_server(*args, **named)


class Server:
    """Serves an application from a thread of its own.

    Args:
        api: the application, ASGI.
        host: the address to listen on.
        port: 0 for any free one.
        tls: of the connections; None for plain HTTP.

    Attributes:
        port: the one it listens on, once started.
    """

    def __init__(self, api: App, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.port = port
        self._host = host
        self._thread: threading.Thread | None = None
        config = uvicorn.Config(
            api,
            http=LimitedH11Protocol,
            ws="none",
            log_config=None,
            log_level="error",  # what strangers send is no trouble of ours
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        config.load()
        config.ssl = tls
        self._server = uvicorn.Server(config)

    def start(self) -> None:
        """Start, and return when requests are answered; `port` then tells where.

        Raises:
            ConfigError: if it cannot listen there.
            TakenError: if another process does.
        """
        listening = _listening(self._host, self.port)
        self.port = int(listening.getsockname()[1])
        self._thread = threading.Thread(
            target=self._run, args=(listening,), name="http", daemon=True
        )
        self._thread.start()
        given_up = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > given_up:
                listening.close()
                raise RuntimeError("the HTTP server did not start")
            time.sleep(0.005)

    def stop(self) -> None:
        """Answer what has been asked, then listen no more; nothing if it was never started."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)

    def _run(self, listening: socket.socket) -> None:
        with asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(self._server.serve(sockets=[listening]))


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno in _PORT_ERRORS:
            remedy = "choose another one, or 0 for any free one"
            problem = f"{port} {_PORT_ERRORS[error.errno]}"
            raise listen_error("http.port", problem, remedy, error) from error
        problem = f"cannot listen on {host!r} ({error.strerror or error})"
        raise ConfigError("http.host", problem, "give an address of this machine") from error
    # Its connections take this over. Without it an answer's second packet waits 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
