"""A round's result, made without the uploads that spoil it. No clock, no I/O, no draw."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from edgeloop.algorithm import Algorithm
from edgeloop.errors import EdgeloopError
from edgeloop.protocol import wire

S = TypeVar("S")
U = TypeVar("U")
B = TypeVar("B")

OUTLIER_FACTOR = 1e3
"""How many times the cohort's median a field of an upload is, or which part of it, to be odd."""

_FAILURES = (
    ArithmeticError,
    AssertionError,
    IndexError,
    KeyError,
    RuntimeError,
    ValueError,
    Warning,
)
"""What numbers in an upload can make an algorithm raise; all else is nobody's upload's doing."""


@dataclass(frozen=True)
class Aggregation(Generic[S, B]):
    """What a round led to.

    Attributes:
        state: the algorithm's.
        broadcast: what the next round opens with.
        excluded: the clients whose uploads were set aside, and why.
    """

    state: S
    broadcast: B
    excluded: Mapping[str, str] = field(default_factory=dict)


def aggregate_usable(
    algorithm: Algorithm[S, U, B], state: S, broadcast: B, uploads: Mapping[str, U]
) -> Aggregation[S, B]:
    """Aggregate the uploads that have a result to continue with.

    Nothing is tried where nothing is wrong. Else each upload is tried alone; where the rest is
    still no good, they are added one by one, the largest last.

    Args:
        algorithm: the run's; its `aggregate_uploads` changes neither state nor uploads.
        state: where the run stands.
        broadcast: what the round opened with; it stays, as the state does, without any upload.
        uploads: by client, in the order in which they count.
    """
    aside = {name: why for name, each in uploads.items() if (why := _rejection(algorithm, each))}
    kept = {name: each for name, each in uploads.items() if name not in aside}
    result = _try_aggregate(algorithm, state, broadcast, kept)
    if isinstance(result, str):
        alone = {
            n: _try_aggregate(algorithm, state, broadcast, {n: each}) for n, each in kept.items()
        }
        aside |= {name: found for name, found in alone.items() if isinstance(found, str)}
        kept = {name: each for name, each in kept.items() if name not in aside}
        result = _try_aggregate(algorithm, state, broadcast, kept)
    if isinstance(result, str):
        result, more = _aggregate_greedily(algorithm, state, broadcast, kept)
        aside |= more
    return Aggregation(*result, aside)


@dataclass(frozen=True)
class Outlier:
    """A field of an upload that is far from the cohort's.

    Attributes:
        client: whose.
        field: its name.
        times: the cohort's median that it is, by its largest value, or the sum of its counts.
    """

    client: str
    field: str
    times: float

    def __str__(self) -> str:
        return f"{self.field or 'all of it'} is {self.times:.0e} times the cohort's median"


def outliers(uploads: Mapping[str, Any]) -> list[Outlier]:
    """Return the fields of uploads that are `OUTLIER_FACTOR` times the cohort's median, or less.

    Two clients have no median that says which of them is the odd one. A field that is small beside
    others' is odd only where the whole upload is: zeros are what many a layer begins with. An
    upload without any value is what a client without samples has to say.
    """
    filled = {name: each for name, each in uploads.items() if _has_values(each)}
    if len(filled) < 3:
        return []
    whole = _times({name: {"": wire.peak(each)} for name, each in filled.items()})
    small = [each for each in whole if each.times < 1 / OUTLIER_FACTOR]
    by_field = _times({name: wire.magnitudes(each) for name, each in filled.items()})
    return [each for each in by_field if each.times > OUTLIER_FACTOR] + small


def _has_values(upload: Any) -> bool:
    """Return whether an upload has a value, be it 0."""
    return any(each.size for each in wire.arrays(upload).values())


def _times(sizes: Mapping[str, Mapping[str, float]]) -> list[Outlier]:
    """Return each client's fields as times of the median over clients, where there is one."""
    fields = {field for found in sizes.values() for field in found}
    middles = {
        field: statistics.median(found.get(field, 0.0) for found in sizes.values())
        for field in sorted(fields)
    }
    return [
        Outlier(name, field, found[field] / middle)
        for name, found in sizes.items()
        for field, middle in middles.items()
        if field in found and middle > 0
    ]


def _rejection(algorithm: Algorithm[Any, U, Any], upload: U) -> str:
    """Return what is wrong with an upload as it is; nothing if it may be tried."""
    try:
        wire.check(upload, algorithm.sizes)
        algorithm.check(upload)
    except ValueError as error:
        return _line(error)
    return ""


def _try_aggregate(
    algorithm: Algorithm[S, U, B], state: S, broadcast: B, uploads: Mapping[str, U]
) -> tuple[S, B] | str:
    """Return what uploads lead to; why they lead to nothing that a run can continue with."""
    if not uploads:
        return state, broadcast
    try:
        with np.errstate(all="ignore"):
            result = algorithm.aggregate_uploads(state, uploads)
        for message in result:
            wire.check(message)
    except EdgeloopError:
        raise  # a generator that is away, for one
    except _FAILURES as error:
        return _line(error)
    return result


def _aggregate_greedily(
    algorithm: Algorithm[S, U, B], state: S, broadcast: B, uploads: Mapping[str, U]
) -> tuple[tuple[S, B], dict[str, str]]:
    """Add uploads one by one, the largest last; return the result, and who had to stay out."""
    chosen: set[str] = set()
    result, aside = (state, broadcast), {}
    for name in sorted(uploads, key=lambda name: (wire.peak(uploads[name]), name)):
        some = {n: each for n, each in uploads.items() if n in chosen | {name}}
        found = _try_aggregate(algorithm, state, broadcast, some)
        if isinstance(found, str):
            aside[name] = found
        else:
            chosen.add(name)
            result = found
    return result, aside


def _line(error: BaseException) -> str:
    """Return an error as one line, whoever wrote it."""
    text = " ".join(str(error).split())[:200]
    return text if isinstance(error, wire.WireError) else f"{type(error).__name__}: {text}"
