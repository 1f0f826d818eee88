"""Intervals and tests, beside values that scipy and the papers give."""

import math

import pytest

from edgeloop.statistics import chance


@pytest.mark.parametrize(
    ("freedom", "expected"),
    [(1, 12.7062047), (2, 4.3026527), (3, 3.1824463), (9, 2.2621572), (31, 2.0395134)],
)
def test_student_s_t(freedom: int, expected: float) -> None:
    assert chance.student(freedom) == pytest.approx(expected)
    assert chance.student(100_000) == pytest.approx(chance.NORMAL, abs=1e-4)


def test_wilson_s_interval_of_an_accuracy() -> None:
    assert chance.wilson(7, 10) == pytest.approx((0.39677815, 0.89220873))
    assert chance.wilson(0, 4) == pytest.approx((0.0, 0.48989082))  # no accuracy of 0 is certain
    assert chance.wilson(4, 4) == pytest.approx((0.51010918, 1.0))
    assert chance.wilson(0, 0) is None


def test_newcombe_s_interval_is_the_paper_s() -> None:
    # Newcombe 1998, table II, method 10: 56 of 70 less 48 of 80.
    assert chance.newcombe((56, 48), (70, 80)) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert chance.newcombe((9, 3), (10, 10)) == pytest.approx((0.1705, 0.8090), abs=5e-5)
    assert chance.newcombe((1, 0), (2, 0)) is None


def test_the_interval_of_a_mean_is_student_s() -> None:
    half = 4.3026527 * 0.1 / math.sqrt(3)
    assert chance.of_mean([0.1, 0.2, 0.3]) == pytest.approx((0.2 - half, 0.2 + half))
    assert chance.of_mean([0.1]) is None
    assert chance.of_mean([0.1, 0.3 - 0.2, 0.1]) is None  # alike but for rounding


def test_the_interval_by_flips_is_bonett_and_price_s() -> None:
    # (12 + 1) / 102 - (3 + 1) / 102, with a variance of (17 / 102 - (9 / 102)^2) / 102.
    half = 1.9599640 * math.sqrt((17 / 102 - (9 / 102) ** 2) / 102)
    assert chance.of_flips([(12, 3)], [100]) == pytest.approx((9 / 102 - half, 9 / 102 + half))
    # Four devices alike are known twice as well as one.
    assert chance.of_flips([(12, 3)] * 4, [100] * 4) == pytest.approx(
        (9 / 102 - half / 2, 9 / 102 + half / 2)
    )
    low, high = chance.of_flips([(0, 0)], [10])
    assert -low == high > 0.1  # ten samples without a flip prove little


@pytest.mark.parametrize(
    ("gained", "lost", "expected"),
    [
        (6, 0, 2 / 2**6),
        (0, 5, 2 / 2**5),
        (20, 8, 0.035698137),
        (500, 430, 0.023608839),
        (3, 3, 1.0),
        (0, 0, 1.0),
        (5.7, 0.2, 2 * (1 + 6) / 2**6),  # as 5 and 1
        (2.5, 2.4, 1.0),
    ],
)
def test_mcnemar_s_test(gained: float, lost: float, expected: float) -> None:
    assert chance.mcnemar(gained, lost) == pytest.approx(expected)
    assert chance.mcnemar(lost, gained) == pytest.approx(expected)


def test_counts_alone_are_taken_at_their_worst() -> None:
    """Of 8 and 6 right answers of 10 as many as 4 and 2 samples may differ, and no more."""
    assert chance.most_flips(8, 6, 10) == (4, 2)
    assert chance.most_flips(3, 1, 10) == (3, 1)
    known = [chance.mcnemar(gained, gained - 2) for gained in range(2, 5)]
    assert max(known) == chance.mcnemar(*chance.most_flips(8, 6, 10))


def test_many_devices_ask_for_more_each() -> None:
    # Holm: the smallest below 0.05 / 3, the next below 0.05 / 2, ...
    assert chance.holm([0.02, 0.001, 0.3]) == [True, True, False]
    assert chance.holm([0.03, 0.001, 0.3]) == [False, True, False]
    assert chance.holm([0.04]) == [True]
    assert chance.holm([]) == []
