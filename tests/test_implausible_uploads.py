"""Which uploads are logged because they are far from the cohort's."""

from typing import Any

import numpy as np
import pytest

from cloud.aggregator import waiting
from edgeloop import algorithms, implausible_uploads, server_loop
from edgeloop.gaussian.statistics import ClassStatistics
from edgeloop.knowledge.prototypes import PrototypeUpload
from edgeloop.record import Record, RecordedRound
from tests.algorithms.test_hostile import Told

CLASSES, DIMS = 2, 3


def upload(count: int = 10, mean: float = 1.0, second: float = 2.0) -> ClassStatistics:
    return ClassStatistics(
        np.arange(CLASSES),
        np.full(CLASSES, count),
        np.full((CLASSES, DIMS), mean, np.float32),
        np.full(DIMS * (DIMS + 1) // 2, second, np.float32),
    )


def found(odd: Any, others: int = 4) -> list[tuple[str, str]]:
    cohort = {f"c{number}": upload(count=8 + number) for number in range(others)}
    return [
        (each.client, each.field) for each in implausible_uploads.outliers({**cohort, "odd": odd})
    ]


@pytest.mark.parametrize(
    ("odd", "field"),
    [
        (upload(count=10**5), "counts_R"),
        (upload(second=4096.0), "second_T"),
        (upload(mean=5000.0), "means_RD"),
        (upload(mean=0.0, second=0.0), ""),
        (upload(mean=1e-4, second=1e-6), ""),
    ],
)
def test_a_field_far_from_the_cohorts_is_named(odd: Any, field: str) -> None:
    assert found(odd) == [("odd", field)]


@pytest.mark.parametrize("odd", [upload(), upload(count=1000), upload(second=0.0), upload(mean=60)])
def test_what_clients_may_differ_by_is_not(odd: Any) -> None:
    assert found(odd) == []


def test_two_clients_have_no_median() -> None:
    assert found(upload(count=10**5), others=1) == []


def test_who_has_nothing_to_say_is_not_odd() -> None:
    empty = ClassStatistics(
        np.zeros(0, np.int64),
        np.zeros(0, np.int64),
        np.zeros((0, DIMS), np.float32),
        np.zeros(0, np.float32),
    )
    assert found(empty) == []


def test_a_replayed_run_sets_aside_what_the_run_did() -> None:
    """By its record: the same uploads lead to the same state."""
    algorithm = algorithms.load("fedproto", classes=CLASSES, width=DIMS)
    start = server_loop.initial_state(algorithm)
    sent = {f"c{number}": prototypes(1.0 + number) for number in range(4)}
    sent["odd"] = prototypes(1e6)
    everybody = frozenset(sent)
    found = {}
    for refuses in (False, True):
        record = Record(
            task="t",
            run="r",
            algorithm="fedproto",
            rounds=(RecordedRound(answered=tuple(sent)),),
            refuse_outliers=refuses,
        )
        again = Record.model_validate_json(record.model_dump_json())
        closed: list[Any] = []
        cohort = Told(sent)
        server_loop.run_rounds(
            algorithm, cohort, 1, start, closed.append, participation=again.policy()
        )
        found[refuses] = closed[0]
    assert set(found[True].excluded) == {"odd"}
    assert "times the cohort's median" in found[True].excluded["odd"]
    assert not found[False].excluded
    assert set(found[False].answers) == everybody
    told = waiting.outliers(found[True].outliers)
    assert [(each.device, each.field) for each in told] == [("odd", "prototypes_ND")]


def prototypes(value: float) -> PrototypeUpload:
    rows = np.full((CLASSES, DIMS), value, np.float32)
    return PrototypeUpload(np.arange(CLASSES), np.full(CLASSES, 10), rows)
