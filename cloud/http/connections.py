"""HTTP connections that nobody holds for long: so many at once, and each for so long."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 100
"""Connections at once; a process has a thousand descriptors, and needs some for other things."""

REQUEST_SECONDS = 10.0
"""Until a request is there, since the connection began or the answer before was made."""

ANSWER_SECONDS = 60.0
"""For an answer to be made, and read."""


CERTIFICATE = "edgeloop.certificate"
"""Key of a request's scope: the certificate that its client has shown, DER; b"" without one."""

App = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]


class LimitedH11Protocol(H11Protocol):
    """A connection that ends if no request comes over it in time.

    Where there are too many, the one that has waited longest for a request gives way, so that a new
    one, of a health check perhaps, is answered.
    """

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._since = 0.0
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Take a new connection."""
        super().connection_made(transport)
        self.app = _showing_certificate(self.app, transport.get_extra_info("ssl_object"))
        self._wait(REQUEST_SECONDS)
        others = [each for each in self.connections if isinstance(each, LimitedH11Protocol)]
        others = [each for each in others if each is not self and not each.transport.is_closing()]
        if len(others) >= MAX_CONNECTIONS:
            idle = (each for each in others if not each.answering)
            min(idle, key=lambda each: each._since, default=self).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of a connection."""
        if self._end is not None:
            self._end.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._wait(REQUEST_SECONDS)
        super().on_response_complete()

    @property
    def answering(self) -> bool:
        """Whether a request is here that has no whole answer yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self, seconds: float, last: bool = False) -> None:
        if self._end is not None:
            self._end.cancel()
        self._since = self.loop.time()
        self._end = self.loop.call_later(seconds, self._time_out, last)

    def _time_out(self, last: bool) -> None:
        if self.answering and not last:
            self._wait(ANSWER_SECONDS, last=True)
        else:
            self.transport.abort()


def _showing_certificate(app: Any, tls: Any) -> App:
    """Return an application whose requests tell the certificate of a connection's client."""
    certificate = b"" if tls is None else tls.getpeercert(binary_form=True) or b""

    async def shown(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        await app({**scope, CERTIFICATE: certificate}, receive, send)

    return shown
