"""A resource that a CRD of another version let in: its owner is told, and all others go on."""

import copy
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.http.new_tokens import new_token
from tests.cloud.operator.api_server import ApiServer
from tests.cloud.operator.cluster import Cluster, Object, condition, crd, device, task, wait
from tests.cloud.operator.conftest import Aggregator, StartOperator
from tests.cloud.operator.kubelet import Kubelet
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
        schema = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        schema.pop("x-kubernetes-validations", None)
        spec = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        schema["properties"]["spec"] = spec
        server.store.define(made)


def told(cluster: Cluster, plural: str, name: str, kind: str = "Accepted") -> Object:
    """Wait until a resource's status says that it cannot be read; return its condition."""
    wait(f"{name} is told", lambda: REMEDY in cluster.status(name, plural).get("lastError", ""))
    found = condition(cluster.status(name, plural), kind)
    assert (found["status"], found["reason"]) == ("False", "Unreadable")
    assert found["message"] == cluster.status(name, plural)["lastError"]
    return found


def events(cluster: Cluster, name: str) -> list[str]:
    found = cluster.listed("events")
    return [e["message"] for e in found if e["involvedObject"]["name"] == name]


def test_a_device_that_cannot_be_read_is_told_and_stops_nobody(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator, kubelet: Kubelet
) -> None:
    operator = start_operator(*aggregator.flags)
    cluster.create("devices", device("press-1", {"tasks": "shop-floor"}, hall="one"))
    cluster.create("devices", device("press-2", hall="one"))
    before = told(cluster, "devices", "press-1")
    assert before["message"].startswith("spec.tasks: ")
    wait("an event says so", lambda: events(cluster, "press-1"))
    cohort = {"selector": {"matchLabels": {"hall": "one"}}, "quorum": 1}
    cluster.create("federatedtasks", task(cohort=cohort))
    wait("it runs", lambda: cluster.status("shop-floor").get("phase") == "Running")
    assert cluster.status("shop-floor")["cohort"]["devices"] == ["press-2"]
    assert condition(cluster.status("press-2", "devices"), "Accepted")["status"] == "True"

    cluster.patch("devices", "press-1", {"spec": {"tasks": ["shop-floor"]}})
    wait("it is followed", lambda: cluster.status("press-1", "devices").get("phase") == "Known")
    now = cluster.status("press-1", "devices")
    assert (condition(now, "Accepted")["status"], now["lastError"]) == ("True", "")
    assert events(cluster, "press-1").count(before["message"]) == 1, "looked at again and again"
    assert "Traceback" not in operator.log.read_text()


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
    assert told(cluster, "devices", "node-7")["message"].startswith("spec.suspended: ")
    (admitted,) = authority.authority.admitted()
    assert admitted.revoked is None, "nothing is done by a spec that is not understood"
    cluster.delete("devices", "node-7")
    wait("it is gone", lambda: cluster.get("devices", "node-7") is None)
    (admitted,) = authority.authority.admitted()
    assert admitted.revoked is not None


def resource(kind: str, name: str, **spec: object) -> Object:
    return {
        "apiVersion": "edgeloop.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


def test_other_kinds_are_told_too_and_go_when_they_are_deleted(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator, kubelet: Kubelet
) -> None:
    operator = start_operator(*aggregator.flags)
    cluster.create("generators", resource("Generator", "faces", source="digits", version="new"))
    cluster.create("bases", resource("Base", "filters", source=["digits"]))
    cluster.create("federatedtasks", task("odd", rounds="many", generator={"name": "faces"}))
    assert told(cluster, "generators", "faces", "Ready")["message"].startswith("spec.version: ")
    assert told(cluster, "bases", "filters", "Ready")["message"].startswith("spec.source: ")
    assert told(cluster, "federatedtasks", "odd")["message"].startswith("spec.rounds: ")
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
