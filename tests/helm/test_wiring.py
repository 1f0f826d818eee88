"""What finds what: selectors, ports, scalers, policies, monitors."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm import chart
from tests.helm.chart import NAMESPACE, Manifest, containers, named, of_kind, pods

OPERATORS = {  # a pod that the operator makes
    "app.kubernetes.io/name": "edgeloop",
    "app.kubernetes.io/component": "aggregator",
    "app.kubernetes.io/instance": "somebody's",
    "app.kubernetes.io/managed-by": "edgeloop-operator",
}

BASES = {**OPERATORS, "app.kubernetes.io/component": "base-server"}


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    """Return whether a label selector finds a pod."""
    for each in selector.get("matchExpressions", []):
        assert each["operator"] == "In"
        if labels.get(each["key"]) not in each["values"]:
            return False
    wanted = selector.get("matchLabels", {})
    return all(labels.get(key) == value for key, value in wanted.items())


def found(manifests: list[Manifest], selector: Manifest) -> list[Manifest]:
    """Return the pods that a selector finds."""
    return [pod for _, pod in pods(manifests) if selects(selector, pod["metadata"]["labels"])]


def ports(pod: Manifest) -> dict[str, int]:
    """Return a pod's ports by their names."""
    every = [port for each in containers(pod) for port in each.get("ports", [])]
    return {port["name"]: port["containerPort"] for port in every}


def test_names(manifests: list[Manifest]) -> None:
    keys = [
        (each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"])
        for each in manifests
    ]
    assert len(keys) == len(set(keys))
    assert all(len(name) <= 63 for *_, name in keys)
    cluster = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
    for each in manifests:
        if each["kind"] not in cluster and each["kind"] not in ("Role", "RoleBinding"):
            assert each["metadata"]["namespace"] == NAMESPACE


def test_whoever_makes_pods_finds_just_its_own(manifests: list[Manifest]) -> None:
    for owner, pod in pods(manifests):
        if owner is not pod and owner["kind"] not in ("Job", "CronJob"):  # they have labels made
            assert found(manifests, owner["spec"]["selector"]) == [pod], owner["metadata"]["name"]


def test_services_reach_a_port(manifests: list[Manifest]) -> None:
    services = of_kind(manifests, "Service")
    for service in services:
        (pod,) = found(manifests, {"matchLabels": service["spec"]["selector"]})
        for each in service["spec"]["ports"]:
            assert each["targetPort"] in ports(pod)
    headless = {each["metadata"]["name"] for each in services}
    for each in of_kind(manifests, "StatefulSet"):
        assert each["spec"]["serviceName"] in headless


def test_scalers_and_budgets_find_their_deployment(manifests: list[Manifest]) -> None:
    deployments = {each["metadata"]["name"]: each for each in of_kind(manifests, "Deployment")}
    scalers = of_kind(manifests, "HorizontalPodAutoscaler", "ScaledObject")
    for each in scalers:
        assert "replicas" not in deployments[each["spec"]["scaleTargetRef"]["name"]]["spec"]
    for each in of_kind(manifests, "PodDisruptionBudget"):
        assert len(found(manifests, each["spec"]["selector"])) == 1


@pytest.mark.parametrize(
    ("name", "kind", "budgets"),
    [
        ("default", None, 0),
        ("production", "HorizontalPodAutoscaler", 1),
        ("gpu", "ScaledObject", 1),
        ("edge-own-certificates", None, 1),
    ],
)
def test_what_scales_triton(name: str, kind: str | None, budgets: int) -> None:
    manifests = chart.rendered(name)
    scalers = of_kind(manifests, "HorizontalPodAutoscaler", "ScaledObject")
    assert [each["kind"] for each in scalers] == ([kind] if kind else [])
    named_so = [
        each
        for each in of_kind(manifests, "PodDisruptionBudget")
        if each["metadata"]["name"].endswith("-triton")
    ]
    assert len(named_so) == budgets


def test_one_policy_for_every_pod(name: str, manifests: list[Manifest]) -> None:
    policies = of_kind(manifests, "NetworkPolicy")
    if name == "trial":
        assert policies == []
        return
    everybody = [pod["metadata"]["labels"] for _, pod in pods(manifests)] + [OPERATORS]
    for labels in everybody:
        of_it = [each for each in policies if selects(each["spec"]["podSelector"], labels)]
        assert len(of_it) == 1, labels
        assert of_it[0]["spec"]["policyTypes"] == ["Ingress", "Egress"]


def lets(rules: list[Manifest], key: str, labels: dict[str, str], port: int) -> bool:
    """Return whether a policy's rules let a pod of the release's namespace through."""
    for rule in rules:
        if port not in [each["port"] for each in rule.get("ports", [])]:
            continue
        peers = rule.get(key)
        if peers is None or any(reaches(peer, labels) for peer in peers):
            return True
    return False


def reaches(peer: Manifest, labels: dict[str, str]) -> bool:
    space = {"kubernetes.io/metadata.name": NAMESPACE}
    if "ipBlock" in peer or not selects(peer.get("namespaceSelector", {}), space):
        return False
    return selects(peer.get("podSelector", {}), labels)


def policy_of(manifests: list[Manifest], labels: dict[str, str]) -> Any:
    policies = of_kind(manifests, "NetworkPolicy")
    (found,) = [each for each in policies if selects(each["spec"]["podSelector"], labels)]
    return found["spec"]


def labels_of(manifests: list[Manifest], kind: str, name: str) -> dict[str, str]:
    return dict(named(manifests, kind, name)["spec"]["template"]["metadata"]["labels"])


@pytest.mark.parametrize(
    ("to", "port", "who"),
    [
        ("broker", 8883, {"task", "operator's", "test", "forgetting"}),
        ("triton", 8001, {"task", "operator's", "test", "writer", "base"}),
        ("database", 5432, {"task", "operator's", "forgetting"}),
    ],
)
def test_policies_let_through_what_is_needed_and_no_more(to: str, port: int, who: set[str]) -> None:
    manifests = chart.rendered("bundled")
    kind = "Deployment" if to == "triton" else "StatefulSet"
    target = labels_of(manifests, kind, f"-{to}")
    senders = {
        "task": labels_of(manifests, "StatefulSet", "-task-digits"),
        "operator's": OPERATORS,
        "test": named(manifests, "Pod", "-test-round")["metadata"]["labels"],
        "broker": labels_of(manifests, "StatefulSet", "-broker"),
        "base": BASES,
        "writer": {**OPERATORS, "app.kubernetes.io/component": "generator-writer"},
        "forgetting": {**OPERATORS, "app.kubernetes.io/component": "forgetting"},
        "stranger": {"app.kubernetes.io/component": "aggregator"},
    }
    ingress = policy_of(manifests, target).get("ingress", [])
    assert {name for name, each in senders.items() if lets(ingress, "from", each, port)} == who
    for name in who - {"writer"}:  # which no policy holds
        egress = policy_of(manifests, senders[name])["egress"]
        assert lets(egress, "to", target, port), name


def test_a_bases_server_is_asked_by_aggregators_and_the_operator() -> None:
    manifests = chart.rendered("bundled")
    ingress = policy_of(manifests, BASES)["ingress"]
    operator = labels_of(manifests, "Deployment", "-operator")
    for each in (OPERATORS, labels_of(manifests, "StatefulSet", "-task-digits"), operator):
        assert lets(ingress, "from", each, 9466)
        assert lets(policy_of(manifests, each)["egress"], "to", BASES, 9466)
    for other in (BASES, {**OPERATORS, "app.kubernetes.io/component": "forgetting"}):
        assert not lets(ingress, "from", other, 9466)


def test_devices_outside_reach_the_broker() -> None:
    manifests = chart.rendered("bundled")
    broker = labels_of(manifests, "StatefulSet", "-broker")
    peers = policy_of(manifests, broker)["ingress"][0]["from"]
    assert {"ipBlock": {"cidr": "192.0.2.0/24"}} in peers


def test_traces_reach_their_collector() -> None:
    manifests = chart.rendered("production")
    space = {"matchLabels": {"kubernetes.io/metadata.name": "observability"}}
    port = [{"port": 4318, "protocol": "TCP"}]
    wanted = {"ports": port, "to": [{"namespaceSelector": space}]}
    assert wanted in policy_of(manifests, OPERATORS)["egress"]
    edge = chart.rendered("edge")
    agent = policy_of(edge, labels_of(edge, "DaemonSet", "-agent"))
    assert {"ports": [{"port": 443, "protocol": "TCP"}]} in agent["egress"]


def test_monitors_find_a_port() -> None:
    manifests = chart.rendered("production") + chart.rendered("bundled")
    services = of_kind(manifests, "Service")
    for each in of_kind(manifests, "ServiceMonitor"):
        selector = each["spec"]["selector"]
        (service, *_) = [s for s in services if selects(selector, s["metadata"]["labels"])]
        port = each["spec"]["endpoints"][0]["port"]
        assert port in [port["name"] for port in service["spec"]["ports"]]
    monitor = named(manifests, "PodMonitor", "-aggregators")
    assert selects(monitor["spec"]["selector"], OPERATORS)
    assert selects(monitor["spec"]["selector"], labels_of(manifests, "StatefulSet", "-task-digits"))
    assert monitor["spec"]["namespaceSelector"]["matchNames"] == ["line-1", "line-2", NAMESPACE]


def test_rules_and_dashboards_are_taken_from_their_folders(tmp_path: Path) -> None:
    copy = chart.copied(tmp_path)
    for each in [*(copy / "alerts").iterdir(), *(copy / "dashboards").iterdir()]:
        each.unlink()
    rule = "- name: a\n  rules:\n  - {alert: B, expr: 'up{job=\"{{ $labels.job }}\"} == 0'}\n"
    (copy / "alerts" / "one.yaml").write_text("groups:\n" + rule)
    (copy / "alerts" / "two.yaml").write_text("groups:\n" + rule.replace("name: a", "name: b"))
    (copy / "dashboards" / "fleet.json").write_text('{"title": "{{fleet}}"}\n')
    text = chart.helm("template", chart.RELEASE, copy, "--set", "monitoring.enabled=true")
    manifests = chart.parsed(text)
    (rules,) = of_kind(manifests, "PrometheusRule")
    assert [group["name"] for group in rules["spec"]["groups"]] == ["a", "b"]
    assert "{{ $labels.job }}" in rules["spec"]["groups"][0]["rules"][0]["expr"]
    dashboard = named(manifests, "ConfigMap", "-dashboard-fleet")
    assert dashboard["data"]["fleet.json"] == '{"title": "{{fleet}}"}\n'
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_the_charts_own_rules_and_dashboards() -> None:
    manifests = chart.rendered("production")
    (rules,) = of_kind(manifests, "PrometheusRule")
    written = yaml.safe_load((chart.CHART / "alerts" / "edgeloop.yaml").read_text())
    assert rules["spec"] == written
    for name in ("fleet", "task", "generator"):
        found = named(manifests, "ConfigMap", f"-dashboard-{name}")
        text = (chart.CHART / "dashboards" / f"{name}.json").read_text()
        assert json.loads(found["data"][f"{name}.json"]) == json.loads(text)
        assert len(text) < 1_000_000, "a ConfigMap holds no more"
