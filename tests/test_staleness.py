"""What an answer to an earlier round counts, in a run and where a record replays it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloud.aggregator.agreement import check_cohort
from cloud.aggregator.settings import CohortSettings, TaskSettings
from edgeloop import algorithms, record, server_loop
from edgeloop.answers import Answer, Report
from edgeloop.errors import ConfigError
from edgeloop.knowledge.prototypes import GlobalPrototypes, PrototypeUpload
from edgeloop.participation import Recorded, staleness_weight
from edgeloop.record import Record, RecordedRound
from edgeloop.runtime.config import parse

REPORT = Report(1, 2, 3, 0.1, 0.2)
ALGORITHM = algorithms.load("fedproto", classes=2, width=1)


def prototypes(value: float) -> PrototypeUpload:
    return PrototypeUpload(np.array([0]), np.array([1]), np.full((1, 1), value, np.float32))


@dataclass
class Told:
    """A cohort whose clients answer what the test says, by round and name."""

    answers: Mapping[int, Mapping[str, Answer[Any]]]

    def ask(
        self, round_number: int, broadcast: Any, participants: Collection[str] | None = None
    ) -> Mapping[str, Answer[Any]]:
        wanted = self.answers[round_number]
        return {
            name: each if participants is None or name in participants else Answer(None, REPORT)
            for name, each in wanted.items()
        }

    def finish(self, round_number: int, broadcast: Any) -> Mapping[str, Report]:
        return {}


def knowledge(answers: Any, participation: Any = None) -> list[float]:
    """Return the prototype of the first class after each round."""
    found: list[GlobalPrototypes] = []
    server_loop.run_rounds(
        ALGORITHM,
        Told(answers),
        len(answers),
        server_loop.initial_state(ALGORITHM),
        lambda closed: found.append(closed.run_state.broadcast),
        participation=participation,
    )
    return [float(each.prototypes_CD[0, 0]) for each in found]


def test_weights_are_those_of_fedbuff() -> None:
    assert [staleness_weight(each) for each in (0, 3, 8)] == [1.0, 1 / 2, 1 / 3]


def test_an_older_answer_counts_less() -> None:
    fresh, old = Answer(prototypes(0.0), REPORT), Answer(prototypes(3.0), REPORT, staleness=3)
    assert knowledge({0: {"a": fresh, "b": old}}) == [pytest.approx(1.0)]
    assert knowledge({0: {"b": old}}) == [3.0]


def test_a_record_has_an_answer_count_in_its_later_round() -> None:
    answers = {
        number: {
            name: Answer(prototypes(value + number), REPORT)
            for name, value in (("a", 0.0), ("b", 10.0))
        }
        for number in range(3)
    }
    recorded = Recorded(
        (frozenset("a"), frozenset("a"), frozenset("ab")),
        (frozenset(),) * 3,
        ({}, {}, {"b": 0}),
    )
    weight = 1 / np.sqrt(3.0)
    expected = (2.0 + weight * 10.0) / (1 + weight)
    assert knowledge(answers, recorded) == [0.0, 1.0, pytest.approx(expected)]


def test_a_record_of_such_a_run_survives_its_file(tmp_path: Path) -> None:
    rounds = (RecordedRound(answered=("a",)), RecordedRound(answered=("b",), bases={"b": 0}))
    made = Record(schema_version=2, task="t", run="r", algorithm="fedavg", rounds=rounds)
    (tmp_path / "record.json").write_text(made.model_dump_json())
    assert record.read(tmp_path / "record.json") == made
    assert made.policy().joining(0) == {"a", "b"}


def test_an_algorithm_that_does_more_than_average_waits_for_its_devices(tmp_path: Path) -> None:
    def task(name: str) -> TaskSettings:
        return parse(
            {
                "name": "t",
                "algorithm": name,
                "class_names": ["a", "b"],
                "shape": [1, 8, 8],
                "rounds": 1,
                "folder": str(tmp_path),
                "cohort": {"devices": ["a", "b"], "buffer": 1},
            },
            TaskSettings,
            "task",
        )

    check_cohort(task("fedavg"))
    with pytest.raises(ConfigError, match=r"cohort\.buffer: fedtgp does more .* fedavg"):
        check_cohort(task("fedtgp"))


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"quorum": 1}, "buffer says how many answers make a round"),
        ({"sample": "50%"}, "buffer says how many answers make a round"),
        ({"buffer": 3}, "buffer is larger than the 2 devices"),
        ({"max_staleness": -1}, "max_staleness"),
    ],
)
def test_what_does_not_go_with_a_buffer_is_refused(asked: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        parse({"devices": ["a", "b"], "buffer": 2, **asked}, CohortSettings, "cohort")
