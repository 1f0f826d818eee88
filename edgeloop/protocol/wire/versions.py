"""How messages grow: what may be missing, what may be unknown, and what is refused.

A field that is added to a message has a default and the mark `Since`: the message's minor version
that brought it. At its default it is left out, so that a message with nothing new in it is the one
that older versions know. A message with such a field says its minor version, and a reader of an
older one ignores what it does not know, and counts it; what must not be ignored is `needed`.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from edgeloop.protocol.wire.errors import VersionError

log = logging.getLogger(__name__)

GROWS: Mapping[str, str] = {"grows": "1"}
"""User property of whoever follows these rules; 0.1 refuses every field that it does not know."""

SPEAKS = 1
"""Minor version of the conversation that this side speaks: 0 as up to 0.2.0, 1 with receipts for
answers and with what a device is doing."""

OWN_NOTES: Mapping[str, str] = {**GROWS, "speaks": str(SPEAKS)}
"""User properties by which a peer knows this side."""

_MOST_NAMES = 20  # that are logged
_SHOWN = 100  # characters of a name


@dataclass(frozen=True)
class Since:
    """The minor version of a message that a field came with, as an annotation.

    Attributes:
        minor: 1 for the first one; the next field's, even in the same release, is one more.
        needed: whether a reader that does not know the field must refuse the message.
    """

    minor: int
    needed: bool = False


def newest(marks: Iterable[Since]) -> int:
    """Return the minor version that a message has with fields of these marks; 0 without any."""
    return max((each.minor for each in marks), default=0)


def needed(marks: Iterable[Since]) -> int:
    """Return the minor version that a reader must know at least."""
    return newest(each for each in marks if each.needed)


def check_major(what: str, version: int, mine: int) -> None:
    """Refuse another major version.

    Raises:
        VersionError: naming both, and which side to update.
    """
    if version != mine:
        side = "this side" if version > mine else "the side that sent it"
        raise VersionError(f"{what} version {version}, this is {mine}: update edgeloop on {side}")


def check_needed(what: str, minor: int, mine: int) -> None:
    """Refuse a message with a field that must be known, and is not.

    Raises:
        VersionError: naming both minor versions.
    """
    if minor > mine:
        text = f"{what} needs minor version {minor}, this is {mine}: update edgeloop on this side"
        raise VersionError(text)


def is_minor(value: object) -> bool:
    """Return whether a header's entry can be a minor version."""
    return type(value) is int and 0 <= value < 2**31


def grows(notes: Mapping[str, str]) -> bool:
    """Return whether the sender of a message with these user properties follows the rules."""
    return notes.get("grows") == "1"


def speaks(notes: Mapping[str, str]) -> int:
    """Return the minor version that a message's sender speaks; 0 if it says none."""
    text = notes.get("speaks", "")
    return int(text) if grows(notes) and text.isascii() and text.isdigit() and len(text) < 9 else 0


@dataclass
class IgnoredFields:
    """Fields of newer versions that were ignored: counts them, and logs each name once.

    Attributes:
        count: how many there were.
    """

    count: int = 0
    _logged: set[str] = field(default_factory=set)

    def add(self, names: Iterable[str], sender: str) -> int:
        """Count some; return how many they are."""
        found = list(names)
        self.count += len(found)
        for name in found:
            if name not in self._logged and len(self._logged) < _MOST_NAMES:
                self._logged.add(name)
                text = "ignored field %r of %s, which a newer edgeloop sends; update this side"
                log.warning(text, name[:_SHOWN], sender)
        return len(found)
