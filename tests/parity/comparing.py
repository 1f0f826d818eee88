"""How far a run is from a recorded one."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

NOTHING = 1e-6
"""A norm below which nothing has changed but by rounding; differences are compared with it then."""


class Difference(NamedTuple):
    """How far one sketch, count or AUC is from the recorded one.

    Attributes:
        round: in which round.
        part: of `cases.PARTS`.
        where: the keys that lead to it.
        size: of sketches relative to the recorded norm; of counts and AUCs absolute; infinite where
            one has what the other has not.
    """

    round: int
    part: str
    where: str
    size: float


def differences(
    found: Sequence[Mapping[str, Any]],
    expected: Sequence[Mapping[str, Any]],
    parts: Sequence[str],
) -> list[Difference]:
    """Return all differences of the parts of two runs, those of size 0 too."""
    if len(found) != len(expected):
        return [Difference(len(expected), "rounds", "", math.inf)]
    return [
        Difference(number, part, where, size)
        for number, (ours, theirs) in enumerate(zip(found, expected, strict=True))
        for part in parts
        for where, size in _apart(ours.get(part), theirs.get(part), "")
    ]


def _apart(ours: Any, theirs: Any, where: str) -> Iterator[tuple[str, float]]:
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in sorted({*ours, *theirs}):
            yield from _apart(ours.get(key), theirs.get(key), f"{where}/{key}")
    elif isinstance(ours, list) and isinstance(theirs, list):
        yield where, _of_sketches(ours, theirs)
    elif isinstance(ours, int | float) and isinstance(theirs, int | float):
        yield where, abs(ours - theirs)
    elif ours is not theirs:
        yield where, math.inf


def _of_sketches(ours: Sequence[float], theirs: Sequence[float]) -> float:
    scale = max(theirs[0], NOTHING)
    return max(abs(mine - other) for mine, other in zip(ours, theirs, strict=True)) / scale
