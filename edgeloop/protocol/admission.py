"""Which names may take part in a task that lists no devices, or not all of them."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import Field

from edgeloop.protocol import wire

RESERVED = frozenset({"aggregator", "authority", "broker", "console", "ingest", "operator"})
"""Names that no device may have, however they are written: services'."""

MOST_PATTERNS = 64

Pattern = Annotated[str, Field(pattern="^[A-Za-z0-9*?][A-Za-z0-9._*?-]{0,63}$")]
"""Of names: `*` stands for any characters, `?` for one."""


def may_join(name: str, patterns: Iterable[str]) -> bool:
    """Return whether one of the patterns admits a name; none admits what is no device's name."""
    if not wire.NAME.fullmatch(name) or name.casefold() in RESERVED:
        return False
    return any(fnmatchcase(name, each) for each in patterns)
