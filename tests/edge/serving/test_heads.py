"""Heads of requests: what is one, and what is answered to what is none."""

import io
from http import HTTPStatus

import pytest

from edge.serving.heads import (
    LONGEST_LINE,
    MOST_LINES,
    HeadError,
    read_fields,
    read_line,
    stays,
    written,
)

TOO_LARGE = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


def fields(text: bytes) -> dict[str, str]:
    return read_fields(io.BytesIO(text))


def test_fields_are_found_by_small_names_and_twice_is_both() -> None:
    found = fields(b"Content-Length: 5\r\nX-A:b\nx-a:\tc \r\n\r\nbody")
    assert found == {"content-length": "5", "x-a": "b, c"}
    assert fields(b"\r\n") == {}
    twice = fields(b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n")["content-length"]
    assert not twice.isdecimal()  # and so it is refused


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"no field\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"a: b\r\n folded\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"Content-Length : 5\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b": b\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"a: b\0c\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"a: b\rc: d\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"\xff: b\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"a:" + b"b" * LONGEST_LINE + b"\r\n\r\n", TOO_LARGE),
        (b"a: b\r\n" * (MOST_LINES + 1) + b"\r\n", TOO_LARGE),
    ],
)
def test_what_is_no_head_is_refused(text: bytes, status: HTTPStatus) -> None:
    with pytest.raises(HeadError) as found:
        fields(text)
    assert found.value.status is status


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /\r\n", 400),
        (b"GET  / HTTP/1.1\r\n", 400),
        (b"GET / HTTP/1.1 x\r\n", 400),
        (b"G\0T / HTTP/1.1\r\n", 400),
        (b"GET /\x01 HTTP/1.1\r\n", 400),
        (b"GET / HTTPS\r\n", 400),
        (b"GET / HTTP/2.0\r\n", 505),
    ],
)
def test_a_line_that_is_none_is_refused(line: bytes, status: int) -> None:
    with pytest.raises(HeadError) as found:
        read_line(line)
    assert found.value.status == status
    assert read_line(b"GET /a?b HTTP/1.1\r\n") == ("GET", "/a?b", "HTTP/1.1")


def test_who_says_whether_a_connection_stays() -> None:
    assert stays("HTTP/1.1", {})
    assert not stays("HTTP/1.1", {"connection": "x, Close"})
    assert not stays("HTTP/1.0", {})
    assert stays("HTTP/1.0", {"connection": "keep-alive"})


def test_an_answer_has_a_date_and_its_fields() -> None:
    head = written(HTTPStatus.NOT_FOUND, {"Content-Length": "0"}).decode()
    assert head.startswith("HTTP/1.1 404 Not Found\r\nDate: ")
    assert head.endswith(" GMT\r\nContent-Length: 0\r\n\r\n")
