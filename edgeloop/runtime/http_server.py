"""The standard library's HTTP server with a limit: a thread a connection, and no more than so many.

For what runs where no framework is installed: a device, and a server of files.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

from edgeloop.runtime.ports import listen_error

SILENT_SECONDS = 30.0
"""A handler's `timeout`: then a connection that says nothing, or takes nothing, is closed."""


class LimitedServer(ThreadingHTTPServer):
    """Answers at most so many connections at once.

    Args:
        address: host and port; port 0 for any free one.
        handler: of requests.
        setting: that names the port, for errors.
        at_once: connections; further ones are closed.
        full: what those are told before.

    Raises:
        ConfigError: if it cannot listen there.
        TakenError: if another process does.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        handler: type[BaseHTTPRequestHandler],
        *,
        setting: str,
        at_once: int,
        full: bytes = b"",
    ) -> None:
        self.room, self._full = threading.BoundedSemaphore(at_once), full
        try:
            super().__init__(address, handler)
        except (OSError, OverflowError) as error:
            text = f"cannot listen on {address[0]}:{address[1]} ({error})"
            raise listen_error(setting, text, "choose another one", error) from error

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, if there is room."""
        if not self.room.acquire(blocking=False) and not self.make_room():
            if self._full:
                request.send(self._full)
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def make_room(self) -> bool:
        """End a connection for a new one; tell whether there is room then. This one ends none."""
        return False

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that goes away is none of our errors."""


S = TypeVar("S", bound=LimitedServer)


@contextmanager
def serving(server: S, name: str) -> Iterator[S]:
    """Serve from a thread of this name until the block ends."""
    thread = threading.Thread(target=server.serve_forever, name=name, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
