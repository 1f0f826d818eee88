"""Server-sent events: which tasks have changed, to so many at once that others get in, too."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator

from cloud.console.following import Follower
from edgeloop.errors import UnavailableError

LOOK_SECONDS = 0.5
"""Between two looks for a change: a stream keeps no thread."""

HEARTBEAT_SECONDS = 10.0
BEATS = 5  # of a stream, which lives for a minute at most

MOST_OF_CALLER, MOST = 20, 60
"""Streams at once, of one token and of all: a service has a hundred connections (`cloud.http`)."""


class Streams:
    """The streams that are open.

    Args:
        follower: says when something has changed.
    """

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._open: Counter[str] = Counter()

    def check(self, caller: str) -> None:
        """Refuse one more stream where there are too many.

        Args:
            caller: whose it would be.

        Raises:
            UnavailableError: with what to do.
        """
        if self._open[caller] >= MOST_OF_CALLER:
            problem = f"{caller} has {MOST_OF_CALLER} streams already"
            raise UnavailableError("events", problem, "close some; each ends after a minute")
        if self._open.total() >= MOST:
            problem = f"{MOST} streams are open, the most that there may be"
            raise UnavailableError("events", problem, "come again in a minute")

    async def changes(self, caller: str, last: str = "") -> AsyncIterator[str]:
        """Yield events for a caller, as text, until its time is up.

        Args:
            caller: whose they are.
            last: the id of the last event that it has had, as browsers say it when they come back;
                what has changed since then is told first.
        """
        if self._open[caller] >= MOST_OF_CALLER or self._open.total() >= MOST:
            return  # who came at the same moment was first
        self._open[caller] += 1
        try:
            async for event in self._events(last):
                yield event
        finally:
            self._open[caller] -= 1

    async def _events(self, last: str) -> AsyncIterator[str]:
        number, _ = self._follower.changed_since(-1, 0.0)
        yield f"retry: 1000\nid: {number}\n\n"
        number = _known(last, number)
        for _ in range(BEATS):
            number, tasks = await self._next(number)
            told = f"event: changed\nid: {number}\ndata: {json.dumps(tasks)}\n\n"
            yield told if tasks else ": nothing new\n\n"

    async def _next(self, number: int) -> tuple[int, list[str]]:
        tasks: list[str] = []
        for _ in range(int(HEARTBEAT_SECONDS / LOOK_SECONDS)):
            number, tasks = self._follower.changed_since(number, 0.0)
            if tasks:
                break
            await asyncio.sleep(LOOK_SECONDS)
        return number, tasks


def _known(last: str, newest: int) -> int:
    """Return the number of the last change that a caller knows; -1 if that can be none."""
    if not last:
        return newest
    number = int(last) if last.isascii() and last.isdecimal() and len(last) < 16 else -1
    return number if number <= newest else -1  # of a server before this one
