"""Whether another process goes by this client's name, which looks like a link that does not hold.

Each process has a nonce, which goes with its presence, "offline" too. After connections that did
not last it looks at what the broker keeps of that: its own nonce, or another one's.
"""

import secrets
from collections.abc import Mapping
from typing import Literal

from edgeloop.runtime.tracing import Notes

NOTE = "process"
"""The user property with the nonce."""

LOOK_FROM = 2
"""Connections in a row that did not last, after which it is looked."""

Found = Literal["another", "alone", "unknown"]


class Rivals:
    """What is known of others with this client's name.

    Args:
        topic: of its presence; None without one.
    """

    def __init__(self, topic: str | None) -> None:
        self._topic = topic
        self._nonce = secrets.token_hex(8)
        self._found: Found = "unknown"

    @property
    def notes(self) -> Notes:
        """The notes that go with this process's presence."""
        return {NOTE: self._nonce}

    @property
    def found(self) -> Found:
        """Whether another process has this name, as of the last look."""
        return self._found

    def where_to_look(self, brief: int) -> str | None:
        """Return the topic to subscribe to at a connection, after so many that did not last."""
        return self._topic if brief >= LOOK_FROM else None

    def take(self, topic: str, notes: Mapping[str, str], retained: bool) -> bool:
        """Take a message if it is this client's presence; tell whether it was."""
        if self._topic is None or topic != self._topic:
            return False
        nonce = notes.get(NOTE)
        if nonce is not None and nonce != self._nonce:
            self._found = "another"
        elif nonce is not None and retained:
            self._found = "alone"
        return True
