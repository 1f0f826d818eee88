"""Log lines on standard error: plain ones for a person, or JSON for a program, one line an event.

A call gives facts by `extra={"device": ...}`; only those in `FACTS` are written.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

Format = Literal["plain", "json"]

FACTS = (
    *("task", "device", "round", "verdict", "bytes", "accuracy", "seconds"),
    *("kind", "namespace", "resource", "trace"),
)
"""What a line of JSON may tell beside its message."""

PLAIN = "%(asctime)s %(levelname)s %(message)s"

LONGEST = 4000  # characters of a message; a peer's name or number may have ten million


def configure(form: Format = "plain", level: int = logging.INFO) -> None:
    """Log to standard error from now on."""
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of every start
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if form == "json" else Plain(PLAIN))
    logging.basicConfig(level=level, handlers=[handler], force=True)


def add_context(**facts: str) -> None:
    """Have each line of JSON tell these facts of the whole process, unless it has its own."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, Json):
            handler.formatter.always = facts


def shorten(text: str) -> str:
    """Return a text, or the beginning of a very long one."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text)} characters)"


def one_line(text: str) -> str:
    """Return a text with each control character, a line's end too, as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable(text: str) -> str:
    """Return lines, with each control character within them as an escape that JSON has, too."""
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" or c.isprintable() else json.dumps(c)[1:-1] for c in text)


class Plain(logging.Formatter):
    """A record as one line for a person, and its error below."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return a record's line, without its error."""
        return one_line(shorten(super().formatMessage(record)))


class Json(logging.Formatter):
    """A record as one line of JSON: time (UTC), level, logger, message, facts, error.

    Attributes:
        always: facts of the whole process.
    """

    always: dict[str, str]

    def __init__(self) -> None:
        super().__init__()
        self.always = {}

    def format(self, record: logging.LogRecord) -> str:
        """Return a record's line."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": when.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": shorten(record.getMessage()),
            **self.always,
            **{name: vars(record)[name] for name in FACTS if name in vars(record)},
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        text = json.dumps(line, ensure_ascii=False, default=str)
        return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
