"""How far a run is from a recorded one."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Tolerance:
    """How far a round may be from the recorded one.

    Attributes:
        usual: the most that half of the clients' sketches may differ by; see `median`.
        shared: the most that half of the broadcast's may: any client can move it.
        sketch: the most that any sketch may.
        correct: the most right answers of a client.
        auc: of a client.
    """

    usual: float
    shared: float
    sketch: float
    correct: int
    auc: float


SAME = Tolerance(1e-6, 1e-6, 1e-6, 0, 1e-6)
"""Where the kernels round as they did then; what is left are the record's nine digits."""

FIRST = Tolerance(5e-5, 1e-3, 1e-1, 0, 1e-2)
"""Other kernels, the first round: more than twice what docs/simulation.md has measured."""

LATER = Tolerance(1e-3, 1e-2, 2e-1, 2, 1e-2)
"""Other kernels, from the second round on: five times that, or more."""

SKETCHED = ("weights", "uploads", "broadcast")


def beyond(found: Sequence[Difference], same_kernels: bool) -> list[str]:
    """Return what differs by more than it may, a sentence each."""
    said: list[str] = []
    for number in sorted({each.round for each in found}):
        here = [each for each in found if each.round == number]
        said += _beyond(here, SAME if same_kernels else LATER if number else FIRST)
    return said


def _beyond(found: Sequence[Difference], allowed: Tolerance) -> Iterator[str]:
    limits = {"correct": allowed.correct, "auc": allowed.auc, "first": SAME.sketch}
    for each in found:
        if each.size > limits.get(each.part, allowed.sketch):
            yield f"round {each.round}: {each.part}{each.where} is {each.size:.1e} away"
    for part in SKETCHED:
        middle = median([each.size for each in found if each.part == part])
        if middle > (allowed.shared if part == "broadcast" else allowed.usual):
            yield f"round {found[0].round}: half of the {part} is {middle:.1e} away"


def median(sizes: Sequence[float]) -> float:
    """Return the median of those that differ at all: labels, and what did not move, never do."""
    moved = [size for size in sizes if size]
    return statistics.median(moved) if moved else 0.0
