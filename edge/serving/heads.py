"""Heads of HTTP/1.1 requests and answers, as far as a server of classifications needs them.

The standard library reads a request's head as one of mail, and writes an answer's line by line:
for a small network that takes as long as the network.
"""

import time
from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from io import BufferedIOBase

MOST_LINES, LONGEST_LINE = 100, 65_536
"""Of a head, as the standard library has them."""

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


def stays(version: str, fields: Mapping[str, str]) -> bool:
    """Return whether a connection stays open after an answer."""
    wanted = [each.strip() for each in fields.get("connection", "").lower().split(",")]
    if version == "HTTP/1.0":
        return "keep-alive" in wanted
    return "close" not in wanted


def written(status: HTTPStatus, fields: Mapping[str, str]) -> bytes:
    """Return an answer's head."""
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", f"Date: {_date(int(time.time()))}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    now = time.gmtime(second)
    day, month = _DAYS[now.tm_wday], _MONTHS[now.tm_mon - 1]
    return f"{day}, {now.tm_mday:02} {month} {now.tm_year} {time.strftime('%H:%M:%S', now)} GMT"
