"""What cannot be run is refused before anything is made, with the field and what to do."""

from typing import Any

import pytest

from cloud.operator import acceptance, sums
from edgeloop import algorithms
from tests.cloud.operator.api_server import ApiServer, Fault
from tests.cloud.operator.cluster import Cluster, Object, condition, secret, task, wait
from tests.cloud.operator.conftest import Aggregator, StartOperator
from tests.cloud.operator.examples import a_task
from tests.cloud.operator.kubelet import Kubelet
from tests.cloud.operator.test_operator import NAME, OWNED, phase
from tests.edge.test_without_torch import lean


def algorithm(name: str, variant: str = "released", **hyperparameters: Any) -> Object:
    return {"name": name, "variant": variant, "hyperparameters": hyperparameters}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (algorithm("fedprot"), "algorithm.name: there is no 'fedprot'; did you mean fedproto"),
        (algorithm("fedtgp", "papers"), "algorithm.variant: fedtgp has no variant 'papers'"),
        (algorithm("fedtgp", server_l=1), "did you mean server_lr"),
        (algorithm("fedtgp", server_lr=-1.0), "algorithm.hyperparameters.server_lr"),
        (algorithm("fedtgp", server_lr="fast"), "algorithm.hyperparameters.server_lr"),
        (algorithm("fedtgp", stale=[1]), "hyperparameters.stale: is no number, boolean or string"),
        (algorithm("fedtgp", stale=None), "hyperparameters.stale: is no number"),
        (algorithm("fedtgp", margin="wide"), "algorithm.hyperparameters.margin"),
    ],
)
def test_an_algorithm_that_there_is_not(asked: Object, said: str) -> None:
    assert said in str(acceptance.wrong_algorithm(a_task(algorithm=asked), ()))


def test_every_algorithm_for_devices_is_accepted_with_its_variants() -> None:
    for name in algorithms.built_in():
        known = algorithms.info(name)
        for variant in ("released", *known.variants):
            found = acceptance.wrong_algorithm(a_task(algorithm=algorithm(name, variant)), ())
            assert (found is None) == ("mqtt" in known.runs_in), (name, variant, found)


LEAN = """
from cloud.operator import acceptance, command
from edgeloop import algorithms
from tests.cloud.operator.examples import a_task

for name in algorithms.built_in():
    for variant in ("released", *algorithms.info(name).variants):
        wrong = {"name": name, "variant": variant, "hyperparameters": {"none": 1}}
        assert "no such hyperparameter" in acceptance.wrong_algorithm(a_task(algorithm=wrong), ())
assert "torch" not in sys.modules
"""


def test_an_operator_knows_them_all_without_torch() -> None:
    done = lean(LEAN)
    assert done.returncode == 0, done.stderr


def test_numbers_and_booleans_are_hyperparameters() -> None:
    for written in ({"server_lr": 0.05, "stale": False}, {"server_lr": "0.05", "stale": "false"}):
        assert (
            acceptance.wrong_algorithm(a_task(algorithm=algorithm("fedtgp", **written)), ()) is None
        )


def test_of_others_algorithms_nothing_is_known() -> None:
    mine = a_task(algorithm=algorithm("mine", "any", x=1))
    assert acceptance.wrong_algorithm(mine, ("mine",)) is None
    assert "there is no 'mine'" in str(acceptance.wrong_algorithm(mine, ("others",)))


FIVE = {"devices": [f"d{n}" for n in range(5)], "secure": True}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cohort": FIVE}, None),
        ({"cohort": {**FIVE, "robust": "none"}}, None),
        ({"cohort": {**FIVE, "robust": "clip"}}, "cohort.robust: needs single uploads"),
        ({"cohort": {**FIVE, "outliers": "refuse"}}, "cohort.outliers: needs single uploads"),
        ({"cohort": {**FIVE, "buffer": 2}}, "cohort.buffer: needs single uploads"),
        ({"cohort": {**FIVE, "forgotten": ["d1"]}}, "cohort.forgotten: needs single uploads"),
        ({"cohort": {**FIVE, "devices": ["a", "b"]}}, "cohort.secure: needs 3 devices, and there"),
        ({"cohort": FIVE, "ingest": {"replicas": 2}}, "ingest: takes whole uploads only"),
        ({"cohort": FIVE, "algorithm": algorithm("fedtgp")}, "fedtgp needs single uploads"),
        ({"cohort": FIVE, "algorithm": algorithm("class-statistics")}, None),
    ],
)
def test_sums_that_cannot_be(changes: Object, said: str | None) -> None:
    found = sums.wrong_sums(a_task(**changes))
    assert (said is None and found is None) or str(said) in str(found)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"generator": {"name": "faces"}}, "generator: fedproto asks none"),
        ({"base": {"name": "faces"}}, "base: fedproto asks none"),
        (
            {"algorithm": algorithm("fedtgp"), "cohort": {"devices": ["a"], "buffer": 1}},
            "cohort.buffer: fedtgp does more",
        ),
    ],
)
def test_what_an_algorithm_would_never_ask(changes: Object, said: str) -> None:
    assert said in str(acceptance.wrong_algorithm(a_task(**changes), ()))


@pytest.mark.parametrize(
    ("requests", "limits", "said"),
    [
        ({"memory": "3Gi"}, {"memory": "2Gi"}, "requests.memory is 3Gi, over limits.memory, 2Gi"),
        ({"cpu": 2}, {"cpu": "1500m"}, "requests.cpu is 2, over limits.cpu, 1500m"),
        ({"cpu": "1"}, {"cpu": "1000m"}, None),
        ({"cpu": "1"}, {"memory": "1Gi"}, None),
    ],
)
def test_resources_that_no_node_gives(requests: Object, limits: Object, said: str | None) -> None:
    found = acceptance.wrong_resources(a_task(resources={"requests": requests, "limits": limits}))
    assert (found is None) if said is None else (said in str(found))


CLASS = {"metadata": {"name": "fast"}, "provisioner": "p"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"algorithm": algorithm("fedprot")}, "did you mean fedproto"),
        ({"algorithm": algorithm("fedproto", "papers")}, "has no variant"),
        ({"algorithm": algorithm("fedproto", x=0.5)}, "has no such hyperparameter"),
        ({"algorithm": algorithm("fedprot"), "generator": {"name": "never"}}, "fedproto"),
        ({"storage": {"className": "slow"}}, "there is no StorageClass slow"),
        ({"resources": {"requests": {"memory": "4Gi"}}}, "over limits.memory"),
        ({"resources": {"requests": {"cpu": 9}}}, "exceeded quota: small"),
        ({"store": {"secretName": "none"}}, "there is no secret none"),
        ({"store": {"secretName": "foreign"}}, "kubectl label secret foreign"),
        ({"broker": {"host": "b", "secretName": "foreign"}}, "broker.secretName"),
        ({"broker": {"host": "b", "secretName": "ledgers"}}, "is not for a task's broker"),
        ({"broker": {"host": "b", "password": {"secretName": "foreign"}}}, "broker.password"),
        ({"broker": {"host": "evil", "secretName": "certificates"}}, "for the broker b only"),
    ],
)
def test_a_task_that_cannot_be_run_is_refused_and_nothing_is_made(
    cluster: Cluster,
    start_operator: StartOperator,
    aggregator: Aggregator,
    changes: Object,
    said: str,
) -> None:
    _populate(cluster)
    start_operator(*aggregator.flags)
    cluster.create("federatedtasks", task(**changes))
    status = wait("it is refused", lambda: _refused(cluster))
    assert said in status["lastError"]
    assert said in condition(status, "Accepted")["message"]
    assert not any(cluster.get(plural, NAME) for plural in OWNED)
    events = wait("its event", lambda: cluster.listed("events"))
    assert any((each["type"], each["reason"]) == ("Warning", "Refused") for each in events)


def test_what_is_in_order_is_accepted_and_mended_is_taken(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator, kubelet: Kubelet
) -> None:
    _populate(cluster)
    start_operator(*aggregator.flags)
    resources = {"requests": {"cpu": 9}}
    whole: Object = {
        "algorithm": algorithm("fedtgp", server_lr=0.05, stale=True),
        "storage": {"className": "fast"},
        "store": {"secretName": "ledgers"},
        "broker": {"host": "b", "secretName": "certificates"},
    }
    cluster.create("federatedtasks", task(**whole, resources=resources))
    assert "exceeded quota" in wait("it is refused", lambda: _refused(cluster))["lastError"]
    smaller = {"spec": {"resources": {"requests": {"cpu": 1}}}}
    cluster.patch("federatedtasks", "shop-floor", smaller)
    phase(cluster, "Running")
    status = cluster.status("shop-floor")
    assert condition(status, "Accepted")["status"] == "True"
    held = cluster.get("configmaps", NAME)
    assert held is not None
    assert "server_lr = 0.05\nstale = true" in held["data"]["task.toml"]


@pytest.mark.parametrize("resource", ["pods", "statefulsets"])
def test_where_a_webhook_takes_no_trials_a_task_is_run(
    server: ApiServer,
    cluster: Cluster,
    start_operator: StartOperator,
    aggregator: Aggregator,
    kubelet: Kubelet,
    resource: str,
) -> None:
    verb = "create" if resource == "pods" else "patch"
    said = "admission webhook does not support dry run"
    fault = Fault(lambda asked: (asked.verb, asked.resource) == (verb, resource), 400, 1, said)
    server.faults.append(fault)
    start_operator(*aggregator.flags)
    cluster.create("federatedtasks", task())
    phase(cluster, "Running")
    assert not fault.times


def test_a_run_that_has_begun_reaches_for_no_foreign_secret(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator, kubelet: Kubelet
) -> None:
    _populate(cluster)
    start_operator(*aggregator.flags)
    cluster.create("federatedtasks", task())
    phase(cluster, "Running")
    template = cluster.get("statefulsets", NAME)
    change = {"spec": {"broker": {"host": "evil", "secretName": "foreign"}}}
    cluster.patch("federatedtasks", "shop-floor", change)
    assert "secret foreign" in wait("it is refused", lambda: _refused(cluster))["lastError"]
    assert cluster.get("statefulsets", NAME) == template


def test_what_keeps_a_pod_from_being_made_is_in_the_status(
    cluster: Cluster, start_operator: StartOperator, aggregator: Aggregator
) -> None:
    start_operator(*aggregator.flags)
    cluster.create("federatedtasks", task())
    made = wait("its StatefulSet", lambda: cluster.get("statefulsets", NAME))
    cluster.create("events", warning("other", "u", "of another one", "2026-01-01T00:00:09Z"))
    uid = made["metadata"]["uid"]
    old, new = "2026-01-01T00:00:00Z", "2026-01-01T00:00:05Z"
    cluster.create("events", warning("first", uid, "before", old))
    cluster.create("events", warning("second", uid, "pods are forbidden: exceeded quota", new))

    def told() -> bool:
        return "exceeded quota" in cluster.status("shop-floor").get("lastError", "")

    wait("it is told", told)
    status = cluster.status("shop-floor")
    assert status["lastError"] == "FailedCreate: pods are forbidden: exceeded quota"
    assert "exceeded quota" in condition(status, "Ready")["message"]


def warning(name: str, uid: str, message: str, when: str) -> Object:
    """Return an event of a StatefulSet."""
    about = {"kind": "StatefulSet", "name": NAME, "namespace": "plant", "uid": uid}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": "plant"},
        "involvedObject": about,
        "type": "Warning",
        "reason": "FailedCreate",
        "message": message,
        "lastTimestamp": when,
    }


def _refused(cluster: Cluster) -> Object | None:
    status = cluster.status("shop-floor")
    if "conditions" not in status or condition(status, "Accepted")["status"] == "True":
        return None
    return status


def _populate(cluster: Cluster) -> None:
    cluster.http.post("/apis/storage.k8s.io/v1/storageclasses", json=CLASS).raise_for_status()
    hard = {"hard": {"requests.cpu": "8", "pods": 5}}
    cluster.create("resourcequotas", {"metadata": {"name": "small"}, "spec": hard})
    cluster.create("secrets", secret("foreign"))
    cluster.create("secrets", secret("ledgers", "store"))
    only = {"edgeloop.io/broker-host": "b"}
    cluster.create("secrets", secret("certificates", "broker", **only))
