"""In which rounds a device has trained, as its answers tell: "0-3,5", or "none"."""

import re
from collections.abc import Iterable

LONGEST = 512  # characters
NOTHING = "none"
FORM = re.compile(r"none|[0-9]{1,10}(-[0-9]{1,10})?(,[0-9]{1,10}(-[0-9]{1,10})?)*")


def written(rounds: Iterable[int]) -> str:
    """Return rounds as text; the earliest are left out where it would be too long."""
    spans: list[list[int]] = []
    for number in sorted(set(rounds)):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    text = ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans) or NOTHING
    return text if len(text) <= LONGEST else text[-LONGEST:].partition(",")[2]


def read(text: str, below: int) -> frozenset[int]:
    """Return the rounds before another that a text names; none of an empty one, which says nothing.

    Args:
        text: of the form `FORM`.
        below: the round that it came with.
    """
    found: set[int] = set()
    for span in filter(None, text.split(",") if text != NOTHING else ()):
        first, _, last = span.partition("-")
        found.update(range(int(first), min(int(last or first) + 1, below)))
    return frozenset(each for each in found if each < below)
