"""A robust rule before an algorithm's server part."""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from edgeloop.algorithm import Algorithm
from edgeloop.implausible_uploads import Outlier
from edgeloop.protocol.robust_rules import RobustRule
from edgeloop.robust import rules
from edgeloop.robust.parts import Opened, Part, close_upload, open_upload

S = TypeVar("S")
U = TypeVar("U")
B = TypeVar("B")
Array = npt.NDArray[Any]
Place = tuple[str, Part]
"""A client, and a part of its upload."""

Vectors = Mapping[str, dict[Part, Array]]
"""By client and part."""

POINTS = {
    "median": rules.coordinate_median,
    "trimmed-mean": rules.trimmed_mean,
    "geometric-median": rules.geometric_median,
}
"""Rules that are one point for all."""


@dataclass
class Guard:
    """A rule at work.

    Attributes:
        rule: which.
    """

    rule: RobustRule
    _far: list[Outlier] = field(default_factory=list)

    @property
    def far(self) -> tuple[Outlier, ...]:
        """What was out of reach of what it was last applied to: each client's farthest part."""
        farthest: dict[str, Outlier] = {}
        for each in self._far:
            if each.client not in farthest or farthest[each.client].times < each.times:
                farthest[each.client] = each
        return tuple(farthest.values())

    def forget(self) -> None:
        """Forget what was out of reach."""
        self._far = []

    def apply(self, uploads: Mapping[str, U]) -> dict[str, U]:
        """Return uploads as the rule leaves them, in their order; without those that it drops.

        Raises:
            ValueError: if none is left, as their kind does not allow what the rule makes of them.
        """
        self._far = []
        if self.rule == "none" or len(uploads) < rules.LEAST:
            return dict(uploads)
        opened = {name: open_upload(each) for name, each in uploads.items()}
        vectors = {name: dict(each.vectors) for name, each in opened.items()}
        most = _most_samples(opened, _groups(vectors), self.rule)
        for size, places in _rows(vectors).items():
            self._shorten(size, places, vectors)
        for part, names in _groups(vectors).items():
            self._compare(part, names, vectors)
        closed = {name: _closed(each, vectors[name], most) for name, each in opened.items()}
        left = {name: each for name, each in closed.items() if each is not None}
        if not left:
            raise ValueError(f"no upload allows what the rule {self.rule} makes of it")
        return left

    def _shorten(self, size: int, places: Sequence[Place], vectors: Vectors) -> None:
        """Keep what has labels near the median length of all of it, in place."""
        if len(places) >= rules.LEAST:
            given = [vectors[name][part] for name, part in places]
            origin = np.zeros(size)
            lengths = rules.distances(given, origin)
            made: Sequence[Array | None] = (
                rules.shortened(given, lengths)
                if self.rule == "norm"
                else rules.pulled_in(given, origin, lengths)
            )
            self._note(places, rules.times_the_median(lengths, origin), made)
            _put(vectors, places, made)

    def _compare(self, part: Part, names: Sequence[str], vectors: Vectors) -> None:
        """Apply the rule to one part of all uploads that have it, in place."""
        if len(names) < rules.LEAST:
            return
        places = [(name, part) for name in names]
        given = [vectors[name][part] for name in names]
        if self.rule == "norm":
            centre = np.zeros(len(given[0]))
            lengths = rules.distances(given, centre)
            made: Sequence[Array | None] = _normed(given, lengths)
            self._note(places, rules.times_the_median(lengths, centre), made)
        else:
            centre = rules.coordinate_median(given)
            made = self._made(given, centre)
            times = rules.times_the_median(rules.distances(given, centre), centre)
            self._note(places, times, given if self.rule == "krum" else made)  # that drops half
        _put(vectors, places, made)

    def _made(self, given: Sequence[Array], centre: Array) -> Sequence[Array | None]:
        """Return what the rule makes of vectors; None for what it drops."""
        if self.rule == "clip":
            return rules.clipped(given, centre)
        if self.rule == "krum":
            chosen = rules.krum_chosen(given)
            return [each if kept else None for each, kept in zip(given, chosen, strict=True)]
        point = POINTS[self.rule](given).astype(given[0].dtype)
        return [point] * len(given)

    def _note(
        self, places: Sequence[Place], times: Sequence[float], made: Sequence[Array | None]
    ) -> None:
        """Remember what is out of reach, or left out."""
        most = (rules.length_reach if self.rule == "norm" else rules.reach)(len(places))
        for (name, part), each, left in zip(places, times, made, strict=True):
            if each > most or left is None:
                self._far.append(Outlier(name, str(part), each))


def _normed(given: Sequence[Array], lengths: Sequence[float]) -> list[Array | None]:
    """Return vectors that are not too long; None for those that point the other way."""
    out = rules.opposed(given, lengths)
    kept = rules.shortened(given, lengths)
    return [None if gone else each for each, gone in zip(kept, out, strict=True)]


def guarded(algorithm: Algorithm[S, U, B], guard: Guard) -> Algorithm[S, U, B]:
    """Return an algorithm whose server has uploads as a rule leaves them."""
    if guard.rule == "none":
        return algorithm
    unpacked = algorithm.unpacked

    def by_name(state: S, uploads: Mapping[str, U]) -> tuple[S, B]:
        alike = {name: unpacked(each) for name, each in uploads.items()}
        return algorithm.aggregate_uploads(state, guard.apply(alike))

    return replace(algorithm, aggregate_by_name=by_name)


def _put(vectors: Vectors, places: Sequence[Place], made: Sequence[Array | None]) -> None:
    """Put vectors in their places; leave out what is None."""
    for (name, part), vector in zip(places, made, strict=True):
        if vector is None:
            del vectors[name][part]
        else:
            vectors[name][part] = vector


def _groups(vectors: Vectors) -> dict[Part, list[str]]:
    """Return who has each part."""
    found: dict[Part, list[str]] = defaultdict(list)
    for name, parts in vectors.items():
        for part in parts:
            found[part].append(name)
    return dict(found)


def _most_samples(
    opened: Mapping[str, Opened], groups: Mapping[Part, Sequence[str]], rule: RobustRule
) -> dict[Part, int]:
    """Return how many samples each part may claim, by the others' of it, or by all parts'."""
    if rule == "norm":  # a class may be nearly one client's own: its count is no claim too many
        largest = [max(each.counts.values()) for each in opened.values() if each.counts]
        claim = rules.CLAIM_OF_NORM * statistics.median([each for each in largest if each] or [1])
        return dict.fromkeys(groups, int(claim))
    counts = {
        part: [held for name in names if (held := opened[name].counts[part]) > 0]
        for part, names in groups.items()
    }
    of_all = [each for some in counts.values() for each in some] or [1]
    return {
        part: _claim(some if len(some) >= rules.LEAST else of_all) for part, some in counts.items()
    }


def _claim(counts: Sequence[int]) -> int:
    times = rules.CLAIM if len(counts) >= rules.FEW else rules.REACH_OF_FEW
    return int(times * statistics.median(counts))


def _rows(vectors: Vectors) -> dict[int, list[Place]]:
    """Return what has labels, by the number of its entries."""
    found: dict[int, list[Place]] = defaultdict(list)
    for name, parts in vectors.items():
        for part, vector in parts.items():
            if part.label is not None:
                found[len(vector)].append((name, part))
    return found


def _closed(opened: Opened, vectors: Mapping[Part, Array], most: Mapping[Part, int]) -> Any:
    """Return an upload of vectors; None where nothing is left, or its kind does not allow them."""
    try:
        return close_upload(opened, vectors, most)
    except ValueError:
        return None
