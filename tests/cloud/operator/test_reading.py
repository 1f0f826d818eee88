"""Objects that other CRDs have let in: told, not followed, and in nobody's way."""

import pytest

from tests.cloud.operator.api_server import ApiServer
from tests.cloud.operator.cluster import Cluster, Object, crd, device, task, wait
from tests.cloud.operator.conftest import Aggregator, Operator, StartOperator
from tests.cloud.operator.kubelet import Kubelet
from tests.cloud.operator.test_operator import phase

REMEDY = "apply the CRDs of this operator's version"
BASE: Object = {"apiVersion": "edgeloop.io/v1alpha1", "kind": "Base", "metadata": {"name": "eyes"}}


def let_in(server: ApiServer, plural: str) -> None:
    """Define a kind as if its CRD asked for nothing."""
    found = crd(plural)
    for version in found["spec"]["versions"]:
        schema = version["schema"]["openAPIV3Schema"]
        schema.pop("x-kubernetes-validations", None)
        anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        schema["properties"]["spec"] = anything
    server.store.define(found)


def told(cluster: Cluster, plural: str, name: str) -> str:
    """Return what the status of an object says that cannot be read."""
    wait(f"{name} is told", lambda: REMEDY in cluster.status(name, plural).get("lastError", ""))
    return str(cluster.status(name, plural)["lastError"])


def last_words(cluster: Cluster, reason: str) -> str:
    """Return the message of the one event with a reason."""
    events = wait(
        reason, lambda: [each for each in cluster.listed("events") if each["reason"] == reason]
    )
    (found,) = events
    return str(found["message"])


def lines(operator: Operator, words: str) -> int:
    return sum(words in line for line in operator.log.read_text().splitlines())


def test_a_device_that_cannot_be_read_stops_no_task_and_no_other_device(
    server: ApiServer,
    cluster: Cluster,
    start_operator: StartOperator,
    aggregator: Aggregator,
    kubelet: Kubelet,
) -> None:
    let_in(server, "devices")
    cluster.create("devices", device("press-9", {"suspended": "perhaps"}))
    operator = start_operator(*aggregator.flags)
    assert told(cluster, "devices", "press-9").startswith("spec.suspended")
    cluster.create("devices", device("press-1"))
    cluster.create("federatedtasks", task())
    phase(cluster, "Running")
    aggregator.says(phase="finished", round=3)
    phase(cluster, "Succeeded")
    cluster.delete("devices", "press-1")
    wait("it is gone", lambda: cluster.get("devices", "press-1") is None)
    cluster.delete("devices", "press-9")
    wait("so is the other", lambda: cluster.get("devices", "press-9") is None)
    why = last_words(cluster, "StillAdmitted")
    assert "press-9 may still take part: its spec cannot be read (spec.suspended" in why
    assert lines(operator, "Device plant/press-9 is not followed: spec.suspended") == 1


@pytest.mark.parametrize(
    ("plural", "kind"), [("generators", "Generator"), ("bases", "Base")], ids=["generator", "base"]
)
def test_what_is_served_and_cannot_be_read_is_told_and_can_be_deleted(
    server: ApiServer,
    cluster: Cluster,
    start_operator: StartOperator,
    aggregator: Aggregator,
    plural: str,
    kind: str,
) -> None:
    let_in(server, plural)
    operator = start_operator(*aggregator.flags)
    cluster.create(plural, {**BASE, "kind": kind, "spec": {"source": {}}})
    assert told(cluster, plural, "eyes").startswith("spec.source")
    asked: Object = {kind.lower(): {"name": "eyes"}}
    cluster.create("federatedtasks", task(algorithm={"name": "fedktl"}, **asked))
    wait("a task waits", lambda: cluster.status("shop-floor").get("lastError"))
    cluster.delete("federatedtasks", "shop-floor")
    wait("it is gone", lambda: cluster.get("federatedtasks", "shop-floor") is None)
    cluster.delete(plural, "eyes")
    wait("so is what it asked for", lambda: cluster.get(plural, "eyes") is None)
    assert lines(operator, f"{kind} plant/eyes is not followed: spec.source") == 1


def test_a_base_waits_for_a_task_that_cannot_be_read(
    server: ApiServer, cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator
) -> None:
    let_in(server, "federatedtasks")
    operator = start_operator(*aggregator.flags)
    cluster.create("bases", {**BASE, "spec": {"source": "/eyes"}})
    cluster.create("federatedtasks", task(base={"name": "eyes"}, rounds="some"))
    assert told(cluster, "federatedtasks", "shop-floor").startswith("spec.rounds")
    cluster.delete("bases", "eyes")
    wait("it waits", lambda: lines(operator, "the tasks that use it: shop-floor"))
    assert cluster.get("bases", "eyes")
    cluster.delete("federatedtasks", "shop-floor")
    wait("the task is gone", lambda: cluster.get("federatedtasks", "shop-floor") is None)
    assert "its spec cannot be read (spec.rounds" in last_words(cluster, "LeftBehind")
    wait("so is the base", lambda: cluster.get("bases", "eyes") is None)
