"""Hours of the week: "22:00-06:00", "mon-fri 18:00-07:00", "sat,sun 00:00-24:00"."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_DAY = f"(?:{'|'.join(DAYS)})"
_TIME = "([01][0-9]|2[0-3]):([0-5][0-9])|24:00"
PATTERN = rf"^(?:{_DAY}(?:-{_DAY}|(?:,{_DAY})*) )?(?:{_TIME})-(?:{_TIME})$".replace("([", "(?:[")
"""Of a window in a file."""

DAY_MINUTES = 24 * 60


@dataclass(frozen=True)
class Window:
    """Hours of some days.

    Attributes:
        days: on which they begin, 0 for Monday.
        start: minutes of the day.
        minutes: how long they last; at most a day.
    """

    days: frozenset[int]
    start: int
    minutes: int


def parse(text: str) -> Window:
    """Return a window that fits `PATTERN`."""
    if not re.match(PATTERN, text):
        raise ValueError(f"{text!r} is no window such as 'mon-fri 22:00-06:00'")
    days, _, hours = text.rpartition(" ")
    first, last = (_minutes(each) for each in hours.split("-"))
    return Window(_days(days), first, (last - first) % DAY_MINUTES or DAY_MINUTES)


def _minutes(time: str) -> int:
    hours, minutes = time.split(":")
    return int(hours) * 60 + int(minutes)


def _days(text: str) -> frozenset[int]:
    if not text:
        return frozenset(range(7))
    if "-" in text:
        first, last = (DAYS.index(each) for each in text.split("-"))
        return frozenset((first + step) % 7 for step in range((last - first) % 7 + 1))
    return frozenset(map(DAYS.index, text.split(",")))


def next_start(windows: Sequence[str], now: datetime) -> datetime | None:
    """Return when the next window begins; None within one, or where there are none at all.

    Args:
        windows: each as `PATTERN`.
        now: local time.
    """
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    starts = []
    for window, days in product(map(parse, windows), range(-1, 8)):
        day = midnight + timedelta(days=days)
        if day.weekday() not in window.days:
            continue
        start = day + timedelta(minutes=window.start)
        if start <= now < start + timedelta(minutes=window.minutes):
            return None
        starts.append(start)
    return min((each for each in starts if each > now), default=None)
