"""What somebody changes by hand is put back; and where nothing changes, nobody is asked."""

import time
import tomllib
from typing import Any

import pytest

from cloud.operator import drift
from tests.cloud.operator.api_server import ApiServer
from tests.cloud.operator.cluster import Cluster, Object, condition, device, task, wait
from tests.cloud.operator.conftest import Aggregator, StartOperator
from tests.cloud.operator.kubelet import Kubelet
from tests.cloud.operator.requests import Asked
from tests.cloud.operator.test_operator import NAME, phase

CONTAINER = {"name": "a", "image": "i", "env": [{"name": "HOME", "value": "/tmp"}]}  # noqa: S108


@pytest.mark.parametrize(
    ("held", "same"),
    [
        ({"spec": {"replicas": 1, "items": [CONTAINER]}}, True),
        ({"spec": {"replicas": 1, "items": [CONTAINER], "more": 1}, "status": {}}, True),
        ({"spec": {"replicas": 0, "items": [CONTAINER]}}, False),
        ({"spec": {"replicas": 1, "items": [{**CONTAINER, "image": "j"}]}}, False),
        ({"spec": {"replicas": 1, "items": [{**CONTAINER, "ports": []}]}}, True),
        ({"spec": {"replicas": 1, "items": [{"name": "b"}, CONTAINER]}}, True),
        ({"spec": {"replicas": 1, "items": [{**CONTAINER, "env": []}]}}, False),
        ({"spec": {"replicas": 1, "items": []}}, False),
        ({"spec": {"replicas": 1, "items": [CONTAINER], "args": ["x"]}}, False),
    ],
)
def test_what_an_object_has_is_compared(held: Object, same: bool) -> None:
    asked = {"kind": "X", "spec": {"replicas": 1, "items": [CONTAINER], "selector": {}, "args": []}}
    assert (drift.shown(asked, held) == drift.shown(asked, asked)) is same


def test_lists_without_names_are_compared_whole() -> None:
    asked = {"spec": {"args": ["a", "b"], "key": [{"key": "k"}, {"key": "k"}]}}
    for held in ({"args": ["a"]}, {"args": ["a", "b", "c"]}, {"args": ["b", "a"]}):
        assert drift.shown(asked, {"spec": {**asked["spec"], **held}}) != asked
    assert drift.shown(asked, asked) == asked
    other = {"spec": {**asked["spec"], "key": [{"key": "k"}, {"key": "l"}]}}
    assert drift.shown(asked, other) != asked


def _scaled(cluster: Cluster) -> None:
    cluster.patch("statefulsets", NAME, {"spec": {"replicas": 0}})


def _edited(cluster: Cluster) -> None:
    held = cluster.get("configmaps", NAME)
    assert held is not None
    text = held["data"]["task.toml"].replace("seed = 0", "seed = 7")
    cluster.patch("configmaps", NAME, {"data": {"task.toml": text}})


def _emptied(cluster: Cluster) -> None:
    cluster.patch("configmaps", NAME, {"data": {"task.toml": "["}})


def _unlabelled(cluster: Cluster) -> None:
    labels = {"app.kubernetes.io/managed-by": None}
    cluster.patch("configmaps", NAME, {"metadata": {"labels": labels}})


def _redirected(cluster: Cluster) -> None:
    cluster.patch("services", NAME, {"spec": {"selector": {"app.kubernetes.io/instance": "x"}}})


def _deleted(cluster: Cluster) -> None:
    cluster.delete("configmaps", NAME)


def _disowned(cluster: Cluster) -> None:
    cluster.patch("persistentvolumeclaims", NAME, {"metadata": {"ownerReferences": None}})


CHANGES = [_scaled, _edited, _emptied, _unlabelled, _redirected, _deleted, _disowned]
KINDS = ("configmaps", "persistentvolumeclaims", "services", "statefulsets")


@pytest.mark.parametrize("change", CHANGES)
def test_drift_is_put_back_and_the_run_goes_on(
    server: ApiServer,
    cluster: Cluster,
    start_operator: StartOperator,
    aggregator: Aggregator,
    kubelet: Kubelet,
    change: Any,
) -> None:
    start_operator(*aggregator.flags)
    cluster.create("federatedtasks", task())
    phase(cluster, "Running")
    before = {plural: wanted(cluster, plural) for plural in KINDS}
    begin = len(server.asked)
    change(cluster)
    wait("it acts", lambda: any(acts(each) for each in server.asked[begin:]))
    wait("it is put back", lambda: {each: wanted(cluster, each) for each in KINDS} == before)
    status = cluster.status("shop-floor")
    assert (status["phase"], status["lastError"]) == ("Running", "")
    assert condition(status, "Accepted")["status"] == "True"


def acts(asked: Asked) -> bool:
    """Return whether an operator has written what a task is made of."""
    return asked.resource in KINDS and asked.verb in ("create", "patch", "update")


def wanted(cluster: Cluster, plural: str) -> Object | None:
    """Return what an operator says of an object; None if it is not there."""
    found = cluster.get(plural, NAME)
    if found is None:
        return None
    meta = found["metadata"]
    of = {key: meta.get(key) for key in ("labels", "annotations", "ownerReferences")}
    for reference in of["ownerReferences"] or []:
        reference.pop("blockOwnerDeletion", None)
    return {**of, "spec": found.get("spec"), "data": found.get("data")}


def test_what_a_run_began_with_is_in_the_status(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator, kubelet: Kubelet
) -> None:
    first = start_operator(*aggregator.flags)
    for name in ("press-1", "press-2"):
        cluster.create("devices", device(name))
    cluster.create("federatedtasks", task(cohort={"selector": {}}))
    phase(cluster, "Running")
    status = cluster.status("shop-floor")
    began = tomllib.loads(status["beginning"])
    assert (began["name"], status["task"]) == ("plant.shop-floor", "plant.shop-floor")
    assert (began["seed"], began["cohort"]["devices"]) == (0, ["press-1", "press-2"])
    first.kill()
    cluster.create("devices", device("press-3"))
    cluster.delete("configmaps", NAME)
    start_operator(*aggregator.flags)
    held = wait("the file", lambda: cluster.get("configmaps", NAME))
    assert tomllib.loads(held["data"]["task.toml"])["cohort"]["devices"] == ["press-1", "press-2"]


def test_a_task_of_an_older_operator_keeps_its_name(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator, kubelet: Kubelet
) -> None:
    first = start_operator(*aggregator.flags, "--task-names", "plain")
    cluster.create("federatedtasks", task())
    phase(cluster, "Running")
    first.kill()
    held = cluster.get("configmaps", NAME)
    cluster.tell("federatedtasks", "shop-floor", {"beginning": None, "task": None})
    start_operator(*aggregator.flags)
    wait("its name", lambda: cluster.status("shop-floor").get("task") == "shop-floor")
    assert held is not None
    assert 'name = "shop-floor"' in held["data"]["task.toml"]
    again = cluster.get("configmaps", NAME)
    assert again is not None
    assert again["data"] == held["data"]


def test_a_quantity_in_another_form_is_no_drift(
    server: ApiServer, cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator
) -> None:
    start_operator(*aggregator.flags)
    cluster.create("federatedtasks", task(resources={"requests": {"cpu": "1000m"}}))
    made = wait("its StatefulSet", lambda: cluster.get("statefulsets", NAME))
    container = made["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["requests"]["cpu"] == "1"
    begin = quiet(server)
    time.sleep(1.0)
    assert others(server, begin) == []


def test_nobody_is_asked_while_nothing_changes(
    server: ApiServer, cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator
) -> None:
    start_operator(*aggregator.flags)
    for number in range(30):
        cohort: Object = {"selector": {}} if number % 2 else {"devices": ["a"]}
        cluster.create("devices", device(f"d{number}"))
        cluster.create("federatedtasks", task(f"t{number}", state="Paused", cohort=cohort))
    wait("all are paused", lambda: phases(cluster) == 30 * ["Paused"], 60)
    wait("all is made", lambda: len(cluster.listed("statefulsets")) == 30, 60)
    begin = quiet(server)
    time.sleep(3.0)  # fifteen looks at each
    assert len(others(server, begin)) <= 3
    cluster.patch("statefulsets", "t7-aggregator", {"spec": {"replicas": 1}})
    wait("it is put back", lambda: replicas(cluster, "t7-aggregator") == 0)


def quiet(server: ApiServer) -> int:
    """Return how much has been asked, once nothing was for a second, which is five looks."""

    def still() -> bool:
        begin = len(server.asked)
        time.sleep(1.0)
        return not others(server, begin)

    wait("it is quiet", still)
    return len(server.asked)


def others(server: ApiServer, begin: int) -> list[Asked]:
    """Return what an operator has asked since then, but for its lease."""
    return [each for each in server.asked[begin:] if each.resource != "leases"]


def phases(cluster: Cluster) -> list[object]:
    return [each.get("status", {}).get("phase") for each in cluster.listed("federatedtasks")]


def replicas(cluster: Cluster, name: str) -> int:
    found = cluster.get("statefulsets", name)
    assert found is not None
    return int(found["spec"]["replicas"])
