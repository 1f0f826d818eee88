import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
from safetensors.numpy import load

from edgeloop.algorithms.local import Nothing
from edgeloop.client import Report
from edgeloop.knowledge.prototypes import GlobalPrototypes, PrototypeUpload
from simulations.results import measurements
from simulations.results.measurements import Row

ROW = Row(0, 0.0, 0.0, 9.0, 4.0, 2.0, 1.0, 60, 30, 24, 12)
ROWS = [
    ROW,
    replace(ROW, round=1, accuracy=0.5, seconds=3.0),
    replace(ROW, round=2, accuracy=0.75, seconds=5.0, bytes_up=120),
    replace(ROW, round=3, accuracy=0.75, seconds=1.0, bytes_up=0, floats_up=0, auc=0.875),
]
REPORTS = {"a": Report(3, 4, 30, 1.0, 0.0), "b": Report(0, 12, 10, 1.0, 0.0)}
KNOWLEDGE = GlobalPrototypes(np.array([True, False]), np.ones((2, 3), np.float32))


def test_accuracy_is_weighted_by_test_samples() -> None:
    assert measurements.accuracy(list(REPORTS.values())) == 3 / 16
    assert measurements.accuracy([Report(0, 0, 5, 0.0, 0.0)]) is None


def test_spread_is_the_population_deviation_of_the_clients() -> None:
    assert measurements.accuracy_std(list(REPORTS.values())) == pytest.approx(0.375)


def test_the_auc_is_weighted_by_test_samples_of_the_clients_that_have_one() -> None:
    reports = [Report(1, 1, 5, 0.0, 0.0, 0.5), Report(1, 3, 5, 0.0, 0.0, 1.0)]
    unknown = Report(1, 90, 5, 0.0, 0.0)
    assert measurements.mean_auc([*reports, unknown]) == (0.5 + 3.0) / 4
    assert measurements.mean_auc([unknown]) is None


def test_only_prototype_entries_count_as_floats() -> None:
    upload = PrototypeUpload(np.array([0, 2]), np.array([5, 5]), np.ones((2, 3), np.float32))
    assert measurements.floats(upload) == 6
    assert measurements.floats(KNOWLEDGE) == 3  # one of two classes is known
    assert measurements.floats(Nothing()) == 0


def test_a_message_of_another_algorithm_counts_its_real_arrays() -> None:
    @dataclass(frozen=True)
    class Head:
        labels: np.ndarray[tuple[int], np.dtype[np.int64]]
        weights: np.ndarray[tuple[int, int], np.dtype[np.float32]]

    assert measurements.floats(Head(np.zeros(7, np.int64), np.zeros((2, 5), np.float32))) == 10


def test_summary_takes_the_first_best_round_and_means_over_rounds_and_clients() -> None:
    summary = measurements.summary(
        {"models_by_client": {"a": "cnn", "b": "cnn"}}, ROWS, REPORTS, KNOWLEDGE
    )
    assert (summary["best_accuracy"], summary["best_round"]) == (0.75, 2)
    assert summary["final_accuracy"] == 0.75
    assert summary["auc_by_round"] == [None, None, None, 0.875]
    assert summary["accuracy_by_client"] == {"a": 0.75, "b": 0.0}
    assert summary["bytes_up_per_client"] == (60 + 60 + 120) / 3 / 2
    assert summary["floats_down_per_client"] == 6.0
    assert summary["seconds_per_round"] == 4.0  # rounds 1 and 2: not the first, not the evaluation
    assert summary["seconds"] == {
        "training": 16.0,
        "evaluating": 8.0,
        "aggregating": 4.0,
        "wall": 18.0,
    }
    assert 10**7 < summary["peak_memory_bytes"] < 10**11
    assert json.loads(json.dumps(summary)) == summary


def test_a_single_round_is_its_own_mean() -> None:
    summary = measurements.summary({"models_by_client": {}}, ROWS[:2], REPORTS, KNOWLEDGE)
    assert summary["seconds_per_round"] == 9.0


def test_a_line_has_the_columns_of_the_header() -> None:
    assert ROWS[2].line() == "2,0.75,0.0,5.0,4.0,2.0,1.0,120,30,,\n"
    assert replace(ROWS[2], auc=0.875, epsilon=1.5).line().endswith(",30,0.875,1.5\n")
    assert measurements.COLUMNS[-1] == "epsilon"
    assert len(measurements.COLUMNS) == 11


def test_the_picture_is_a_png_of_plausible_size() -> None:
    content = measurements.picture("FedTGP on nothing", ROWS)
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    assert (width, height) == (960, 600)
    assert len(content) > 10_000


def test_prototypes_are_stored_by_field() -> None:
    stored = load(measurements.prototypes_file(KNOWLEDGE))
    assert stored["prototypes_CD"].tolist() == KNOWLEDGE.prototypes_CD.tolist()
    assert stored["known_C"].tolist() == [True, False]
    assert load(measurements.prototypes_file(Nothing())) == {}
