"""Bases from their creation to their end, with their real servers, and what is fetched."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cloud.aggregator.agreement import load_base
from cloud.aggregator.settings import TaskSettings
from cloud.operator import base_manifests, bases
from cloud.operator.base_manifests import BASES
from cloud.operator.bases import ServerAnswer, ask, seen
from edgeloop.runtime.ports import free_port
from tests import forked
from tests.bases.served import serving, write_base
from tests.cloud.operator.cluster import Cluster, Object, condition, task, wait
from tests.cloud.operator.conftest import EDGELOOP, StartOperator
from tests.cloud.operator.examples import SETTINGS, a_base
from tests.cloud.operator.kubelet import Kubelet

NAME, POD = "faces", "faces-base"
STATISTICS = {"name": "class-statistics"}


@dataclass
class Process:
    """The server of a pod."""

    process: forked.Forked

    def stop(self) -> None:
        """End it as Kubernetes ends a pod."""
        self.process.terminate()
        assert self.process.wait(60) == 0, "it did not end as asked"


class Idle:
    """An aggregator that a test does not need."""

    def stop(self) -> None:
        """Do nothing."""


@dataclass
class Node:
    """Runs the command of a Base's pod, on this machine's port and folder.

    Attributes:
        volume: the Base's.
        port: that its server answers at.
    """

    volume: Path
    port: int

    def start(self, of: Object) -> Process | Idle:
        """Run what a StatefulSet asks for."""
        if of["metadata"]["name"] != POD:
            return Idle()
        program, *command = of["spec"]["template"]["spec"]["containers"][0]["command"]
        assert program == "edgeloop"
        places = {BASES: str(self.volume), "0.0.0.0": "127.0.0.1", "9466": str(self.port)}  # noqa: S104
        return Process(forked.start([EDGELOOP, *(places.get(each, each) for each in command)]))

    @property
    def flags(self) -> list[str]:
        """What an operator must be told to find the server, and its image."""
        return ["--base-url", f"http://127.0.0.1:{self.port}", "--generator-image", "g:test"]


@pytest.fixture
def node(cluster: Cluster, tmp_path: Path) -> Iterator[Node]:
    """Whatever the operator asks for runs."""
    made = Node(tmp_path / "volume", free_port())
    with Kubelet(cluster, made.start, rolls=True):
        yield made


def _base(source: object, **changes: Any) -> Object:
    return {
        "apiVersion": "edgeloop.io/v1alpha1",
        "kind": "Base",
        "metadata": {"name": NAME},
        "spec": {"source": str(source), **changes},
    }


def _phase(cluster: Cluster, wanted: str, **facts: object) -> Object:
    def there() -> Object | None:
        status = cluster.status(NAME, "bases")
        told = {key: status.get(key) for key in facts}
        return status if (status.get("phase"), told) == (wanted, facts) else None

    found: Object = wait(f"it is {wanted}", there, 90)
    return found


def _bound(cluster: Cluster, reason: str, said: str = "") -> Object:
    def told() -> Object | None:
        conditions = cluster.status("shop-floor").get("conditions", [])
        found = [each for each in conditions if each["type"] == "BaseBound"]
        told = [each for each in found if each["reason"] == reason and said in each["message"]]
        return told[0] if told else None

    found: Object = wait(f"the task is {reason}", told, 60)
    return found


def test_a_base_from_its_creation_to_its_end(
    cluster: Cluster, start_operator: StartOperator, node: Node, tmp_path: Path
) -> None:
    folders = {n: tmp_path / f"faces-{n}" for n in (1, 2)}
    known = {n: write_base(folder, n, (1, 28, 28)) for n, folder in folders.items()}
    operator = start_operator(*node.flags)
    cluster.create("bases", _base(folders[1]))
    _phase(cluster, "Ready", version=1, identity=known[1])
    cluster.create("federatedtasks", task(algorithm=STATISTICS, base={"name": NAME}))
    told = _bound(cluster, "Bound")
    assert (told["status"], told["message"]) == (
        "True",
        f"base faces, version 1, SHA-256 {known[1]}",
    )

    canary = {"source": str(folders[2]), "version": 2}
    cluster.patch("bases", NAME, {"spec": {"canary": canary}})
    _phase(cluster, "Ready", version=1, canaryVersion=2, canaryIdentity=known[2])
    cluster.patch("bases", NAME, {"spec": {**canary, "canary": None}})
    _phase(cluster, "Ready", version=2, identity=known[2], canaryVersion=None)

    held = wait("its file", lambda: cluster.get("configmaps", "shop-floor-aggregator"))
    table = tomllib.loads(held["data"]["task.toml"])
    settings = TaskSettings.model_validate({**table, "folder": str(tmp_path / "task")})
    fetched = load_base(settings)
    assert fetched is not None
    assert fetched.identity == known[1], "a run holds to what it began with"

    cluster.patch("bases", NAME, {"spec": {"state": "Stopped"}})
    _phase(cluster, "Stopped")
    cluster.delete("bases", NAME)
    wait("it waits", lambda: "the tasks that use it: shop-floor" in operator.log.read_text())
    assert cluster.get("bases", NAME)
    cluster.delete("federatedtasks", "shop-floor")
    wait("it is gone", lambda: cluster.get("bases", NAME) is None, 90)
    if cluster.collects:
        owned = ("statefulsets", "services", "persistentvolumeclaims")
        wait("all of it", lambda: not any(cluster.get(each, POD) for each in owned))


def test_a_base_that_is_none_says_so_and_a_mended_one_is_taken(
    cluster: Cluster, start_operator: StartOperator, node: Node, tmp_path: Path
) -> None:
    start_operator(*node.flags)
    cluster.create("federatedtasks", task(algorithm=STATISTICS, base={"name": NAME}))
    told = _bound(cluster, "NoSuchBase")
    assert told["status"] == "False"
    assert told["message"].endswith("create it, or another task with another one")
    ready = condition(cluster.status("shop-floor"), "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "NoSuchBase")

    cluster.create("bases", _base(tmp_path / "nothing"))
    status = _phase(cluster, "Failed")
    assert "version 1: base: there is no base" in status["lastError"]
    assert "or give another source" in condition(status, "Ready")["message"]
    _bound(cluster, "BaseNotServed", "there is no base")
    assert cluster.get("statefulsets", "shop-floor-aggregator") is None

    identity = write_base(tmp_path / "faces", shape=(1, 28, 28))
    mended = {"source": str(tmp_path / "faces"), "version": 2}
    cluster.patch("bases", NAME, {"spec": mended})
    _phase(cluster, "Ready", version=2, identity=identity)
    _bound(cluster, "Bound")
    assert wait("it", lambda: cluster.get("statefulsets", "shop-floor-aggregator"))


def test_a_bad_canary_leaves_the_stable_one(
    cluster: Cluster, start_operator: StartOperator, node: Node, tmp_path: Path
) -> None:
    identity = write_base(tmp_path / "faces", shape=(1, 28, 28))
    start_operator(*node.flags)
    cluster.create("bases", _base(tmp_path / "faces"))
    _phase(cluster, "Ready")
    canary = {"source": "auto?shape=1x28x28&generator=nobody", "version": 2}
    cluster.patch("bases", NAME, {"spec": {"canary": canary}})
    status = _phase(cluster, "Failed", version=1, identity=identity)
    assert "version 2: generator: there is no generator 'nobody'" in status["lastError"]
    asked = {"name": NAME, "channel": "Canary"}
    cluster.create("federatedtasks", task(algorithm=STATISTICS, base=asked))
    _bound(cluster, "BaseNotServed")
    cluster.delete("federatedtasks", "shop-floor")
    wait("it is gone", lambda: cluster.get("federatedtasks", "shop-floor") is None)
    cluster.create("federatedtasks", task(algorithm=STATISTICS, base={"name": NAME}))
    _bound(cluster, "Bound")


def test_without_an_image_a_base_says_so(cluster: Cluster, start_operator: StartOperator) -> None:
    start_operator()
    cluster.create("bases", _base("faces"))
    assert _phase(cluster, "Failed")["lastError"] == bases.NO_IMAGE
    cluster.delete("bases", NAME)
    wait("it is gone", lambda: cluster.get("bases", NAME) is None)


def test_what_a_server_tells(tmp_path: Path) -> None:
    both = a_base(canary={"source": "b", "version": 2})
    assert seen(a_base(), ServerAnswer({1: "a"}, {})).phase == "Ready"
    assert seen(both, ServerAnswer({1: "a"}, {})).phase == "Pending"
    failed = seen(both, ServerAnswer({1: "a"}, {2: "no"}))
    assert (failed.phase, failed.served) == ("Failed", {1: "a"})
    assert str(failed.problem).startswith("version 2: no. fix")
    with serving(tmp_path) as root:
        assert ask(root, NAME, 5.0) == ServerAnswer({}, {})
    assert ask(root, NAME, 1.0) is None


def test_everything_is_the_bases() -> None:
    storage = {"size": "5Gi", "className": "fast"}
    made = a_base(storage=storage, canary={"source": "auto?shape=3x32x32", "version": 2})
    settings = SETTINGS.model_copy(update={"store_claim": "store"})
    claim, service, of = base_manifests.of(made, settings)
    for each in (claim, service, of):
        assert each["metadata"]["name"] == POD
        (owner,) = each["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"]) == ("Base", NAME)
    assert claim["spec"]["resources"] == {"requests": {"storage": "5Gi"}}
    assert claim["spec"]["storageClassName"] == "fast"
    pod = of["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "generator:1"
    assert container["command"][-2:] == ["--add=1=faces-1", "--add=2=auto?shape=3x32x32"]
    assert {"name": "EDGELOOP_HOME", "value": "/store"} in container["env"]
    mounted = {each["name"]: each["readOnly"] for each in container["volumeMounts"]}
    assert mounted == {"bases": False, "tmp": False, "store": True}
    assert not pod["automountServiceAccountToken"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    *_, of = base_manifests.of(a_base(state="Stopped"), SETTINGS)
    assert of["spec"]["replicas"] == 0
    volumes = of["spec"]["template"]["spec"]["volumes"]
    assert [each["name"] for each in volumes] == ["bases", "tmp"]
