"""An operator whose API server fails it: conflicts, cut watches, missing rights, outages."""

import pytest

from tests.cloud.operator.api_server import ApiServer, Fault
from tests.cloud.operator.cluster import (
    NAMESPACE,
    OPERATOR,
    Cluster,
    Object,
    device,
    rules,
    secret,
    task,
    wait,
)
from tests.cloud.operator.conftest import Aggregator, StartOperator
from tests.cloud.operator.kubelet import Kubelet
from tests.cloud.operator.test_operator import NAME, phase


@pytest.mark.parametrize("code", [409, 429, 500])
def test_what_is_answered_with_an_error_is_asked_again(
    server: ApiServer,
    cluster: Cluster,
    start_operator: StartOperator,
    aggregator: Aggregator,
    kubelet: Kubelet,
    code: int,
) -> None:
    faults = [
        Fault(lambda asked: (asked.verb, asked.resource) == ("patch", "statefulsets"), code, 1),
        Fault(lambda asked: asked.resource == "federatedtasks/status", code, 1),
        Fault(lambda asked: (asked.verb, asked.resource) == ("patch", "federatedtasks"), code, 1),
    ]
    server.faults += faults
    start_operator(*aggregator.flags)
    cluster.create("federatedtasks", task())
    phase(cluster, "Running")
    assert not any(fault.times for fault in faults), "each of them was met"


@pytest.mark.parametrize("forget", [False, True])
def test_a_watch_that_is_cut_is_begun_again(
    server: ApiServer,
    cluster: Cluster,
    start_operator: StartOperator,
    aggregator: Aggregator,
    kubelet: Kubelet,
    forget: bool,
) -> None:
    start_operator(*aggregator.flags)
    cluster.create("federatedtasks", task())
    phase(cluster, "Running")
    server.drop_watches(forget=forget)  # 410 Gone, if it is forgotten
    cluster.create("federatedtasks", task("second"))
    phase(cluster, "Running", "second")


def test_what_is_forbidden_is_told_and_done_once_it_is_allowed(
    server: ApiServer,
    cluster: Cluster,
    start_operator: StartOperator,
    aggregator: Aggregator,
    kubelet: Kubelet,
) -> None:
    whole = server.roles[OPERATOR][NAMESPACE]
    server.roles[OPERATOR][NAMESPACE] = [
        rule for rule in whole if "statefulsets" not in rule["resources"]
    ]
    operator = start_operator(*aggregator.flags)
    cluster.create("federatedtasks", task())
    wait("it is denied", lambda: server.denied)
    told = "FederatedTask plant/shop-floor: the cluster answers 403: statefulsets.apps is forbidden"
    wait("it is told, and of what", lambda: told in operator.log.read_text())
    wait("the user is told", lambda: "403" in cluster.status("shop-floor").get("lastError", ""))
    assert cluster.get("statefulsets", NAME) is None
    server.roles[OPERATOR][NAMESPACE] = whole
    phase(cluster, "Running")
    assert {asked.resource for asked in server.denied} == {"statefulsets"}
    server.denied.clear()


def test_an_api_server_that_is_away_for_a_while_is_waited_for(
    server: ApiServer,
    cluster: Cluster,
    start_operator: StartOperator,
    aggregator: Aggregator,
    kubelet: Kubelet,
) -> None:
    start_operator(*aggregator.flags)
    cluster.create("federatedtasks", task())
    phase(cluster, "Running")
    outage = Fault(lambda asked: True, 503, 40)
    server.faults.append(outage)
    server.drop_watches()
    aggregator.says(phase="finished", round=3)
    wait("the outage is over", lambda: not outage.times)
    phase(cluster, "Succeeded")


def test_the_role_has_no_right_that_is_never_used(
    server: ApiServer,
    cluster: Cluster,
    start_operator: StartOperator,
    aggregator: Aggregator,
    kubelet: Kubelet,
) -> None:
    operator = start_operator(*aggregator.flags)
    cluster.create("devices", device("press-1"))
    cluster.create("secrets", secret("ledgers", "store"))
    cohort: Object = {"selector": {}}
    cluster.create("federatedtasks", task(cohort=cohort, store={"secretName": "ledgers"}))
    phase(cluster, "Running")
    wait("its event", lambda: cluster.listed("events"))
    cluster.delete("federatedtasks", "shop-floor")
    wait("it is gone", lambda: cluster.get("federatedtasks", "shop-floor") is None)
    operator.stop()
    used = {(asked.verb, asked.resource) for asked in server.asked}
    granted = {
        (verb, resource)
        for rule in [*rules(), *rules("operator-lease-rules")]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    others = ("generators", "jobs", "bases", "deployments")  # of what no task asks for
    unasked = {each for each in granted if each[1].startswith(others)}
    unasked |= {(verb, "secrets") for verb in ("get", "create", "patch")}  # of who has an authority
    assert granted - used - unasked == set()
