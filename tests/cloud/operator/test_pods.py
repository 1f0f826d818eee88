from typing import Any

import pytest

from cloud.operator import pods
from cloud.operator.status import PodObservation


def pod(uid: str = "p", created: str = "2026-01-01", **status: Any) -> dict[str, Any]:
    return {"metadata": {"uid": uid, "creationTimestamp": created}, "status": status}


def container(**state: Any) -> list[dict[str, Any]]:
    return [{"restartCount": 2, **state}]


@pytest.mark.parametrize(
    ("containers", "problem"),
    [
        (container(state={"running": {}}), None),
        (container(state={"waiting": {"reason": "ContainerCreating"}}), None),
        (
            container(state={"waiting": {"reason": "ImagePullBackOff", "message": "no image"}}),
            "ImagePullBackOff: no image",
        ),
        (
            container(
                state={"waiting": {"reason": "CrashLoopBackOff"}},
                lastState={"terminated": {"exitCode": 2, "message": "log\nerror: b\n\n"}},
            ),
            "exit code 2: error: b",
        ),
        (
            container(state={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}),
            "OOMKilled, exit code 137",
        ),
        (
            container(
                state={"running": {}}, lastState={"terminated": {"exitCode": 0, "message": "x"}}
            ),
            None,
        ),
    ],
)
def test_what_a_container_tells(containers: list[dict[str, Any]], problem: str | None) -> None:
    assert pods.observe_pods([pod(containerStatuses=containers)]) == PodObservation("p", 2, problem)


def test_a_pod_that_no_node_takes() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    found = pods.observe_pods([pod(conditions=[{**condition, "message": "0/3 nodes"}])])
    assert found == PodObservation("p", 0, "Unschedulable: 0/3 nodes")


def test_the_newest_pod_counts() -> None:
    assert pods.observe_pods([pod("old"), pod("new", "2026-01-02")]) == PodObservation("new", 0)
    assert pods.observe_pods([]) is None
