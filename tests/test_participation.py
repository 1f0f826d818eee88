import dataclasses
from collections import Counter
from collections.abc import Collection

import pytest

from edgeloop.participation import EVERYBODY, Participation, Sampling, durations

NAMES = tuple(f"client-{number:02}" for number in range(10))


@pytest.mark.parametrize(("ratio", "count"), [(1.0, 10), (0.5, 5), (0.3, 3), (0.55, 5), (0.01, 1)])
def test_how_many_train(ratio: float, count: int) -> None:
    some = Participation(NAMES, ratio)
    assert [len(some.joining(number)) for number in range(20)] == [count] * 20
    assert all(some.joining(number) <= set(NAMES) for number in range(20))


def test_everybody_joins_as_often_as_the_others() -> None:
    some = Participation(NAMES, 0.5)
    counts = Counter(name for number in range(400) for name in some.joining(number))
    assert set(counts) == set(NAMES)
    assert all(150 < count < 250 for count in counts.values())  # 200 expected, deviation 10


def test_a_number_drawn_anew_each_round() -> None:
    some = Participation(NAMES, 0.8, varying=True)
    assert {len(some.joining(number)) for number in range(100)} == {8, 9, 10}


@pytest.mark.parametrize(("rate", "count"), [(0.0, 5), (0.2, 4), (0.5, 2), (0.9, 0)])
def test_how_many_uploads_arrive(rate: float, count: int) -> None:
    some = Participation(NAMES, 0.5, drop_rate=rate)
    joining = some.joining(3)
    arriving = some.arriving(3, joining)
    assert len(arriving) == count
    assert arriving <= joining


def test_a_seed_and_a_round_decide() -> None:
    first, same, other = (Participation(NAMES, 0.5, seed=seed) for seed in (1, 1, 2))
    assert [first.joining(n) for n in range(9)] == [same.joining(n) for n in range(9)]
    assert [first.joining(n) for n in range(9)] != [other.joining(n) for n in range(9)]
    assert first.joining(0) != first.joining(1)
    shuffled = sorted(first.joining(4), reverse=True)
    lossy = Participation(NAMES, 0.5, drop_rate=0.4, seed=1)
    assert lossy.arriving(4, shuffled) == lossy.arriving(4, first.joining(4))


def test_late_uploads_are_left_out() -> None:
    some = Participation(NAMES, deadline=2.0, durations={"client-03": 2.0, "client-04": 2.1})
    joining = some.joining(0)
    assert joining == set(NAMES)
    assert joining - some.arriving(0, joining) == {"client-04"}


def test_whole_rounds_have_everybody_and_lose_nothing() -> None:
    later = Participation(NAMES, 0.2, drop_rate=0.9, deadline=0.5, seed=3)
    some = dataclasses.replace(later, full_rounds=2)
    assert [some.joining(number) for number in range(2)] == [set(NAMES)] * 2
    assert some.arriving(1, NAMES[:3]) == set(NAMES[:3])
    assert some.joining(2) == later.joining(2)
    assert some.arriving(2, NAMES) == later.arriving(2, NAMES) == set()


def test_durations_are_in_the_median_clients_time() -> None:
    costs = {"a": 10.0, "b": 20.0, "c": 60.0}
    assert durations(costs, 0.0, 5.0, seed=0) == {"a": 0.5, "b": 1.0, "c": 3.0}
    assert durations(dict.fromkeys("ab", 0.0), 0.0, 5.0, seed=0) == {"a": 0.0, "b": 0.0}


def test_slow_clients_are_drawn_from_the_seed() -> None:
    costs = dict.fromkeys(NAMES, 2.0)
    drawn = [durations(costs, 0.3, 4.0, seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert sorted(drawn[0].values()) == [1.0] * 7 + [4.0] * 3


class Asked:
    """A record in memory."""

    def __init__(self) -> None:
        self.rounds: dict[int, frozenset[str]] = {}

    def asked(self, round_number: int) -> frozenset[str]:
        return self.rounds.get(round_number, frozenset())

    def ask(self, round_number: int, devices: Collection[str]) -> None:
        self.rounds[round_number] = frozenset(devices)


def test_a_sample_of_a_list_is_what_a_simulation_draws() -> None:
    record = Asked()
    sampled = Sampling(lambda: NAMES[::-1], 0.3, 7, record)
    drawn = Participation(NAMES, 0.3, seed=7)
    assert [sampled.joining(n) for n in range(9)] == [drawn.joining(n) for n in range(9)]
    assert record.rounds[4] == drawn.joining(4)


def test_a_restart_draws_no_more() -> None:
    record, there = Asked(), ["a", "b", "c", "d"]
    first = Sampling(lambda: there, 0.5, 7, record).joining(0)
    assert Sampling(lambda: [*there, "e", "f"], 0.5, 7, record).joining(0) == first
    assert Sampling(lambda: [], 0.5, 7, record).joining(1) is None
    assert record.rounds[1] == {EVERYBODY}
    assert Sampling(lambda: there, 0.5, 7, record).joining(1) is None
