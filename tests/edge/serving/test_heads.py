"""Heads of requests: what is one, and what is answered to what is none."""

import io
from http import HTTPStatus

import pytest

from edge.serving.heads import (
    LONGEST_LINE,
    MOST_LINES,
    MOST_PEEKED,
    HeadError,
    peeked,
    read_fields,
    read_line,
    stays,
    written,
)

POST = b"POST /a HTTP/1.1\r\nContent-Length: 4\r\n\r\n"
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
    head = written(HTTPStatus.NOT_FOUND, {"X-A": "b"}, 7).decode()
    assert head.startswith("HTTP/1.1 404 Not Found\r\nDate: ")
    assert head.endswith(" GMT\r\nX-A: b\r\nContent-Length: 7\r\n\r\n")


def test_a_post_that_is_there_is_taken_at_once_and_its_body_is_left() -> None:
    file = io.BufferedReader(io.BytesIO(POST + b"body"))
    assert peeked(file) == (("POST", "/a", "HTTP/1.1"), {"content-length": "4"}, True)
    assert file.read() == b"body"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        POST[:-2],  # more of it is on its way
        b"GET / HTTP/1.1\r\n\r\n",
        POST.replace(b"Content", b"Expect: 100-continue\r\nContent"),
        POST.replace(b"/a", b"/\0"),
        b"POST /a HTTP/1.1\r\nA: b\n\nPOST /b HTTP/1.1\r\n\r\n",  # two, when read line by line
        POST.replace(b"/a", b"/" + b"a" * MOST_PEEKED),
    ],
)
def test_any_other_head_is_left_to_be_read_line_by_line(text: bytes) -> None:
    file = io.BufferedReader(io.BytesIO(text))
    assert peeked(file) is None
    assert file.read() == text
