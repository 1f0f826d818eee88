"""A cohort by labels: what a task's selector finds when it begins, and holds to."""

import tomllib
from typing import Any

import httpx
import pytest

from cloud.operator import selection
from cloud.operator.references import NotReadyError
from cloud.operator.selection import Selection
from cloud.operator.spec import Device, Selector
from tests.cloud.operator.api_server import ApiServer
from tests.cloud.operator.cluster import (
    NAMESPACE,
    OPERATOR,
    Cluster,
    condition,
    device,
    rules,
    task,
    wait,
)
from tests.cloud.operator.conftest import Aggregator, StartOperator
from tests.cloud.operator.examples import a_task
from tests.cloud.operator.kubelet import Kubelet
from tests.cloud.operator.selectors import finds
from tests.cloud.operator.test_operator import NAME, phase

PRESSES = {"selector": {"matchLabels": {"line": "1"}}}


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ({"line": "1", "kind": "press", "gpu": ""}, True),
        ({"line": "1", "kind": "press", "gpu": "", "more": "x"}, True),
        ({"line": "2", "kind": "press", "gpu": ""}, False),
        ({"line": "1", "kind": "saw", "gpu": ""}, False),
        ({"line": "1", "gpu": ""}, False),
        ({"line": "1", "kind": "press"}, False),
        ({"line": "1", "kind": "press", "gpu": "", "old": ""}, False),
        ({"line": "1", "kind": "press", "gpu": "", "state": "test"}, False),
    ],
)
def test_a_selector_finds_what_an_api_servers_does(labels: dict[str, str], found: bool) -> None:
    whole = {
        "matchLabels": {"line": "1"},
        "matchExpressions": [
            {"key": "kind", "operator": "In", "values": ["press", "paint"]},
            {"key": "state", "operator": "NotIn", "values": ["test"]},
            {"key": "gpu", "operator": "Exists"},
            {"key": "old", "operator": "DoesNotExist"},
        ],
    }
    text = "line=1,kind in (press,paint),state notin (test),gpu,!old"
    assert finds(text, labels) is found
    assert selection.finds(Selector.model_validate(whole), _device("a", labels)) is found
    assert selection.finds(Selector.model_validate({}), _device("a", labels))


def _device(name: str, labels: dict[str, str] | None = None, **spec: Any) -> Device:
    meta = {"name": name, "namespace": NAMESPACE, "uid": name, "labels": labels or {}}
    return Device.model_validate({"metadata": meta, "spec": spec})


def test_devices_have_the_names_of_the_broker_and_may_be_suspended() -> None:
    devices = [
        _device("b"),
        _device("c", suspended=True),
        _device("node-7", deviceName="Press.1"),
        _device("twin", deviceName="b"),
    ]
    assert selection.names(devices) == ("Press.1", "b")


def test_devices_that_are_no_cohort() -> None:
    with pytest.raises(NotReadyError, match="finds no Device that is not suspended; label some"):
        selection.initial_devices((), a_task())
    with pytest.raises(NotReadyError, match="quorum is 3, of 2 devices; lower it, or label more"):
        selection.initial_devices(("a", "b"), a_task(cohort={**PRESSES, "quorum": 3}))
    many = tuple(str(number) for number in range(2049))
    with pytest.raises(NotReadyError, match="finds 2049 devices, more than 2048"):
        selection.initial_devices(many, a_task())
    assert selection.initial_devices(many[1:], a_task()).devices == many[1:]


def test_what_a_selector_would_find_by_now() -> None:
    assert selection.compare_selection(["a", "b"], ("a", "b")) == Selection(("a", "b"))
    many = tuple("bcdefgh")
    drift = "also c, d, e, f, g and 1 others and no more a"
    assert selection.compare_selection(["a", "b"], many) == Selection(("a", "b"), drift)


def invited(cluster: Cluster) -> list[str]:
    found = cluster.get("configmaps", NAME)
    assert found is not None
    names: list[str] = tomllib.loads(found["data"]["task.toml"])["cohort"]["devices"]
    return names


def test_a_selector_finds_its_devices_once(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator, kubelet: Kubelet
) -> None:
    first = start_operator(*aggregator.flags)
    for name, line in (("press-1", "1"), ("press-2", "1"), ("paint-1", "2")):
        cluster.create("devices", device(name, line=line))
    cluster.create("devices", device("press-3", {"suspended": True}, line="1"))
    cluster.create("federatedtasks", task(cohort=PRESSES))
    phase(cluster, "Running")
    status = cluster.status("shop-floor")
    assert status["cohort"] == {"size": 2, "devices": ["press-1", "press-2"]}
    assert condition(status, "AsSelected")["status"] == "True"
    assert invited(cluster) == ["press-1", "press-2"]

    cluster.patch("devices", "paint-1", {"metadata": {"labels": {"line": "1"}}})
    cluster.patch("devices", "press-1", {"metadata": {"labels": {"line": "2"}}})
    said = "would now find also paint-1 and no more press-1;"
    wait("it is told", lambda: said in _drift(cluster))
    first.kill()
    cluster.delete("configmaps", NAME)
    start_operator(*aggregator.flags)
    wait("its file is there again", lambda: cluster.get("configmaps", NAME))
    assert invited(cluster) == cluster.status("shop-floor")["cohort"]["devices"]
    assert invited(cluster) == ["press-1", "press-2"]
    assert len(aggregator.started) == 1, "nothing was started again"

    quorum = {"spec": {"cohort": {"quorum": 3}}}
    cluster.patch("federatedtasks", "shop-floor", quorum)
    wait("it is refused", lambda: "quorum is 3, of 2" in cluster.status("shop-floor")["lastError"])
    assert condition(cluster.status("shop-floor"), "Accepted")["status"] == "False"


def _drift(cluster: Cluster) -> str:
    return str(condition(cluster.status("shop-floor"), "AsSelected")["message"])


def test_a_task_waits_for_a_device_that_its_selector_finds(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator, kubelet: Kubelet
) -> None:
    start_operator(*aggregator.flags)
    cluster.create("federatedtasks", task(cohort=PRESSES))
    wait("it waits", lambda: "label some" in cluster.status("shop-floor").get("lastError", ""))
    status = cluster.status("shop-floor")
    assert (status["phase"], "cohort" in status) == ("Pending", False)
    assert "label some" in condition(status, "Ready")["message"]
    assert cluster.get("statefulsets", NAME) is None
    cluster.create("devices", device("node-7", {"deviceName": "Press.7"}, line="1"))
    phase(cluster, "Running")
    assert invited(cluster) == ["Press.7"]


def test_a_selector_may_not_change(cluster: Cluster) -> None:
    cluster.create("federatedtasks", task(cohort=PRESSES))
    change = {"spec": {"cohort": {"selector": {"matchLabels": {"line": "2"}}}}}
    with pytest.raises(httpx.HTTPStatusError) as refused:
        cluster.patch("federatedtasks", "shop-floor", change)
    assert "cohort.selector finds the devices" in refused.value.response.json()["message"]


def test_devices_that_may_not_be_listed_are_named(
    server: ApiServer,
    cluster: Cluster,
    start_operator: StartOperator,
    aggregator: Aggregator,
    kubelet: Kubelet,
) -> None:
    whole = server.roles[OPERATOR][NAMESPACE]
    server.roles[OPERATOR][NAMESPACE] = [
        {**rule, "resources": [each for each in rule["resources"] if each != "devices"]}
        for rule in rules()
    ] + [*rules("operator-lease-rules")]
    start_operator(*aggregator.flags)
    cluster.create("devices", device("press-1", line="1"))
    cluster.create("federatedtasks", task(cohort=PRESSES))
    said = 'cannot list resource "devices"'
    wait("it is told", lambda: said in cluster.status("shop-floor").get("lastError", ""))
    server.roles[OPERATOR][NAMESPACE] = whole
    phase(cluster, "Running")
    server.denied.clear()
