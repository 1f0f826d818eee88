"""Doctor compares the machine's clock with its authority's."""

import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import trustme

from edge.agent.authority_client import Place
from edge.device.clock import judged, look_at_authoritys_clock


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)  # with a date
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def place() -> Iterator[Place]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("authority.example").configure_cert(context)
    server = HTTPServer(("127.0.0.1", 0), _Answers)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield Place("127.0.0.1", server.server_port)
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_clock_is_compared(place: Place) -> None:
    assert look_at_authoritys_clock(place).status == "ok"
    late = look_at_authoritys_clock(place, lambda: time.time() - 7200)
    assert (late.status, late.remedy) == ("error", "set it: timedatectl set-ntp true")
    assert "behind https://127.0.0.1" in late.found
    assert look_at_authoritys_clock(place, lambda: time.time() + 100).status == "warning"


def test_one_that_does_not_answer_is_no_error() -> None:
    assert look_at_authoritys_clock(Place("127.0.0.1", 9)).status == "note"


@pytest.mark.parametrize(
    ("away", "status"), [(29.0, "ok"), (-29.0, "ok"), (31.0, "warning"), (-601.0, "error")]
)
def test_how_far_is_too_far(away: float, status: str) -> None:
    assert judged(away, "it").status == status
