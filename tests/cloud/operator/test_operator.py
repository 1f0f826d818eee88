"""An operator as a process against an API server: what its users see."""

import httpx
import pytest

from cloud.aggregator.ledger import PastRound
from tests.cloud.operator.api_server import ApiServer
from tests.cloud.operator.cluster import Cluster, condition, secret, task, wait
from tests.cloud.operator.conftest import Aggregator, StartOperator
from tests.cloud.operator.kubelet import Kubelet, failed

NAME = "shop-floor-aggregator"
OWNED = ("configmaps", "persistentvolumeclaims", "services", "statefulsets")


def phase(cluster: Cluster, wanted: str, name: str = "shop-floor") -> None:
    wait(f"{name} is {wanted}", lambda: cluster.status(name).get("phase") == wanted)


def test_a_task_from_its_creation_to_its_end(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator, kubelet: Kubelet
) -> None:
    start_operator(*aggregator.flags)
    cluster.create("federatedtasks", task())
    phase(cluster, "Running")
    assert all(cluster.get(plural, NAME) for plural in OWNED)
    status = cluster.status("shop-floor")
    assert (status["progress"], status["run"], status["observedGeneration"]) == ("0/3", "r1", 1)
    assert condition(status, "Ready")["status"] == "True"
    assert condition(status, "PrivacyAccounted")["status"] == "False"
    assert "epsilon" not in status

    past = (PastRound(number=0, participants=2, accuracy=0.5, seconds=1.0),)
    aggregator.says(round=1, accuracy=0.75, history=past)
    wait("the first round", lambda: cluster.status("shop-floor")["progress"] == "1/3")
    status = cluster.status("shop-floor")
    assert (status["participants"], status["accuracy"]) == (2, "0.7500")

    aggregator.says(phase="finished", round=3, accuracy=0.875)
    phase(cluster, "Succeeded")
    wait("no aggregator is left", lambda: not kubelet.running)
    status = cluster.status("shop-floor")
    assert (status["progress"], status["accuracy"], status["lastError"]) == ("3/3", "0.8750", "")
    assert condition(status, "Complete")["status"] == "True"
    assert status["completionTime"]
    assert cluster.get("persistentvolumeclaims", NAME), "its results are kept"


def test_what_may_change_restarts_the_aggregator_with_its_run(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator, kubelet: Kubelet
) -> None:
    start_operator(*aggregator.flags)
    cluster.create("federatedtasks", task())
    phase(cluster, "Running")
    before = _template(cluster)
    cluster.patch("federatedtasks", "shop-floor", {"spec": {"cohort": {"deadlineSeconds": 5}}})
    wait("it is seen", lambda: cluster.status("shop-floor")["observedGeneration"] == 2)
    wait("the pod is another one", lambda: _template(cluster) != before)
    assert "deadline_seconds = 5.0" in _config(cluster)


def test_who_is_named_is_taken_out_of_a_task_that_has_succeeded(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator, kubelet: Kubelet
) -> None:
    def name(**names: list[str]) -> None:
        cluster.patch("federatedtasks", "shop-floor", {"spec": {"cohort": names}})

    start_operator(*aggregator.flags)
    cluster.create("federatedtasks", task(algorithm={"name": "class-statistics"}))
    phase(cluster, "Running")
    aggregator.says(phase="finished", round=3)
    phase(cluster, "Succeeded")
    wait("no aggregator is left", lambda: not kubelet.running)

    name(forgotten=["press-9"])
    wait("it is refused", lambda: "press-9" in cluster.status("shop-floor")["lastError"])
    told = "cohort.forgotten: press-9 is no device of the task; take it out again"
    assert cluster.status("shop-floor")["lastError"] == told
    assert not kubelet.running

    name(forgotten=["press-2"])
    phase(cluster, "Running")
    wait("an aggregator is there", lambda: kubelet.running)
    assert 'forgotten = [\n    "press-2",\n]' in _config(cluster)
    aggregator.says(forgotten=("press-2",))
    phase(cluster, "Succeeded")
    assert cluster.status("shop-floor")["forgotten"] == ["press-2"]
    wait("no aggregator is left", lambda: not kubelet.running)


def _template(cluster: Cluster) -> object:
    found = cluster.get("statefulsets", NAME)
    assert found is not None
    return found["spec"]["template"]["metadata"]["annotations"]


def _config(cluster: Cluster) -> str:
    found = cluster.get("configmaps", NAME)
    assert found is not None
    return str(found["data"]["task.toml"])


def test_what_may_not_change_is_refused_by_the_api_server(cluster: Cluster) -> None:
    cluster.create("federatedtasks", task())
    with pytest.raises(httpx.HTTPStatusError) as refused:
        cluster.patch("federatedtasks", "shop-floor", {"spec": {"rounds": 2}})
    assert refused.value.response.status_code == 422
    assert "rounds can be added and not taken away" in refused.value.response.json()["message"]


def test_a_change_that_the_api_server_let_through_is_refused_by_the_operator(
    server: ApiServer,
    cluster: Cluster,
    start_operator: StartOperator,
    aggregator: Aggregator,
    kubelet: Kubelet,
) -> None:
    kind = server.store.kinds["federatedtasks"]
    assert kind.schema is not None
    kind.schema["properties"]["spec"].pop("x-kubernetes-validations")
    start_operator(*aggregator.flags)
    cluster.create("federatedtasks", task())
    phase(cluster, "Running")
    held = _config(cluster)
    cluster.patch("federatedtasks", "shop-floor", {"spec": {"rounds": 2, "seed": 1}})
    wait("it is seen", lambda: cluster.status("shop-floor")["observedGeneration"] == 2)
    status = cluster.status("shop-floor")
    assert condition(status, "Accepted")["status"] == "False"
    assert status["lastError"].startswith("rounds, seed may not change once a run has begun")
    assert (status["phase"], _config(cluster)) == ("Running", held)
    cluster.patch("federatedtasks", "shop-floor", {"spec": {"rounds": 3, "seed": 0}})
    wait("it is right again", lambda: not cluster.status("shop-floor")["lastError"])


def test_a_task_is_paused_goes_on_and_is_cancelled(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator, kubelet: Kubelet
) -> None:
    start_operator(*aggregator.flags)
    cluster.create("federatedtasks", task())
    phase(cluster, "Running")
    aggregator.says(round=1)
    wait("the first round", lambda: cluster.status("shop-floor")["progress"] == "1/3")
    _ask(cluster, "Paused")
    phase(cluster, "Paused")
    wait("no aggregator is left", lambda: not kubelet.running)
    assert cluster.status("shop-floor")["progress"] == "1/3"
    _ask(cluster, "Running")
    wait("another pod", lambda: len(aggregator.started) == 2)
    phase(cluster, "Running")
    _ask(cluster, "Cancelled")
    phase(cluster, "Cancelled")
    wait("no aggregator is left", lambda: not kubelet.running)
    with pytest.raises(httpx.HTTPStatusError, match="422"):
        _ask(cluster, "Running")


def _ask(cluster: Cluster, state: str) -> None:
    cluster.patch("federatedtasks", "shop-floor", {"spec": {"state": state}})


def test_a_deleted_task_stops_before_its_volume_goes(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator, kubelet: Kubelet
) -> None:
    start_operator(*aggregator.flags)
    cluster.create("federatedtasks", task())
    cluster.create("federatedtasks", task("kept", storage={"retain": True}))
    phase(cluster, "Running")
    phase(cluster, "Running", "kept")
    for name in ("shop-floor", "kept"):
        cluster.delete("federatedtasks", name)
    wait("they are gone", lambda: not cluster.listed("federatedtasks"))
    assert not kubelet.running
    assert cluster.get("persistentvolumeclaims", "kept-aggregator")
    if cluster.collects:
        assert not any(cluster.get(plural, NAME) for plural in OWNED)


def test_processes_that_take_uploads_come_and_go_with_the_aggregator(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator, kubelet: Kubelet
) -> None:
    def replicas() -> object:
        found = cluster.get("deployments", "shop-floor-ingest")
        return found and found["spec"]["replicas"]

    start_operator(*aggregator.flags)
    cluster.create("federatedtasks", task(ingest={"replicas": 3}))
    told = "SQLite is one process's"
    wait("it wants one", lambda: told in cluster.status("shop-floor").get("lastError", ""))
    cluster.delete("federatedtasks", "shop-floor")
    wait("it is gone", lambda: cluster.get("federatedtasks", "shop-floor") is None)
    cluster.create("secrets", secret("ledgers", "store"))
    store = {"secretName": "ledgers"}
    cluster.create("federatedtasks", task(ingest={"replicas": 3}, store=store))
    phase(cluster, "Running")
    wait("they are there", lambda: replicas() == 3)
    cluster.patch("federatedtasks", "shop-floor", {"spec": {"ingest": {"replicas": 5}}})
    wait("more are", lambda: replicas() == 5)
    _ask(cluster, "Paused")
    wait("none is left", lambda: replicas() == 0)
    cluster.delete("federatedtasks", "shop-floor")
    wait("it is gone", lambda: cluster.get("federatedtasks", "shop-floor") is None)
    assert cluster.get("deployments", "shop-floor-ingest") is None


def test_an_operator_that_was_killed_catches_up(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator, kubelet: Kubelet
) -> None:
    first = start_operator(*aggregator.flags)
    cluster.create("federatedtasks", task())
    cluster.create("federatedtasks", task("second"))
    phase(cluster, "Running", "second")
    first.kill()
    cluster.delete("federatedtasks", "second")
    cluster.delete("services", NAME)
    cluster.create("federatedtasks", task("third"))
    aggregator.says(phase="finished", round=3, accuracy=1.0)
    start_operator(*aggregator.flags)
    phase(cluster, "Succeeded")
    phase(cluster, "Succeeded", "third")
    wait("the second is gone", lambda: cluster.get("federatedtasks", "second") is None)
    assert cluster.get("services", NAME), "what was deleted by hand is there again"


def test_a_second_operator_waits_and_takes_over(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator, kubelet: Kubelet
) -> None:
    first = start_operator(*aggregator.flags)
    cluster.create("federatedtasks", task())
    phase(cluster, "Running")
    second = start_operator(*aggregator.flags, identity="second")
    wait("the second one asks", lambda: "metrics and health" in second.log.read_text())
    assert _holder(cluster) == "first"
    assert first.stop() == 0
    assert _holder(cluster) != "first", "it gave the lease back"
    wait("the second one leads", lambda: _holder(cluster) == "second")
    aggregator.says(phase="finished", round=3)
    phase(cluster, "Succeeded")


def _holder(cluster: Cluster) -> object:
    lease = cluster.get("leases", "edgeloop-operator")
    return lease and lease["spec"].get("holderIdentity")


def test_an_aggregator_that_fails_too_often_fails_its_task_until_its_spec_changes(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator
) -> None:
    with Kubelet(cluster, lambda of: Nothing()) as kubelet:
        start_operator(*aggregator.flags)
        cluster.create("federatedtasks", task(retries=2))
        phase(cluster, "Pending")
        wait("its pod", lambda: cluster.get("pods", f"{NAME}-0"))
        said = "a line before\nerror: broker b:1: cannot be reached; start it\n"
        cluster.tell("pods", f"{NAME}-0", failed(1, said))
        wait("one failure", lambda: cluster.status("shop-floor").get("restarts") == 1)
        status = cluster.status("shop-floor")
        assert status["lastError"] == "exit code 2: error: broker b:1: cannot be reached; start it"
        cluster.tell("pods", f"{NAME}-0", failed(3, said))
        phase(cluster, "Failed")
        wait("no pod is left", lambda: not kubelet.running)
        status = cluster.status("shop-floor")
        assert "more than 2 times" in condition(status, "Failed")["message"]
        assert "cannot be reached" in status["lastError"]
        cluster.patch("federatedtasks", "shop-floor", {"spec": {"broker": {"host": "c"}}})
        phase(cluster, "Pending")
        wait("its pod", lambda: cluster.get("pods", f"{NAME}-0"))
        assert cluster.status("shop-floor")["restarts"] == 0


class Nothing:
    """A pod whose container does not answer."""

    def stop(self) -> None:
        """It never ran."""
