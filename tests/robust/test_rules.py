"""Robust rules on vectors: what they come to, and that every machine gets the same bits."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgeloop.robust import rules

Vectors = list[npt.NDArray[np.float32]]


def cosines(clients: int, entries: int) -> Vectors:
    """Return vectors that every machine has alike: whole numbers, scaled by a power of two."""
    steps = np.arange(clients * entries, dtype=np.int64).reshape(clients, entries)
    values = (steps * 7919 + steps * steps * 104_729) % 65_537 - 32_768
    return list((values * 2.0**-15).astype(np.float32))


def digest(array: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).astype("<f8").tobytes()).hexdigest()[:16]


CASES: dict[str, Callable[[Vectors], Any]] = {
    "median": rules.coordinate_median,
    "trimmed-mean": rules.trimmed_mean,
    "geometric-median": rules.geometric_median,
    "distances": lambda given: rules.distances(given, rules.coordinate_median(given)),
    "krum": rules.krum_chosen,
}
RECORDED = {
    "median": "b595ebd22608863f",
    "trimmed-mean": "e02e3a0b3cd4b7aa",
    "geometric-median": "de16cceb1bd8dc7c",
    "distances": "30d1aa28646421cd",
    "krum": "a4a67e3ca51e4c67",
}
"""Of `cosines(7, 40_001)`; whoever finds another one has found a machine that adds otherwise."""


@pytest.mark.parametrize("name", CASES)
def test_every_machine_has_the_same_bits(name: str) -> None:
    assert digest(CASES[name](cosines(7, 40_001))) == RECORDED[name]


@pytest.mark.parametrize("name", CASES)
def test_how_many_entries_are_looked_at_together_changes_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = cosines(6, 20_000)
    whole = CASES[name](given)
    monkeypatch.setattr(rules, "_CELLS", 30_001)
    assert digest(CASES[name](given)) == digest(whole)


@pytest.mark.parametrize("clients", [3, 4, 5, 8])
def test_medians_and_means_are_what_they_say(clients: int) -> None:
    given = cosines(clients, 50)
    stacked = np.stack(given).astype(np.float64)
    assert np.array_equal(rules.coordinate_median(given), np.median(stacked, axis=0))
    cut = max(1, clients // 4)
    expected = np.sort(stacked, axis=0)[cut:-cut].mean(0)
    assert np.allclose(rules.trimmed_mean(given), expected, atol=1e-15)
    away = rules.distances(given, np.zeros(50))
    assert np.allclose(away, np.linalg.norm(stacked, axis=1), rtol=1e-14)


def test_zeros_of_either_sign_are_one() -> None:
    given = [np.array([sign * 0.0], np.float32) for sign in (1.0, -1.0, -1.0)]
    assert not np.signbit(rules.coordinate_median(given)).any()


def test_the_geometric_median_has_the_least_sum_of_distances() -> None:
    given = cosines(9, 3)
    found = rules.geometric_median(given)
    least = sum(rules.distances(given, found))
    random = np.random.default_rng(0)
    for _ in range(200):
        other = found + random.normal(scale=0.05, size=3)
        assert least <= sum(rules.distances(given, other)) + 1e-3
    alike = [np.ones(3, np.float32)] * 4
    assert np.array_equal(rules.geometric_median(alike), np.ones(3))
    most = [*alike, np.full(3, 50, np.float32)]
    assert np.allclose(rules.geometric_median(most), 1, atol=1e-3)


def test_krum_keeps_those_that_are_near_one_another() -> None:
    near = [np.array([0.01 * n, 0], np.float32) for n in range(6)]
    far = [np.array([9, 9], np.float32), np.array([9, 9.1], np.float32)]
    kept = rules.krum_chosen([*near, *far])
    assert sum(kept) == 8 - 2 - 2
    assert not any(kept[6:])
    assert rules.krum_chosen(near[:2]) == [True, True]


def within(*values: float) -> list[float | None]:
    """Return what is left of vectors of one entry around 0."""
    given = [np.array([x], np.float32) for x in values]
    centre = np.zeros(1)
    found = rules.pulled_in(given, centre, rules.distances(given, centre))
    return [None if each is None else each.item() for each in found]


def test_what_is_within_reach_stays_and_the_rest_is_at_the_median_distance_or_out() -> None:
    assert within(-2, -1, 1, 1, 2, 3, -8) == [-2, -1, 1, 1, 2, 3, -2]
    assert within(-2, -1, 1, 1, 2, 3, 20.5) == [-2, -1, 1, 1, 2, 3, None]
    assert within(1, 1, 29) == [1, 1, 29], "of three the median says little"
    assert within(1, 1, 31) == [1, 1, None]
    given = [np.array([x], np.float32) for x in (1.0, 1.5, 2.0)]
    found = rules.pulled_in(given, np.ones(1), [0.0, 0.5, 1.0])
    assert all(one is other for one, other in zip(found, given, strict=True))


def test_where_most_are_alike_the_centres_length_is_the_measure() -> None:
    alike = [np.ones(4, np.float32)] * 5
    far, near = np.full(4, 1000, np.float32), np.full(4, 1.5, np.float32)
    found = rules.clipped([*alike, near, far], np.ones(4))
    assert [each is None for each in found] == [False] * 6 + [True]
    assert found[5] is near
    zeros = [np.zeros(4, np.float32)] * 5
    assert rules.clipped([*zeros, far], np.zeros(4))[5] is far, "there is nothing to compare with"


def test_what_has_the_opposite_sign_is_out() -> None:
    spread = np.eye(6, dtype=np.float32)
    given = [1 + row for row in spread] + [-(1 + spread[0])]
    found = rules.clipped(given, rules.coordinate_median(given))
    assert [each is None for each in found] == [False] * 6 + [True]
    around = [*spread, *(-row for row in spread)]  # no direction is the cohort's
    assert all(each is not None for each in rules.clipped(around, np.zeros(6)))
