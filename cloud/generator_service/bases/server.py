"""Serves a repository of bases over HTTP: an index and files, to read only."""

import json
import re
import shutil
from contextlib import AbstractContextManager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from cloud.generator_service.bases import repository
from edgeloop.bases.manifest import GRAPH, MANIFEST
from edgeloop.bases.remote import INDEX
from edgeloop.protocol import wire
from edgeloop.runtime.http_server import SILENT_SECONDS, LimitedServer, serving

AT_ONCE = 64
"""Connections; further ones are closed."""

_NAME = wire.NAME.pattern.removeprefix("^").removesuffix("$")
_FILE = re.compile(
    rf"/((?:{_NAME})/[1-9][0-9]{{0,6}}/(?:{re.escape(MANIFEST)}|{re.escape(GRAPH)}))"
)

Problems = dict[str, dict[int, str]]


class Server(LimitedServer):
    """Answers what is asked of a repository, which it reads again each time.

    Args:
        folder: the repository.
        host: address to listen on.
        port: 0 for any free one.
        problems: what is wrong with versions that should be there, by name; the index has them
            unless it is empty.

    Raises:
        ConfigError: if it cannot listen there.
        TakenError: if another process does.
    """

    def __init__(self, folder: Path, host: str, port: int, problems: Problems) -> None:
        self.folder, self.problems = folder, problems
        super().__init__((host, port), _Handler, setting="--port", at_once=AT_ONCE)


class _Handler(BaseHTTPRequestHandler):
    timeout = SILENT_SECONDS
    server: Server

    def do_GET(self) -> None:
        """Answer with the index, a file, or that this is alive."""
        path = self.path.partition("?")[0]
        if path == "/healthz":
            self._tell(b'{"alive": true}')
        elif path == f"/{INDEX}":
            self._tell_index()
        elif known := _FILE.fullmatch(path):
            self._send(self.server.folder / known[1])
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    do_HEAD = do_GET

    def _tell_index(self) -> None:
        found = repository.index(self.server.folder)
        wrong = {
            name: {version: problem for version, problem in list(each.items()) if problem}
            for name, each in list(self.server.problems.items())
        }
        self._tell(json.dumps({"bases": found, "problems": wrong}).encode())

    def _tell(self, content: bytes) -> None:
        self._head(len(content), "application/json")
        if self.command != "HEAD":
            self.wfile.write(content)

    def _send(self, path: Path) -> None:
        try:
            handle = path.open("rb")
        except OSError:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with handle:
            length = path.stat().st_size
            kind = "application/json" if path.name == MANIFEST else "application/octet-stream"
            self._head(length, kind)
            if self.command != "HEAD":
                shutil.copyfileobj(handle, self.wfile)

    def _head(self, length: int, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: probes come every few seconds."""


def running(
    folder: Path, host: str, port: int, problems: Problems
) -> AbstractContextManager[Server]:
    """Serve a repository from a thread of its own until the block ends.

    Raises:
        ConfigError: if it cannot listen there.
        TakenError: if another process does.
    """
    return serving(Server(folder, host, port, problems), "bases")
