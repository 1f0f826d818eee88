"""A frame's header: whose message it is, and what of it must be known to read it."""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from edgeloop.protocol import history
from edgeloop.protocol.wire.errors import HeaderError, VersionError
from edgeloop.protocol.wire.fields import marks
from edgeloop.protocol.wire.versions import Since, check_needed, is_minor, newest

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # of a task or a sender
LONGEST_TRACE = 128  # characters
SHOWN = 200  # characters of what a peer wrote, in an error


@dataclass(frozen=True)
class Envelope:
    """Whose message it is.

    Attributes:
        task: the task's name.
        run: the run's identity; a task that is run again has another one.
        round: which round.
        sender: the name of the device, or of the server.
        trace: where the work on it was in the round's trace (W3C's traceparent); empty without.
        trained: the rounds in which a device has trained before, see `protocol.history`; empty
            where it does not say.
        evaluates: whether it answers a run's last evaluation, and no round: more rounds may be
            added to the run, and this one may be trained in then.

    Raises:
        ValueError: if a name has other characters than `NAME`, the round is negative, or the trace
            can be none.
    """

    task: str
    run: str
    round: int
    sender: str
    trace: Annotated[str, Since(1)] = ""
    trained: Annotated[str, Since(2)] = ""
    evaluates: Annotated[bool, Since(3)] = False

    def __post_init__(self) -> None:
        for name in (self.task, self.run, self.sender):
            if not (isinstance(name, str) and NAME.fullmatch(name)):
                raise ValueError(f"{name!r} is no name: letters, digits and . _ - only, at most 64")
        if type(self.round) is not int or not 0 <= self.round < 2**63:
            raise ValueError(f"{self.round!r} is no round number")
        if not isinstance(self.trace, str) or len(self.trace) > LONGEST_TRACE:
            raise ValueError("the trace is none")
        if not isinstance(self.trained, str) or len(self.trained) > history.LONGEST:
            raise ValueError("the rounds before are none")
        if self.trained and not history.FORM.fullmatch(self.trained):
            raise ValueError("the rounds before are none")
        if type(self.evaluates) is not bool:
            raise ValueError("evaluates is true or false")


@dataclass(frozen=True)
class Header:
    """A frame's header.

    Attributes:
        envelope: whose message it is.
        kinds: names of the messages, as the peer wrote them.
        minor: the minor version of each kind that has later fields.
        needs: that of those which must be known.
        ignored: its own fields that are not known here.
    """

    envelope: Envelope
    kinds: Any
    minor: Mapping[str, int]
    needs: Mapping[str, int]
    ignored: tuple[str, ...]

    def is_newer(self, kind: type) -> bool:
        """Return whether the sender knows more fields of a kind."""
        return self.minor.get(kind.__name__, 0) > newest_known(kind)


@cache
def newest_known(kind: type) -> int:
    """Return the minor version of a kind of message that is known here."""
    return newest(marks(kind).values())


def check_known(kind: type, needs: Mapping[str, int]) -> None:
    """Refuse a kind of message with a field that must be known, and is not.

    Raises:
        VersionError: naming both minor versions.
    """
    if least := needs.get(kind.__name__, 0):
        check_needed(f"a message {kind.__name__}", least, newest_known(kind))


def read_header(header: bytes) -> Header:
    """Return what a header's bytes say.

    Raises:
        HeaderError: if they are none, or of a newer version.
    """
    try:
        fields = json.loads(header)
        kinds, minor, needs = (
            fields.pop("kinds"),
            _minors(fields, "minor"),
            _minors(fields, "needs"),
        )
        check_known(Envelope, needs)
        newer = minor.get("Envelope", 0) > newest_known(Envelope)
        known = {each.name for each in dataclasses.fields(Envelope)} if newer else fields.keys()
        ignored = sorted(fields.keys() - known)
        envelope = Envelope(**{name: fields[name] for name in fields if name not in ignored})
    except VersionError:
        raise
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise HeaderError(f"no header: {str(error)[:SHOWN]}") from error
    return Header(envelope, kinds, minor, needs, tuple(f"Envelope.{name}" for name in ignored))


def _minors(fields: dict[str, Any], key: str) -> dict[str, int]:
    if key not in fields:
        return {}
    minors = fields.pop(key)
    if not (isinstance(minors, dict) and all(map(is_minor, minors.values()))):
        raise ValueError(f"{key} has no minor versions")
    return minors
