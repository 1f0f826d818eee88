from dataclasses import replace
from typing import Any

import pytest

from cloud.operator import status
from cloud.operator.spec import Task
from cloud.operator.status import AggregatorStatus, Observation, PodObservation
from tests.cloud.operator.cluster import condition
from tests.cloud.operator.examples import a_task

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
TOLD = AggregatorStatus("r1", finished=False, round=1, rounds=3, accuracy=0.5, participants=2)
FINISHED = AggregatorStatus(
    "r1", finished=True, round=3, rounds=3, accuracy=0.51239, participants=2
)
SICK = PodObservation("p1", 4, "exit code 2: error: no")

FORGETS = {"cohort": {"devices": ["a", "b"], "forgotten": ["b"]}}


@pytest.mark.parametrize(
    ("before", "spec", "seen", "after"),
    [
        ({}, {}, Observation(), "Pending"),
        ({}, {}, Observation(TOLD), "Running"),
        ({"phase": "Running"}, {}, Observation(), "Running"),
        ({"phase": "Running"}, {}, Observation(FINISHED), "Succeeded"),
        ({"phase": "Running"}, {"state": "Paused"}, Observation(), "Paused"),
        ({"phase": "Running"}, {"state": "Paused"}, Observation(FINISHED), "Succeeded"),
        ({"phase": "Paused"}, {}, Observation(), "Pending"),
        ({"phase": "Paused"}, {"state": "Cancelled"}, Observation(), "Cancelled"),
        (
            {"phase": "Running", "observedGeneration": 1},
            {"retries": 3},
            Observation(pod=SICK),
            "Failed",
        ),
        (
            {"phase": "Running", "observedGeneration": 1},
            {"retries": 4},
            Observation(pod=SICK),
            "Running",
        ),
        ({"phase": "Failed", "observedGeneration": 1}, {}, Observation(TOLD), "Failed"),
        ({"phase": "Failed", "observedGeneration": 0}, {}, Observation(), "Pending"),
        (
            {"phase": "Succeeded", "observedGeneration": 0},
            {"state": "Cancelled"},
            Observation(),
            "Succeeded",
        ),
        ({"phase": "Cancelled", "observedGeneration": 0}, {}, Observation(TOLD), "Cancelled"),
        ({"phase": "Running"}, {"state": "Paused"}, Observation(refused="no"), "Running"),
        ({"phase": "Running"}, {}, Observation(FINISHED, refused="no"), "Succeeded"),
        ({"phase": "Running"}, {"rounds": 5}, Observation(FINISHED), "Running"),
        ({"phase": "Succeeded", "rounds": 3}, {"rounds": 5}, Observation(), "Pending"),
        ({"phase": "Succeeded", "rounds": 3}, {"rounds": 5}, Observation(FINISHED), "Running"),
        ({"phase": "Succeeded", "rounds": 3}, {"rounds": 3}, Observation(), "Succeeded"),
        ({"phase": "Succeeded"}, FORGETS, Observation(), "Pending"),
        ({"phase": "Succeeded"}, FORGETS, Observation(FINISHED), "Running"),
        ({"phase": "Succeeded"}, FORGETS, Observation(refused="no"), "Succeeded"),
        (
            {"phase": "Succeeded"},
            FORGETS,
            Observation(replace(FINISHED, forgotten=("b",))),
            "Succeeded",
        ),
        ({"phase": "Succeeded", "forgotten": ["a", "b"]}, FORGETS, Observation(), "Succeeded"),
    ],
)
def test_phases(
    before: dict[str, Any], spec: dict[str, Any], seen: Observation, after: str
) -> None:
    assert status.build_status(a_task(before, **spec), seen, NOW)["phase"] == after


def test_how_far_it_is() -> None:
    found = status.build_status(a_task(), Observation(TOLD, PodObservation("p1", 0)), NOW)
    wanted = {
        "run": "r1",
        "round": 1,
        "rounds": 3,
        "progress": "1/3",
        "participants": 2,
        "accuracy": "0.5000",
        "observedGeneration": 1,
        "startTime": NOW,
        "completionTime": None,
        "lastError": "",
    }
    assert {key: found[key] for key in wanted} == wanted
    assert "epsilon" not in found
    accounted = condition(found, "PrivacyAccounted")
    assert (accounted["status"], accounted["reason"]) == ("False", "NoPrivacy")
    assert "epsilon stays empty" in accounted["message"]


def test_what_privacy_is_spent() -> None:
    asked = {"privacy": {"delta": "0.00001", "epsilon": "8"}}
    silent = status.build_status(a_task(**asked), Observation(TOLD), NOW)
    assert "epsilon" not in silent
    assert condition(silent, "PrivacyAccounted")["reason"] == "NothingTold"
    told = replace(TOLD, epsilon=1.23456)
    found = status.build_status(a_task(silent, **asked), Observation(told), LATER)
    assert found["epsilon"] == "1.2346"
    accounted = condition(found, "PrivacyAccounted")
    assert (accounted["status"], accounted["lastTransitionTime"]) == ("True", LATER)
    assert accounted["message"].startswith("epsilon 1.2346 at delta 0.00001, ")
    assert accounted["message"].endswith("; a budget of 8")
    later = status.build_status(a_task(found, **asked), Observation(TOLD), LATER)  # started again
    assert later["epsilon"] == "1.2346"
    assert condition(later, "PrivacyAccounted") == accounted


def test_the_end_is_told_and_stays() -> None:
    ended = status.build_status(
        a_task({"phase": "Running", "startTime": NOW}), Observation(FINISHED), LATER
    )
    assert (ended["accuracy"], ended["progress"]) == ("0.5124", "3/3")
    assert (ended["startTime"], ended["completionTime"]) == (NOW, LATER)
    again = status.build_status(a_task(ended), Observation(), "2026-01-01T00:02:00Z")
    assert again == ended


def test_a_condition_keeps_its_time_until_it_turns() -> None:
    first = status.build_status(a_task(), Observation(TOLD), NOW)
    second = status.build_status(a_task(first), Observation(TOLD), LATER)
    assert condition(second, "Ready")["lastTransitionTime"] == NOW
    waiting = AggregatorStatus("r1", False, 1, 3, 0.5, 2, ("the MQTT broker is not connected",))
    third = status.build_status(a_task(second), Observation(waiting), LATER)
    ready = condition(third, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "Waiting")
    assert (ready["lastTransitionTime"], ready["message"]) == (LATER, waiting.obstacles[0])
    assert third["lastError"] == waiting.obstacles[0]


def looks(task: Task, *seen: Observation) -> dict[str, Any]:
    for each in seen:
        task = Task.model_validate(
            {**task.model_dump(by_alias=True), "status": status.build_status(task, each, NOW)}
        )
    return task.status


def test_failures_in_a_row_are_counted_across_pods() -> None:
    seen = [
        PodObservation("p1", 1),
        PodObservation("p1", 3),
        PodObservation("p2", 0),
        PodObservation("p2", 2),
    ]
    found = looks(a_task(), Observation(), *(Observation(pod=pod) for pod in seen))
    assert found["restarts"] == 3 + 2


def test_a_closed_round_and_a_new_spec_begin_a_new_row() -> None:
    failing = Observation(pod=PodObservation("p1", 3))
    closed = Observation(AggregatorStatus("r1", False, 1, 3, None, None), PodObservation("p1", 4))
    assert looks(a_task(), Observation(), failing, closed)["restarts"] == 0
    assert (
        looks(a_task(), Observation(), failing, closed, Observation(pod=PodObservation("p1", 5)))[
            "restarts"
        ]
        == 1
    )
    changed = looks(a_task(), Observation(), failing) | {"observedGeneration": 0}
    assert status.build_status(a_task(changed), failing, NOW)["restarts"] == 0


def test_why_a_task_has_failed() -> None:
    before = {"phase": "Running", "observedGeneration": 1}
    found = status.build_status(a_task(before, retries=3), Observation(pod=SICK), NOW)
    assert found["lastError"] == SICK.problem
    failed = condition(found, "Failed")
    assert failed["status"] == "True"
    assert failed["message"].endswith(f"more than 3 times without closing a round; {SICK.problem}")
    assert (
        status.build_status(a_task(found, retries=3), Observation(), LATER)["lastError"]
        == SICK.problem
    )


def test_a_pod_that_has_failed_before_is_no_error_while_it_runs() -> None:
    assert status.build_status(a_task(), Observation(TOLD, SICK), NOW)["lastError"] == ""


@pytest.mark.parametrize(
    ("before", "state", "replicas"),
    [
        ({}, "Running", 1),
        ({}, "Paused", 0),
        ({"phase": "Cancelled"}, "Cancelled", 0),
        ({"phase": "Succeeded"}, "Running", 0),
        ({"phase": "Failed", "observedGeneration": 1}, "Running", 0),
        ({"phase": "Failed", "observedGeneration": 0}, "Running", 1),
    ],
)
def test_replicas(before: dict[str, Any], state: str, replicas: int) -> None:
    assert status.replicas(a_task(before, state=state)) == replicas
