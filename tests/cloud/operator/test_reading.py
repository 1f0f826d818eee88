"""Objects that other CRDs have let in: told, not followed, and in nobody's way."""

import copy
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.http.new_tokens import new_token
from tests.cloud.operator.api_server import ApiServer
from tests.cloud.operator.cluster import Cluster, Object, condition, crd, device, task, wait
from tests.cloud.operator.conftest import Aggregator, Operator, StartOperator
from tests.cloud.operator.kubelet import Kubelet
from tests.cloud.operator.test_operator import phase
from tests.enrolled import Site, site

REMEDY = "apply the CRDs of this operator's version"
OWN = "plant.shop-floor"


@pytest.fixture(autouse=True)
def newer(server: ApiServer, cluster: Cluster) -> None:
    """CRDs that let every spec in."""
    if cluster.url != server.url:
        pytest.skip("changes the CRDs of the small server")
    for plural in ("federatedtasks", "generators", "bases", "devices"):
        made = copy.deepcopy(crd(plural))
        for version in made["spec"]["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            schema.pop("x-kubernetes-validations", None)
            anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
            schema["properties"]["spec"] = anything
        server.store.define(made)


def resource(kind: str, name: str, **spec: object) -> Object:
    return {
        "apiVersion": "edgeloop.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


def told(cluster: Cluster, plural: str, name: str, kind: str = "Accepted") -> str:
    """Wait until an object's status says that it cannot be read; return what it says."""
    wait(f"{name} is told", lambda: REMEDY in cluster.status(name, plural).get("lastError", ""))
    status = cluster.status(name, plural)
    found = condition(status, kind)
    assert (found["status"], found["reason"]) == ("False", "Unreadable")
    assert found["message"] == status["lastError"]
    return str(status["lastError"])


def events(cluster: Cluster, name: str) -> list[str]:
    found = cluster.listed("events")
    return [e["message"] for e in found if e["involvedObject"]["name"] == name]


def last_words(cluster: Cluster, reason: str) -> str:
    """Return the message of the one event with a reason."""
    found = wait(
        reason, lambda: [each for each in cluster.listed("events") if each["reason"] == reason]
    )
    (only,) = found
    return str(only["message"])


def lines(operator: Operator, words: str) -> int:
    return sum(words in line for line in operator.log.read_text().splitlines())


def test_a_device_that_cannot_be_read_stops_no_task_and_no_other_device(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator, kubelet: Kubelet
) -> None:
    cluster.create("devices", device("press-9", {"deviceName": 9}))
    operator = start_operator(*aggregator.flags)
    assert told(cluster, "devices", "press-9").startswith("spec.deviceName")
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
    assert "press-9 may still take part: its name cannot be read (spec.deviceName" in why
    assert lines(operator, "Device plant/press-9 is not followed: spec.deviceName") == 1


def test_a_device_that_cannot_be_read_is_told_and_followed_once_it_can(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator, kubelet: Kubelet
) -> None:
    operator = start_operator(*aggregator.flags)
    cluster.create("devices", device("press-1", {"tasks": "shop-floor"}, hall="one"))
    cluster.create("devices", device("press-2", hall="one"))
    said = told(cluster, "devices", "press-1")
    assert said.startswith("spec.tasks: ")
    wait("an event says so", lambda: events(cluster, "press-1"))
    cohort = {"selector": {"matchLabels": {"hall": "one"}}, "quorum": 1}
    cluster.create("federatedtasks", task(cohort=cohort))
    phase(cluster, "Running")
    assert cluster.status("shop-floor")["cohort"]["devices"] == ["press-2"]
    assert condition(cluster.status("press-2", "devices"), "Accepted")["status"] == "True"

    cluster.patch("devices", "press-1", {"spec": {"tasks": ["shop-floor"]}})
    wait("it is followed", lambda: cluster.status("press-1", "devices").get("phase") == "Known")
    now = cluster.status("press-1", "devices")
    assert (condition(now, "Accepted")["status"], now["lastError"]) == ("True", "")
    assert events(cluster, "press-1").count(said) == 1, "looked at again and again"
    assert "Traceback" not in operator.log.read_text()


def test_a_deleted_device_that_cannot_be_read_is_evicted_by_its_name(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator, kubelet: Kubelet
) -> None:
    start_operator(*aggregator.flags)
    cluster.create("devices", device("node-7", {"deviceName": "press-1", "suspended": "maybe"}))
    cluster.create("federatedtasks", task())
    phase(cluster, "Running")
    told(cluster, "devices", "node-7")
    assert cluster.status("shop-floor").get("evicted", []) == []
    cluster.delete("devices", "node-7")
    wait("it is gone", lambda: cluster.get("devices", "node-7") is None)
    assert cluster.status("shop-floor")["evicted"] == ["press-1"]


def test_a_device_whose_other_device_cannot_be_read_is_not_evicted(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator, kubelet: Kubelet
) -> None:
    start_operator(*aggregator.flags)
    cluster.create("devices", device("press-1", {"tasks": "shop-floor"}))
    cluster.create("devices", device("node-7", {"deviceName": "press-1"}))
    cluster.create("devices", device("press-2"))
    cluster.create("federatedtasks", task())
    phase(cluster, "Running")
    told(cluster, "devices", "press-1")
    for name in ("node-7", "press-2"):
        cluster.delete("devices", name)
        wait("it is gone", lambda name=name: cluster.get("devices", name) is None)  # type: ignore[misc]
    wait("others are", lambda: cluster.status("shop-floor").get("evicted"))
    assert cluster.status("shop-floor")["evicted"] == ["press-2"]


def test_a_deleted_device_waits_for_a_task_that_cannot_be_read(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator, kubelet: Kubelet
) -> None:
    operator = start_operator(*aggregator.flags, "--forget", "1")
    cluster.create("devices", device("press-1"))
    cluster.create("federatedtasks", task(rounds="some"))
    told(cluster, "federatedtasks", "shop-floor")
    cluster.delete("devices", "press-1")
    wait("it is gone", lambda: cluster.get("devices", "press-1") is None)
    why = last_words(cluster, "StillAdmitted")
    assert why.startswith("press-1 may still take part: shop-floor to go on without it")
    assert lines(operator, "shop-floor to go on without it")


def test_a_task_that_is_over_keeps_its_reason(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator
) -> None:
    cluster.create("federatedtasks", task(rounds="some"))
    over = {"phase": "Failed", "lastError": "the disk is full", "conditions": []}
    cluster.tell("federatedtasks", "shop-floor", over)
    start_operator(*aggregator.flags)
    wait("it is told", lambda: cluster.status("shop-floor").get("conditions"))
    status = cluster.status("shop-floor")
    assert condition(status, "Accepted")["reason"] == "Unreadable"
    assert status["lastError"] == "the disk is full"


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Site]:
    """An authority that is served, and knows an operator's token."""
    token, digest = new_token()
    (tmp_path / "token").write_text(token)
    (tmp_path / "tokens").write_text(f"operator cluster {digest}\n")
    with site(tmp_path, tokens_file=str(tmp_path / "tokens")) as here:
        (tmp_path / "signer").mkdir()
        for end in ("crt", "key"):
            shutil.copy(here.folder / f"services.{end}", tmp_path / "signer" / f"tls.{end}")
        yield here


def test_a_device_that_cannot_be_read_is_revoked_when_it_is_deleted(
    cluster: Cluster, start_operator: StartOperator, authority: Site, tmp_path: Path
) -> None:
    authority.enrol("press-1", OWN)
    place = ("--authority-url", authority.url, "--authority-folder", str(tmp_path / "signer"))
    start_operator(*place, "--authority-token-file", str(tmp_path / "token"))
    cluster.create("devices", device("node-7", {"deviceName": "press-1", "suspended": "maybe"}))
    assert told(cluster, "devices", "node-7").startswith("spec.suspended: ")
    (admitted,) = authority.authority.admitted()
    assert admitted.revoked is None, "nothing is done by a spec that is not understood"
    cluster.delete("devices", "node-7")
    wait("it is gone", lambda: cluster.get("devices", "node-7") is None)
    (admitted,) = authority.authority.admitted()
    assert admitted.revoked is not None


@pytest.mark.parametrize(
    ("plural", "kind"), [("generators", "Generator"), ("bases", "Base")], ids=["generator", "base"]
)
def test_what_is_served_and_cannot_be_read_is_told_and_can_be_deleted(
    cluster: Cluster,
    start_operator: StartOperator,
    aggregator: Aggregator,
    plural: str,
    kind: str,
) -> None:
    operator = start_operator(*aggregator.flags)
    cluster.create(plural, resource(kind, "eyes", source={}))
    assert told(cluster, plural, "eyes", "Ready").startswith("spec.source")
    asked: Object = {kind.lower(): {"name": "eyes"}}
    cluster.create("federatedtasks", task(algorithm={"name": "fedktl"}, **asked))
    wait("a task waits", lambda: cluster.status("shop-floor").get("lastError"))
    cluster.delete("federatedtasks", "shop-floor")
    wait("it is gone", lambda: cluster.get("federatedtasks", "shop-floor") is None)
    cluster.delete(plural, "eyes")
    wait("so is what it asked for", lambda: cluster.get(plural, "eyes") is None)
    assert lines(operator, f"{kind} plant/eyes is not followed: spec.source") == 1


def test_other_kinds_are_told_too_and_go_when_they_are_deleted(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator, kubelet: Kubelet
) -> None:
    operator = start_operator(*aggregator.flags)
    cluster.create("generators", resource("Generator", "faces", source="digits", version="new"))
    cluster.create("bases", resource("Base", "filters", source=["digits"]))
    odd = task("odd", rounds="many", generator={"name": "faces"}, base="filters", ingest=2)
    cluster.create("federatedtasks", odd)
    assert told(cluster, "generators", "faces", "Ready").startswith("spec.version: ")
    assert told(cluster, "bases", "filters", "Ready").startswith("spec.source: ")
    told(cluster, "federatedtasks", "odd")
    for name in ("faces", "filters", "odd"):
        wait("an event says so", lambda name=name: events(cluster, name))  # type: ignore[misc]

    asks = {"algorithm": {"name": "class-statistics"}, "base": {"name": "filters"}}
    cluster.create("federatedtasks", task("waits", **asks))
    wait("it waits", lambda: cluster.status("waits").get("lastError"))
    said = cluster.status("waits")["lastError"]
    assert said.startswith("base filters: it cannot be read: spec.source: ")
    assert condition(cluster.status("waits"), "BaseBound")["reason"] == "Unreadable"
    for plural, name in (
        ("federatedtasks", "odd"),
        ("federatedtasks", "waits"),
        ("generators", "faces"),
        ("bases", "filters"),
    ):
        cluster.delete(plural, name)
        wait("it is gone", lambda p=plural, n=name: cluster.get(p, n) is None)  # type: ignore[misc]
    assert "Traceback" not in operator.log.read_text()


def test_a_base_waits_for_a_task_that_cannot_be_read(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator
) -> None:
    operator = start_operator(*aggregator.flags)
    cluster.create("bases", resource("Base", "eyes", source="/eyes"))
    cluster.create("federatedtasks", task(base={"name": "eyes"}, rounds="some"))
    assert told(cluster, "federatedtasks", "shop-floor").startswith("spec.rounds: ")
    cluster.delete("bases", "eyes")
    wait("it waits", lambda: lines(operator, "the tasks that use it: shop-floor"))
    assert cluster.get("bases", "eyes")
    cluster.delete("federatedtasks", "shop-floor")
    wait("the task is gone", lambda: cluster.get("federatedtasks", "shop-floor") is None)
    assert "its spec cannot be read (spec.rounds" in last_words(cluster, "LeftBehind")
    wait("so is the base", lambda: cluster.get("bases", "eyes") is None)
