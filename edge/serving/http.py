"""The server's HTTP: classifications, health, readiness and metrics.

The standard library's server, a thread a connection: what takes time is onnxruntime, which leaves
the interpreter to other threads meanwhile, and a device need not install a framework for it.
"""

import hmac
import json
import logging
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BufferedReader
from typing import Any
from urllib.parse import parse_qs, urlsplit

from edge.agent.deployment import Deployment
from edge.serving import heads
from edge.serving.answers import OK, UNEXPECTED, WHOLE, Answer, Answering, problem
from edge.serving.heads import HeadError
from edge.serving.measured import CONTENT_TYPE
from edgeloop.runtime.http_server import SILENT_SECONDS, LimitedServer, serving
from edgeloop.runtime.pace import LogRateLimiter

log = logging.getLogger(__name__)

PREDICT, MODEL = "/v1/predict", "/v1/model"

ROOM_SECONDS = 0.5
"""For the connection that gives way to end."""

LINGER_SECONDS, LINGER_BYTES = 2.0, 64 << 20
"""For the rest of a body that is not taken, or its sender would not read why."""

LARGE_BYTES, KEPT_BYTES = 1 << 17, 2 << 20
"""A body between them is read into the memory of the one before, which the system has to give once;
a larger one would keep too much of a device's for a connection that says nothing."""

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
    b"Connection: close\r\n\r\n"
)


class Server(LimitedServer):
    """Answers over HTTP.

    Where all connections are taken, the one that has waited longest for a request, or for the rest
    of one, gives way to a new one: whoever says nothing, or little by little, keeps nobody out.

    Args:
        answering: answers.
        address: host and port; port 0 for any free one.
        most_bytes: of a request's body.
        at_once: connections; further ones are told to come again.
        token: that a request for classifications must bear; None for none.

    Raises:
        ConfigError: if it cannot listen there.
        TakenError: if another process does.
    """

    def __init__(
        self,
        answering: Answering,
        address: tuple[str, int],
        *,
        most_bytes: int,
        at_once: int,
        token: str | None = None,
    ) -> None:
        self.answering, self.most_bytes, self.token = answering, most_bytes, token
        self.limiter = LogRateLimiter()
        self._waiting: dict[socket.socket, float] = {}  # for a request, since when
        super().__init__(address, _Handler, setting="serve.port", at_once=at_once, full=_FULL)

    def make_room(self) -> bool:
        """End the connection that has waited longest; tell whether there is room then."""
        waiting = self._waiting.copy()  # in one step, beside the connections' threads
        for longest in sorted(waiting, key=waiting.__getitem__):
            if self._waiting.pop(longest, None) is not None:  # else its request has come
                with suppress(OSError):
                    longest.shutdown(socket.SHUT_RDWR)
                return self.room.acquire(timeout=ROOM_SECONDS)
        return False

    def waits(self, connection: socket.socket) -> None:
        """A connection has no request, or no whole one, from now on."""
        self._waiting[connection] = time.monotonic()

    def has_request(self, connection: socket.socket) -> None:
        """A connection's request is here."""
        self._waiting.pop(connection, None)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one connection."""
        self.waits(request)
        super().process_request_thread(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        self.has_request(request)
        super().shutdown_request(request)


class _Handler(BaseHTTPRequestHandler):
    timeout = SILENT_SECONDS
    protocol_version = "HTTP/1.1"  # connections stay
    wbufsize = 0  # head and body leave together, in one call
    disable_nagle_algorithm = True
    server: Server
    rfile: "BufferedReader[Any]"
    raw_requestline: bytes  # as the base class has it
    _is_refused, _kept = False, bytearray()

    def handle_one_request(self) -> None:
        """Answer a request, if one comes; at once, if its head is as one before."""
        self.server.waits(self.connection)
        try:
            known = heads.peeked(self.rfile)
        except OSError:  # as the base class takes a connection that is silent, or gone
            self.close_connection = True
            return
        if known is None:
            super().handle_one_request()
            return
        (self.command, self.path, self.request_version), self.fields, stays = known
        self.close_connection = not stays
        self.do_POST()
        self.wfile.flush()

    def finish(self) -> None:
        """Take the rest of a body that was refused: else its sender's system drops the answer."""
        super().finish()
        if not self._is_refused:
            return
        self.server.waits(self.connection)
        left, until = LINGER_BYTES, time.monotonic() + LINGER_SECONDS
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while left > 0 and (seconds := until - time.monotonic()) > 0:
                self.connection.settimeout(seconds)
                if not (taken := self.connection.recv(65536)):
                    break
                left -= len(taken)

    def parse_request(self) -> bool:
        """Read a request's head; answer one that is none."""
        self.command, self.path, self.request_version = "", "", "HTTP/1.1"
        self.requestline, self.close_connection = "", True
        try:
            line = heads.read_line(self.raw_requestline)
            self.command, self.path, self.request_version = line
            self.fields = heads.read_fields(self.rfile)
        except HeadError as error:
            self._refuse(error.status, str(error))
            return False
        self.close_connection = not heads.stays(self.request_version, self.fields)
        if self.fields.get("expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.wfile.flush()
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Say what the base class finds wrong as all else is said."""
        self._refuse(HTTPStatus(code), message or HTTPStatus(code).phrase)

    def do_GET(self) -> None:
        """Answer how the server is, and what it has counted."""
        self.server.has_request(self.connection)
        try:
            self._tell(self.path.partition("?")[0])
        except OSError:  # as the base class takes a connection that is gone
            raise
        except Exception:
            if self.server.limiter.allowed(""):
                log.exception("GET %s could not be answered", self.path)
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, UNEXPECTED)

    def _tell(self, path: str) -> None:
        if path == "/healthz":
            self._say(HTTPStatus.OK, b'{"alive": true}')
        elif path == "/readyz":
            self._say_ready()
        elif path == "/metrics":
            text = self.server.answering.measured.text(_counted(self.server.answering))
            self._say(HTTPStatus.OK, text.encode(), CONTENT_TYPE)
        elif path == MODEL and self._is_allowed():
            self._say_model()
        elif path == PREDICT:
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "POST what is to be classified")
        elif path != MODEL:
            self._refuse(HTTPStatus.NOT_FOUND, f"there is {PREDICT}, {MODEL}, /readyz, /metrics")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Classify what the body holds."""
        if self.path.partition("?")[0] != PREDICT:
            self._refuse(HTTPStatus.NOT_FOUND, f"POST to {PREDICT}")
            return
        if not self._is_allowed():
            return
        if (length := self._length()) is None:
            return
        if (body := self._body(length)) is None:
            self.close_connection = True
            return
        self.server.has_request(self.connection)
        kind = self.fields.get("content-type", "")
        path = self.path
        whole = "?" in path and WHOLE in parse_qs(urlsplit(path).query)
        self._answer(self.server.answering.answer(body, kind, "http", whole))

    def _body(self, length: int) -> bytes | bytearray | None:
        """Return a body; None if it ends too early. A large one lies where the one before lay."""
        if length < LARGE_BYTES:
            body = self.rfile.read(length)
            return body if len(body) == length else None
        large = self._kept if len(self._kept) == length else bytearray(length)
        self._kept = large if length <= KEPT_BYTES else bytearray()
        return large if self.rfile.readinto(large) == length else None

    def _length(self) -> int | None:
        """Return a body's length; None if it cannot be read, and was answered."""
        given = self.fields.get("content-length", "")
        if not given.isascii() or not given.isdecimal() or "transfer-encoding" in self.fields:
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "say the Content-Length of the body")
            return None
        most = self.server.most_bytes
        if len(given) > 15 or int(given) > most:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{most} bytes are the most")
            return None
        return int(given)

    def _is_allowed(self) -> bool:
        """Return whether a request bears the token; answer it, if not."""
        wanted = self.server.token
        given = self.fields.get("authorization", "").removeprefix("Bearer ")
        if wanted is None or hmac.compare_digest(given.encode(), wanted.encode()):
            return True
        self._refuse(HTTPStatus.UNAUTHORIZED, "send the server's token: Authorization: Bearer ...")
        return False

    def _say_ready(self) -> None:
        reason = "" if self.server.answering.models.now else self.server.answering.models.problem
        found = {"ready": not reason, "reasons": [reason] if reason else []}
        status = HTTPStatus.SERVICE_UNAVAILABLE if reason else HTTPStatus.OK
        self._say(status, json.dumps(found).encode())

    def _say_model(self) -> None:
        models = self.server.answering.models
        if (serving := models.now) is None:
            self._answer(problem(HTTPStatus.SERVICE_UNAVAILABLE, models.problem))
            return
        model = serving.model
        facts = {
            **serving.facts,
            "class_names": model.class_names,
            "shape": model.shape,
            "pixels": model.pixels,
            "picture": model.is_picture,
            "licence": model.fact("licence"),
            "problem": models.problem,
        }
        self._say(HTTPStatus.OK, json.dumps(facts).encode())

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        """Say what is wrong; the body was not read, so that the connection ends."""
        self.close_connection = self._is_refused = True
        self.server.answering.measured.request("http", status, 0, 0.0)
        self._answer(problem(status, text))

    def _answer(self, answer: Answer) -> None:
        if answer.status == OK and not self.close_connection:
            head, body = heads.begin_ok(int(time.time())), answer.body
            self.wfile.write(b"%s%d\r\n\r\n%s" % (head, len(body), body))
            return
        more = {"Retry-After": "1"} if answer.status == HTTPStatus.SERVICE_UNAVAILABLE else {}
        self._say(HTTPStatus(answer.status), answer.body, more=more)

    def _say(
        self,
        status: HTTPStatus,
        body: bytes,
        kind: str = heads.JSON["Content-Type"],
        more: Mapping[str, str] = {},
    ) -> None:
        fields = {**heads.JSON, "Content-Type": kind, **more}
        if self.close_connection:
            fields["Connection"] = "close"
        head = heads.written(status, fields, len(body))
        self.wfile.write(head if self.command == "HEAD" else head + body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: what is counted is in the metrics."""


def _counted(answering: Answering) -> Iterator[tuple[str, str, str, Mapping[str, str], float]]:
    """Yield what is known of classifiers."""
    models = answering.models
    text = "Times that another classifier took over."
    yield "edgeloop_serve_swaps_total", "counter", text, {}, models.swaps
    text = "Files that could not be used in the place of the classifier."
    yield "edgeloop_serve_refused_models_total", "counter", text, {}, models.refused
    events = Deployment(models.path.parent).record().get("events", [])
    back = sum(each.get("did") == "rolled back" for each in events)
    text = "Of the device's last decisions, those that went back to the classifier before."
    yield "edgeloop_model_rollbacks", "gauge", text, {}, back
    if (serving := models.now) is not None:
        labels = {key: str(value) for key, value in serving.facts.items()}
        yield "edgeloop_serve_model_info", "gauge", "The classifier that answers.", labels, 1


def running(server: Server) -> AbstractContextManager[Server]:
    """Serve from a thread of its own until the block ends."""
    return serving(server, "http")
