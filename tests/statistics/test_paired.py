"""Whether taking part paid: numbers, and the sentence on them, of data made by hand."""

# Over 320 lines: every number by hand beside the function's.

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from edgeloop.statistics.paired import Paired, Side, paired
from edgeloop.statistics.verdict import accuracy, apart, between, pluralize, points, sentence


def side(
    rounds: Sequence[Sequence[float]], samples: Sequence[int], title: str = "FedTGP", **more: object
) -> Side:
    """Return a run whose devices have so many right answers, round by round."""
    names = [f"device-{number}" for number in range(len(samples))]
    right = {n: dict(zip(names, each, strict=True)) for n, each in enumerate(rounds)}
    made = Side(title, dict(zip(names, samples, strict=True)), right)
    return replace(made, **more)  # type: ignore[arg-type]  # its own fields


def pair(
    one: Sequence[Sequence[float]], other: Sequence[Sequence[float]], samples: Sequence[int]
) -> tuple[Side, Side]:
    return side(one, samples), side(other, samples, "Local")


def told(one: Side, other: Side, alone: bool = True) -> str:
    return sentence(paired(one, other), one, other, alone=alone)


def hits(right: int, samples: int, first: int = 0) -> list[bool]:
    """Return answers of which so many are right, those from the first on."""
    return [first <= each < first + right for each in range(samples)]


def found(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]], n: int) -> Paired:
    return paired(*pair(one, other, [n] * len(one[0])))


def test_every_number_by_hand() -> None:
    it = found([[50, 50, 50], [60, 90, 80]], [[50, 50, 50], [50, 50, 70]], 100)
    # Differences 0.1, 0.4, 0.1: mean 0.2, deviation 0.1732, and t is 4.3027 with three devices.
    assert it.mean == pytest.approx(0.2)
    assert it.ci95 == pytest.approx((0.2 - 4.3026527 * 0.1, 0.2 + 4.3026527 * 0.1))
    assert (it.interval_of, it.verdict, it.undecided_by) == ("devices", "undecided", "devices")
    assert (it.devices, it.test_samples, it.from_round) == (3, 300, None)
    assert [row.difference for row in it.rows] == pytest.approx([0.1, 0.4, 0.1])
    assert [row.beyond_chance for row in it.rows] == [None, "better", None]
    assert (it.devices_better, it.devices_worse) == (1, 0)


CASES = {
    "paid": (
        [[100] * 4, [160, 170, 150, 160], [100, 130, 90, 120], [330, 300, 310, 500]],
        [[100] * 4, [150, 150, 160, 150], [60, 70, 60, 60], [100, 100, 120, 300]],
        [1000] * 4,
        "Taking part paid: +20.5 points (95 % interval 17.7 to 23.3) over 4 devices with 1,000 test"
        " samples each; 4 devices better and 0 worse beyond chance; ahead from round 2.",
    ),
    "cost": (
        [[9] * 3, [55, 40, 30]],
        [[9] * 3, [95, 82, 71]],
        [100, 100, 80],
        "Taking part cost accuracy: -44.4 points (95 % interval -59.3 to -29.5) over 3 devices with"
        " 80 to 100 test samples each; 0 devices better and 3 worse beyond chance.",
    ),
    "alike": (
        [[9] * 3, [700, 610, 650]],
        [[9] * 3, [701, 610, 649]],
        [1000] * 3,
        "Taking part made no difference of a point: 0.0 points (95 % interval -0.2 to +0.2) over 3"
        " devices with 1,000 test samples each; 0 devices better and 0 worse beyond chance.",
    ),
    "few test samples": (
        [[9] * 3, [5, 0, 9]],
        [[9] * 3, [5, 0, 8]],
        [10] * 3,
        "Whether taking part paid cannot be decided with so few test samples: +3.3 points (95 %"
        " interval -11.0 to +17.7) over 3 devices with 10 test samples each; 0 devices better and"
        " 0 worse beyond chance.",
    ),
    "few devices": (
        [[9, 9], [400, 300]],
        [[9, 9], [300, 290]],
        [1000] * 2,
        "Whether taking part paid cannot be decided with so few devices: +5.5 points (95 % interval"
        " -51.7 to +62.7) over 2 devices with 1,000 test samples each; 1 device better and 0 worse"
        " beyond chance.",
    ),
    "few devices, both of them surely worse": (
        [[9, 9], [40, 30]],
        [[9, 9], [80, 71]],
        [100, 80],
        "Whether taking part paid cannot be decided with so few devices: -45.6 points (95 %"
        " interval -100.0 to +25.8) over 2 devices with 80 to 100 test samples each; 0 devices"
        " better and 2 worse beyond chance.",
    ),
    "devices that differ": (
        [[9] * 7, [5, 90, 5, 90, 5, 90, 60]],
        [[9] * 7, [50] * 7],
        [100] * 7,
        "Whether taking part paid cannot be decided because the devices differ too much: -0.7"
        " points (95 % interval -40.3 to +38.8) over 7 devices with 100 test samples each; 3"
        " devices better and 3 worse beyond chance.",
    ),
    "ties": (
        [[9, 9], [40, 32]],
        [[9, 9], [40, 32]],
        [100] * 2,
        "Whether taking part paid cannot be decided with so few test samples: 0.0 points (95 %"
        " interval -11.7 to +11.7, by the test samples alone) over 2 devices with 100 test samples"
        " each; 0 devices better and 0 worse beyond chance.",
    ),
    "ties of many samples": (
        [[9, 9], [4000, 3200]],
        [[9, 9], [4000, 3200]],
        [100_000] * 2,
        "Taking part made no difference of a point: 0.0 points (95 % interval -0.1 to +0.1, by the"
        " test samples alone) over 2 devices with 100,000 test samples each; 0 devices better and 0"
        " worse beyond chance.",
    ),
    "one device": (
        [[100], [110], [200]],
        [[100], [100], [100]],
        [1000],
        "Taking part paid: +10.0 points (95 % interval 6.6 to 13.3, from its test samples) on one"
        " device with 1,000 test samples, which says nothing of others; ahead from round 2.",
    ),
    "one device with one sample": (
        [[0], [1]],
        [[0], [0]],
        [1],
        "Whether taking part paid cannot be decided with so few test samples: +100.0 points (95 %"
        " interval -73.4 to +100.0, from its test samples) on one device with 1 test sample, which"
        " says nothing of others.",
    ),
    "nothing measured": (
        [[0, 0]],
        [[0, 0]],
        [0, 0],
        "Nobody knows whether taking part paid: no device has a test sample.",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_sentence(case: str) -> None:
    one, other, samples, expected = CASES[case]
    assert told(*pair(one, other, samples)) == expected


@pytest.mark.parametrize(
    ("case", "opening"),
    [
        ("paid", "FedTGP is better than Local: +20.5 points"),
        ("cost", "FedTGP is worse than Local: -44.4 points"),
        ("alike", "FedTGP and Local are less than a point apart: 0.0 points"),
        ("ties", "Whether FedTGP or Local is better cannot be decided with so few test samples: "),
        ("nothing measured", "Nobody knows whether FedTGP or Local is better: no device has a"),
    ],
)
def test_two_algorithms_are_called_by_their_names(case: str, opening: str) -> None:
    one, other, samples, _ = CASES[case]
    assert told(*pair(one, other, samples), alone=False).startswith(opening)


def test_which_samples_are_right_says_more_than_how_many() -> None:
    """Of 60 and 50 right of 100 the 50 may all be among the 60, or as few as 10."""
    counts = pair([[9], [60]], [[9], [50]], [100])
    assert (counted_ := paired(*counts)).verdict == "undecided"
    assert counted_.rows[0].gained is None
    one, other = (
        replace(each, hits={"device-0": hits(right, 100)})
        for each, right in zip(counts, (60, 50), strict=True)
    )
    nested = paired(one, other)
    assert (nested.verdict, nested.devices_better) == ("better", 1)
    assert (nested.rows[0].gained, nested.rows[0].lost) == (10, 0)
    apart_ = paired(one, replace(other, hits={"device-0": hits(50, 100, first=50)}))
    assert (apart_.rows[0].gained, apart_.rows[0].lost) == (50, 40)
    assert apart_.verdict == "undecided"
    assert paired(one, counts[1]).rows[0].gained is None  # only one side knows


def test_which_samples_are_right_is_known_of_the_last_round_only() -> None:
    rounds = [[[right]] * 3 for right in (110, 100)]
    sides = (
        replace(side([counts[0]] * 3, [1000], title), hits={"device-0": hits(counts[0][0], 1000)})
        for counts, title in zip(rounds, ("FedTGP", "Local"), strict=True)
    )
    assert (it := paired(*sides)).verdict == "better"
    assert it.from_round == 2  # in round 1 the counts are the same, and decide nothing


def test_many_devices_of_which_one_is_better_by_chance() -> None:
    """With twenty devices one of p = 0.03 is what chance brings."""
    one, other = pair([[16] + [10] * 19], [[10] * 20], [16] * 20)
    assert paired(*pair([[16]], [[10]], [16])).rows[0].p == pytest.approx(2 / 2**6)
    assert paired(*pair([[16]], [[10]], [16])).devices_better == 1
    assert paired(one, other).devices_better == 0


def test_ahead_from_the_round_that_stays_ahead() -> None:
    ahead, behind = [60, 62, 64], [50, 50, 50]
    base = [[50, 50, 50]] * 5
    lost = found([behind, ahead, behind, ahead, ahead], base, 100)
    assert lost.from_round == 3
    assert found([ahead, ahead, ahead, ahead, ahead], base, 100).from_round == 0
    assert found([ahead, ahead, ahead, ahead, behind], base, 100).from_round is None


def test_a_run_that_stopped_earlier_stays_where_it_was() -> None:
    ahead, behind = [60, 62, 64], [50, 50, 50]
    short = found([behind, ahead], [behind, behind, behind, [61, 60, 66]], 100)
    assert short.from_round is None
    assert found([behind, ahead], [behind] * 4, 100).from_round == 1


def test_where_only_the_last_round_is_known_no_round_is_told() -> None:
    one, other = pair([[60, 62, 64]], [[50, 50, 50]], [100] * 3)
    late = replace(one, right={7: one.right[0]}), replace(other, right={7: other.right[0]})
    assert (paired(*late).verdict, paired(*late).from_round) == ("better", None)
    assert "ahead from" not in told(*late)


def test_devices_that_cannot_be_compared_are_left_out_and_told() -> None:
    one = side([[9, 80, 90, 8, 0]], [10, 100, 100, 9, 0])
    other = side([[9, 50, 61, 8]], [10, 100, 100, 10], "Local")
    words = told(one, other)
    assert "over 3 devices with 10 to 100 test samples each" in words
    assert words.endswith(
        "; left out: 1 device with other test samples and 1 device in one run only."
    )
    assert [row.device for row in paired(one, other).rows] == [f"device-{n}" for n in range(3)]
    untested = pair([[9, 8, 0, 0]], [[5, 5, 0, 0]], [10, 10, 0, 0])
    assert told(*untested).endswith("; left out: 2 devices without test samples.")


def test_nothing_in_common() -> None:
    one = side([[9]], [10])
    other = Side("Local", {"another": 10}, {0: {"another": 5}})
    assert told(one, other) == (
        "Nobody knows whether taking part paid: the two have no device in common."
    )
    assert told(one, side([[9]], [11], "Local")) == (
        "Nobody knows whether taking part paid: no device has the same test samples in both."
    )
    nobody = Side("a", {}, {}), Side("b", {}, {})
    assert told(*nobody) == "Nobody knows whether taking part paid: there is no device."
    mixed = told(side([[9, 0]], [10, 0]), side([[9]], [11], "Local"))
    assert mixed.endswith(
        "left out: 1 device with other test samples and 1 device in one run only."
    )


def test_what_diverged_is_told() -> None:
    one, other = pair([[10, 1, 12]], [[60, 62, 64]], [100] * 3)
    one = replace(one, diverged=frozenset({"device-0", "device-1"}))
    assert "beyond chance; 2 devices diverged while taking part." in told(one, other)
    other = replace(other, diverged=frozenset({"device-2"}))
    assert "; 2 devices diverged with FedTGP; 1 device diverged with Local." in told(
        one, other, alone=False
    )
    assert "; 1 device diverged alone" in told(one, other)


def test_means_of_several_runs_need_not_be_whole() -> None:
    one, other = pair([[60.5, 62.25]], [[50, 50.75]], [100] * 2)
    assert paired(one, other).mean == pytest.approx(0.11)
    assert "samples each, the means of 4 runs on both sides;" in told(
        replace(one, runs=4), replace(other, runs=4)
    )
    assert ", the means of 2 runs and of 1 run;" in told(replace(one, runs=2), other)


@pytest.mark.parametrize("right", [-1, 11, float("nan"), float("inf")])
def test_answers_that_cannot_be(right: float) -> None:
    with pytest.raises(ValueError, match=r"^device-0: .* right answers cannot be"):
        side([[right]], [10])


def lucky(known: bool) -> Paired:
    """Compare two devices that chance brought nearly alike: 10 and 9 more right of 100."""
    one, other = pair([[50, 49]], [[40, 40]], [100] * 2)
    if known:  # of 50 and 40 right, 14 in common
        one = replace(one, hits={name: hits(int(n), 100) for name, n in one.right[0].items()})
        beside = {name: hits(40, 100, first=36) for name in other.samples}
        other = replace(other, hits=beside)
    return paired(one, other)


def test_no_mean_is_surer_than_its_test_samples() -> None:
    """Two differences that are alike by luck leave Student next to no interval."""
    counts, known = lucky(known=False), lucky(known=True)
    assert counts.interval_of == "devices"
    assert counts.ci95 == pytest.approx((0.095 - 12.7062047 * 0.005, 0.095 + 12.7062047 * 0.005))
    assert counts.verdict == "better"
    # By Bonett and Price: 36 and 36 gained, 26 and 27 lost, one more of each, of 102 samples each.
    variance = sum(
        (g + n - (g - n) ** 2) / 102 for g, n in ((37 / 102, 27 / 102), (37 / 102, 28 / 102))
    )
    mean, half = (10 + 9) / 204, 1.959964 * math.sqrt(variance) / 2
    assert known.ci95 == pytest.approx((mean - half, mean + half))
    assert (known.interval_of, known.verdict, known.undecided_by) == (
        "samples",
        "undecided",
        "samples",
    )


def test_devices_that_differ_more_than_their_samples_keep_their_own_interval() -> None:
    one, other = pair([[90, 30, 60]], [[40, 30, 50]], [100] * 3)
    counts = paired(one, other)
    one, other = (
        replace(each, hits={name: hits(int(n), 100) for name, n in each.right[0].items()})
        for each in (one, other)
    )
    assert (known := paired(one, other)).ci95 == counts.ci95
    assert (known.interval_of, known.verdict) == ("devices", "undecided")


def calls(devices: int, samples: int, share: float, pairs: int, known: bool) -> tuple[float, float]:
    """Return how often equally good runs are called better or worse; and how often devices are."""
    random = np.random.default_rng([3, devices, samples])
    wrong, flagged = 0, 0
    for _ in range(pairs):
        sides = []
        for title in ("one", "other"):
            answers = random.random((devices, samples)) < share
            made = side([answers.sum(axis=1).tolist()], [samples] * devices, title)
            named: Mapping[str, Sequence[bool]] = {
                f"device-{n}": row.tolist() for n, row in enumerate(answers)
            }
            sides.append(replace(made, hits=named) if known else made)
        it = paired(*sides)
        wrong += it.verdict in ("better", "worse")
        flagged += bool(it.devices_better or it.devices_worse)
    return wrong / pairs, flagged / pairs


@pytest.mark.parametrize("accuracy_of_both", [0.1, 0.5, 0.9])
def test_it_is_wrong_about_as_often_as_it_says(accuracy_of_both: float) -> None:
    """Of runs that are equally good at most one in twenty is called better or worse.

    600 pairs: the standard error of a share of 0.05 is 0.009; of 300, 0.013.
    """
    counted_, flagged = calls(5, 80, accuracy_of_both, 600, known=False)
    assert 0.05 - 3 * 0.009 < counted_ < 0.05 + 3 * 0.009
    assert flagged < 0.05 + 3 * 0.009
    known, flagged = calls(5, 80, accuracy_of_both, 300, known=True)
    assert 0 < known < counted_  # the wider of two intervals
    assert flagged < 0.05 + 3 * 0.013


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("devices", [2, 3, 5, 10])
def test_with_few_devices_it_is_wrong_no_more_often(devices: int, known: bool) -> None:
    """300 pairs: the standard error of a share of 0.05 is 0.013."""
    assert calls(devices, 60, 0.7, 300, known)[0] < 0.05 + 2 * 0.013


def test_two_devices_that_are_surely_better_are_called_so() -> None:
    """The wider interval is no refusal: what both intervals see is said."""
    sides = [
        replace(side([list(by.values())], [400] * 2), hits={n: hits(c, 400) for n, c in by.items()})
        for by in (
            {"device-0": 300, "device-1": 297},
            {"device-0": 200, "device-1": 198},
        )
    ]
    assert paired(*sides).verdict == "better"


def test_two_runs_on_other_test_samples() -> None:
    assert apart(("B", "A"), (800, 600), (1000, 900)) == (
        "B is better than A: +13.3 points (95 % interval 9.4 to 17.3), each on its own test"
        " samples, 1,000 and 900."
    )
    assert apart(("B", "A"), (600, 800), (900, 1000)).startswith("B is worse than A: -13.3 points")
    assert apart(("B", "A"), (8, 7), (10, 10)) == (
        "Whether B or A is better cannot be decided with so few test samples: +10.0 points (95 %"
        " interval -26.5 to +43.5), each on its own test samples, 10 and 10."
    )
    assert apart(("B", "A"), (0, 7), (0, 10)) == (
        "Nobody knows whether B or A is better: one of them has no test samples."
    )


def test_numbers_as_a_person_reads_them() -> None:
    assert [points(each) for each in (0.199, -0.0004, 0.0, -0.05)] == [
        "+19.9",
        "0.0",
        "0.0",
        "-5.0",
    ]
    assert between((0.171, 0.227)) == "17.1 to 22.7"
    assert between((-0.05, -0.014)) == "-5.0 to -1.4"
    assert between((-0.03, 0.05)) == "-3.0 to +5.0"
    assert between((0.0002, 0.05)) == "0.02 to 5.00"  # not 0.0, which it leaves out
    assert between((-0.05, 0.0)) == "-5.0 to +0.0"
    assert (pluralize(1, "device"), pluralize(2000, "device")) == ("1 device", "2,000 devices")
    assert accuracy(0.75, 1000) == "0.7500 (95 % 0.722 to 0.776, 1,000 test samples)"
    assert accuracy(0.0, 0) == "0.0000 (no test samples)"
    assert accuracy(1.0, 1) == "1.0000 (95 % 0.207 to 1.000, 1 test sample)"
