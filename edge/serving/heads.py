"""Heads of HTTP/1.1 requests and answers, as far as a server of classifications needs them.

The standard library reads a request's head as one of mail, and writes an answer's line by line:
for a small network that takes as long as the network.
"""

import time
from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from io import BufferedIOBase, BufferedReader, BytesIO
from typing import Any

MOST_PEEKED = 4096
"""Bytes of a head that is kept; a longer one is read line by line each time."""

MOST_LINES, LONGEST_LINE = 100, 65_536
"""Of a head, as the standard library has them."""

JSON = {"X-Content-Type-Options": "nosniff", "Content-Type": "application/json"}
"""The fields of an answer of JSON."""

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class HeadError(Exception):
    """A head that is none.

    Attributes:
        status: to answer with.
    """

    def __init__(self, status: HTTPStatus, problem: str) -> None:
        super().__init__(problem)
        self.status = status


def read_fields(file: BufferedIOBase) -> dict[str, str]:
    """Return the fields below a request's line, by their names in small letters.

    A field that is there twice has both values, with a comma between them.

    Raises:
        HeadError: if a line is none, or too long, or there are too many.
    """
    fields: dict[str, str] = {}
    for _ in range(MOST_LINES + 1):
        line = file.readline(LONGEST_LINE + 1)
        if len(line) > LONGEST_LINE:
            raise HeadError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "a line is too long")
        if line in (b"\r\n", b"\n", b""):
            return fields
        name, colon, value = line.decode("latin-1").partition(":")
        name, value = name.lower(), value.strip(" \t\r\n")
        if not colon or not name or not _TOKEN.issuperset(name) or "\0" in value or "\r" in value:
            raise HeadError(HTTPStatus.BAD_REQUEST, "a line of the head is no field")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    raise HeadError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {MOST_LINES} fields")


def read_line(line: bytes) -> tuple[str, str, str]:
    """Return a request's method, its target and its version.

    Raises:
        HeadError: if it is none of HTTP/1.0 or 1.1.
    """
    words = line.decode("latin-1").rstrip("\r\n").split(" ")
    if len(words) != 3 or not words[0].isalpha() or not words[1] or not words[1].isprintable():
        raise HeadError(HTTPStatus.BAD_REQUEST, "this is no request of HTTP/1.1")
    if words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        known = words[2].startswith("HTTP/")
        status = HTTPStatus.HTTP_VERSION_NOT_SUPPORTED if known else HTTPStatus.BAD_REQUEST
        raise HeadError(status, "this is no request of HTTP/1.1")
    return words[0], words[1], words[2]


@lru_cache(maxsize=64)  # a client's requests have one head
def _read(head: bytes) -> tuple[tuple[str, str, str], Mapping[str, str], bool]:
    line, _, rest = head.partition(b"\r\n")
    if head.count(b"\n") != head.count(b"\r\n"):  # it might end elsewhere when read line by line
        raise HeadError(HTTPStatus.BAD_REQUEST, "a line ends without a carriage return")
    words, fields = read_line(line), read_fields(BytesIO(rest))
    return words, fields, stays(words[2], fields)


def peeked(
    file: "BufferedReader[Any]",
) -> tuple[tuple[str, str, str], Mapping[str, str], bool] | None:
    """Return a POST's line, its fields, and whether its connection stays, if all is there.

    It is taken from the file then. A head of another kind is left there, and None returned: one
    that is not whole, is none, or expects an answer before its body.

    Raises:
        OSError: if nothing can be read.
    """
    begin = file.peek(1)
    end = begin.find(b"\r\n\r\n", 0, MOST_PEEKED)
    if end < 0 or not begin.startswith(b"POST "):
        return None
    try:
        found = _read(begin[: end + 4])
    except HeadError:
        return None
    if "expect" in found[1]:
        return None
    file.read(end + 4)
    return found


def stays(version: str, fields: Mapping[str, str]) -> bool:
    """Return whether a connection stays open after an answer."""
    wanted = [each.strip() for each in fields.get("connection", "").lower().split(",")]
    if version == "HTTP/1.0":
        return "keep-alive" in wanted
    return "close" not in wanted


def written(status: HTTPStatus, fields: Mapping[str, str], length: int) -> bytes:
    """Return an answer's head.

    Args:
        status: of the answer.
        fields: but its date, and its length.
        length: of its body.
    """
    return b"%s%d\r\n\r\n" % (_begin(int(time.time()), status, tuple(fields.items())), length)


@lru_cache(maxsize=4)
def begin_ok(second: int) -> bytes:
    """Return the head of an answer of JSON up to its length, at so many seconds since 1970."""
    return _begin(second, HTTPStatus.OK, tuple(JSON.items()))


@lru_cache(maxsize=64)  # the answers of a second have few heads
def _begin(second: int, status: HTTPStatus, fields: tuple[tuple[str, str], ...]) -> bytes:
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", f"Date: {_date(second)}"]
    lines += [f"{name}: {value}" for name, value in fields]
    return ("\r\n".join(lines) + "\r\nContent-Length: ").encode("latin-1")


def _date(second: int) -> str:
    now = time.gmtime(second)
    day, month = _DAYS[now.tm_wday], _MONTHS[now.tm_mon - 1]
    return f"{day}, {now.tm_mday:02} {month} {now.tm_year} {time.strftime('%H:%M:%S', now)} GMT"
