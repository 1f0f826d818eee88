from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import judging
from benchmarks.grid import STATISTICS
from benchmarks.judging import Seen
from edgeloop.errors import RunError
from edgeloop.statistics.paired import Side, paired
from simulations.results.runs import FinishedRun, Summary

SAMPLES = 100


def side(*rights: int) -> Side:
    """Devices of 100 test samples, of which the first so many are right."""
    names = [f"device-{number}" for number in range(len(rights))]
    return Side(
        "it",
        dict.fromkeys(names, SAMPLES),
        {1: dict(zip(names, map(float, rights), strict=True))},
        {n: [i < r for i in range(SAMPLES)] for n, r in zip(names, rights, strict=True)},
    )


def seen(
    run: tuple[int, ...], mix: tuple[int, ...], alone: tuple[int, ...], **changes: Any
) -> Seen:
    sides = side(*run), side(*mix), side(*alone)
    compared = (
        paired(sides[0], sides[2]),
        paired(sides[1], sides[2]),
        paired(sides[1], sides[0]),
    )
    facts = {"setting": "s", "way": "w", "seeds": 1, "accuracy": 0.5, "by_round": {1: 0.5}}
    return Seen(
        **{**facts, "added": None, "up": 0.0, "down": 0.0, "seconds": 0.0, **changes},
        run=compared[0],
        mix=compared[1],
        kept=compared[2],
    )


ALONE = (50, 52, 54, 56)
GAINED = seen((70, 71, 74, 77), (69, 70, 74, 76), ALONE, setting="gained")
BELOW = seen((30, 33, 34, 35), (44, 47, 48, 51), ALONE, setting="below")
ONE_WORSE = seen((60, 62, 65, 36), (60, 62, 65, 36), ALONE, setting="one")
HALVED = seen((70, 71, 74, 77), (60, 62, 64, 66), ALONE, setting="halved")


def test_a_promise_that_is_kept_holds_in_all_its_parts() -> None:
    below, few, kept = judging.judged([GAINED])
    assert (below.holds, few.holds, kept.holds) == (True, True, True)
    assert [each.where for each in (below, few, kept)] == [(), (), ()]


def test_a_mean_below_alone_beyond_its_interval_is_told_with_its_setting() -> None:
    below, _, kept = judging.judged([GAINED, BELOW])
    assert (below.holds, below.found) == (False, "1 of 2")
    assert below.where[0].startswith("below, w: -5.5 (")
    rescued = seen((30, 33, 34, 35), (51, 52, 55, 55), ALONE)
    assert rescued.run.verdict == "worse"
    assert judging.judged([rescued])[0].holds, "the mixture is judged, not the run"
    assert kept.holds, "there was no gain to keep"


def test_devices_worse_are_counted_over_all_settings_only_beyond_chance() -> None:
    _, few, _ = judging.judged([ONE_WORSE])
    assert few.holds is False
    assert few.found.startswith("1 of 4 (25.0%)")
    assert few.where == ("one, w: 1 devices",)
    _, few, _ = judging.judged([ONE_WORSE, *[GAINED] * 4])
    assert few.holds, "one of twenty"
    barely = seen(ALONE, (50, 52, 54, 53), ALONE)
    _, few, _ = judging.judged([barely])
    assert few.holds, "three samples of a hundred may be chance"
    assert "chance or not: 1 (25.0%)" in few.found


def test_a_gain_that_is_halved_is_not_kept() -> None:
    _, _, kept = judging.judged([GAINED, HALVED])
    assert kept.holds is False
    assert kept.found.startswith("less in 1 of 2, in 1 of them beyond")
    assert kept.where[0].startswith("halved, w: 50%, lost -10.0 (")


def test_nothing_seen_says_nothing() -> None:
    assert [each.holds for each in judging.judged([])] == [None, None, None]
    *_, kept = judging.judged([BELOW])
    assert (kept.holds, kept.found) == (None, "no gain beyond its interval")


def test_devices_of_two_seeds_are_not_taken_for_one_another() -> None:
    both = judging.together({0: side(50, 60), 1: side(70, 80)})
    assert both.right[1] == {
        "0/device-0": 50,
        "0/device-1": 60,
        "1/device-0": 70,
        "1/device-1": 80,
    }
    assert sum(map(sum, both.hits.values())) == 260
    assert judging.mean(both, 1) == pytest.approx(0.65)


def summary(**more: Any) -> Summary:
    names = ("client-0", "client-1")
    return Summary.model_validate(
        {
            "config": {"algorithm": "a", "data": "d", "seed": 0, "partition_fingerprint": "f"},
            "accuracy_by_round": [0.5, 0.5],
            **{"best_accuracy": 0.5, "best_round": 0, "final_accuracy": 0.5},
            "accuracy_by_client": dict.fromkeys(names, 0.5),
            "samples_by_client": {name: {"train": 8, "test": 4} for name in names},
            "model_by_client": dict.fromkeys(names, "cnn"),
            "seconds_per_round": 1.0,
            "seconds": {"training": 2.0, "evaluating": 1.0, "aggregating": 0.5, "wall": 9.0},
            **dict.fromkeys(("bytes_up_per_client", "bytes_down_per_client"), 1000.0),
            **dict.fromkeys(("floats_up_per_client", "floats_down_per_client"), 1.0),
            "peak_memory_bytes": 1,
            **more,
        }
    )


def mixed(*hits: str) -> dict[str, Any]:
    return {"clients": {f"client-{n}": {"hits": h, "test_samples": 4} for n, h in enumerate(hits)}}


def test_a_mixture_is_read_from_its_hits_and_statistics_are_their_own(tmp_path: Path) -> None:
    found = judging.mixture(FinishedRun(tmp_path, summary(mix=mixed("e0", "10"))))
    assert found is not None
    assert found.right == {1: {"client-0": 3, "client-1": 1}}
    assert found.hits["client-0"] == [True, True, True, False]
    assert judging.mixture(FinishedRun(tmp_path, summary())) is None
    own = {"clients": {f"client-{n}": {"test_samples": 4, "mixed": 0.5} for n in range(2)}}
    itself = judging.mixture(FinishedRun(tmp_path, summary(mix=own)))
    assert itself is not None
    assert itself.right[1]["client-0"] == 2
    with pytest.raises(RunError, match="damaged hits"):
        judging.mixture(FinishedRun(tmp_path, summary(mix=mixed("zz", "10"))))


def test_a_run_without_a_mixture_is_not_judged() -> None:
    never = seen(ALONE, ALONE, ALONE)
    assert [each.holds for each in judging.judged([replace(never, mix=None)])] == [None] * 3


def test_class_statistics_keep_no_gain_because_they_are_the_mixture() -> None:
    _, few, kept = judging.judged([replace(GAINED, way=STATISTICS)])
    assert (few.holds, kept.holds) == (True, None)
