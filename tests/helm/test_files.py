"""The files in the ConfigMaps are those that edgeloop reads."""

import tomllib
from typing import Any

import pytest
import yaml

from cloud.aggregator.agreement import make_contract
from cloud.aggregator.settings import TaskSettings
from edge.agent.settings import DeviceSettings
from edgeloop import algorithms
from edgeloop.protocol.task import Contract
from edgeloop.runtime.config import PrivacySettings, parse
from tests.helm import chart
from tests.helm.chart import NAMESPACE, RELEASE, Manifest, containers, named, of_kind, pods

BROKER = f"{RELEASE}-edgeloop-broker.{NAMESPACE}.svc"


def tables(manifests: list[Manifest], key: str) -> list[dict[str, Any]]:
    maps = [each["data"] for each in of_kind(manifests, "ConfigMap") if key in each["data"]]
    return [tomllib.loads(data[key]) for data in maps]


def test_every_task_is_one(name: str, manifests: list[Manifest]) -> None:
    found = tables(manifests, "task.toml")
    values = yaml.safe_load((chart.CHART / "ci" / f"{name}-values.yaml").read_text())
    assert len(found) == len(values.get("aggregators", [])) + 1  # the test's
    for table in found:
        contract = make_contract(parse(table, TaskSettings, name))
        if table["algorithm"] != "fedktl":  # or it would ask its generator
            algorithms.load_for_contract(contract)


def test_every_device_is_one(manifests: list[Manifest]) -> None:
    for key in ("device.toml", "test-a.toml", "test-b.toml"):
        for table in tables(manifests, key):
            parse(table, DeviceSettings, key)


def test_a_task_says_what_the_values_say() -> None:
    (task,) = [
        each for each in tables(chart.rendered("trial"), "task.toml") if each["name"] != "helm-test"
    ]
    settings = parse(task, TaskSettings, "trial")
    assert settings.hyperparameters == {"server_epochs": 100, "pull": 0.5}
    assert isinstance(settings.hyperparameters["server_epochs"], int)
    assert settings.cohort.quorum == 2
    assert settings.privacy == PrivacySettings(noise=1.5, delta=1e-4, epsilon=8.0)
    assert (settings.http.host, settings.http.port, settings.http.linger) == ("0.0.0.0", 9464, True)  # noqa: S104 - a pod's
    assert settings.broker.host == f"edgeloop-broker.{NAMESPACE}.svc"
    assert (settings.broker.port, settings.broker.ca_file) == (1883, None)
    assert settings.store_file is None


def test_traces_are_for_all() -> None:
    task = settings_of("production", "paint")
    assert (task.trace.endpoint, task.trace.sampling) == (
        "http://collector.observability:4318",
        0.1,
    )
    assert str(task.trace.headers_file) == "/etc/edgeloop/trace/headers"
    (device,) = tables(chart.rendered("edge"), "device.toml")
    trace = parse(device, DeviceSettings, "edge").trace
    assert (trace.endpoint, trace.sampling) == ("https://collector.example", 1.0)
    assert trace.headers_file is None
    assert not any("trace" in table for table in tables(chart.rendered("bundled"), "task.toml"))


def settings_of(name: str, task: str) -> TaskSettings:
    found = named(chart.rendered(name), "ConfigMap", f"-task-{task}")
    return parse(tomllib.loads(found["data"]["task.toml"]), TaskSettings, name)


def test_a_generator_that_is_served_is_asked_there() -> None:
    served = f"triton://{RELEASE}-edgeloop-triton.{NAMESPACE}.svc:8001"
    assert settings_of("bundled", "digits").generator == f"{served}/digits"  # the first, if none
    assert settings_of("bundled", "faces").generator == f"{served}/faces"
    assert settings_of("external", "weld").generator == "triton://triton.example:8001/digits"


def test_an_external_broker() -> None:
    broker = settings_of("external", "weld").broker
    assert (broker.host, broker.port, broker.username) == ("emqx.example", 8883, "edgeloop")
    pod = named(chart.rendered("external"), "StatefulSet", "-task-weld")["spec"]["template"]
    (container,) = containers(pod)
    mounts = {each["mountPath"] for each in container["volumeMounts"]}
    files = [broker.password_file, broker.ca_file, broker.certificate_file, broker.key_file]
    for file in files:
        assert file is not None
        assert str(file.parent) in mounts


@pytest.mark.parametrize(("name", "task"), [("bundled", "digits"), ("production", "paint")])
def test_a_ledger_in_a_database(name: str, task: str) -> None:
    settings = settings_of(name, task)
    pod = named(chart.rendered(name), "StatefulSet", f"-task-{task}")["spec"]["template"]
    (volume,) = [each for each in pod["spec"]["volumes"] if each["name"] == "store"]
    assert [each["path"] for each in volume["secret"]["items"]] == ["url"]
    (container,) = containers(pod)
    assert settings.store_file is not None
    assert {"name": "store", "mountPath": str(settings.store_file.parent), "readOnly": True} in (
        container["volumeMounts"]
    )


def test_what_is_run_is_a_command_of_edgeloop(manifests: list[Manifest]) -> None:
    ours = ("edgeloop-aggregator", "edgeloop-agent", "edgeloop-generator-service")
    started = ("aggregator", "agent", "broker", "ca", "enroll", "generator")
    for _, pod in pods(manifests):
        for each in containers(pod):
            if any(f"{name}:" in each["image"] for name in ours) and "args" in each:
                assert each["args"][0] in started


def test_a_contract_has_all_fields_that_a_task_sets() -> None:
    contract = make_contract(settings_of("bundled", "digits"))
    assert isinstance(contract, Contract)
    assert contract.devices == ("press-1", "press-2")


def test_an_agent_is_called_as_its_node() -> None:
    manifests = chart.rendered("edge")
    (container,) = containers(named(manifests, "DaemonSet", "-agent")["spec"]["template"])
    assert container["args"][-2:] == ["--name", "$(NODE_NAME)"]
    node = {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    assert node in container["env"]
    (table,) = tables(manifests, "device.toml")
    assert table["broker"]["host"] == BROKER
    assert table["privacy"] == {"require": True, "max_epsilon": 10}
    (table,) = tables(chart.rendered("edge-own-certificates"), "device.toml")
    assert (table["broker"]["host"], table["broker"]["port"]) == ("broker.example", 443)


WAY = {
    "transport": "websockets",
    "path": "/mqtt/v5",
    "alpn": "mqtt",
    "proxy": "http://proxy.example:3128",
    "prefix": "plant-3/",
    "clientIdPrefix": "p3-",
}


def test_an_external_broker_that_is_reached_another_way() -> None:
    """By aggregators, by those that the operator makes, and by agents."""
    said = ",".join(f"broker.external.{key}={value}" for key, value in WAY.items())
    manifests = chart.rendered("external", "--set", said)
    (table, _) = tables(manifests, "task.toml")
    broker = parse(table, TaskSettings, "task.toml").broker
    assert (broker.transport, broker.path, broker.alpn) == ("websockets", "/mqtt/v5", "mqtt")
    assert (broker.proxy, broker.prefix) == (WAY["proxy"], "plant-3/")
    assert broker.client_id_prefix == "p3-"
    (running,) = containers(named(manifests, "Deployment", "-operator")["spec"]["template"])
    operator = {each["name"]: each.get("value") for each in running["env"]}
    for key, value in WAY.items():
        name = {"clientIdPrefix": "CLIENT_ID_PREFIX"}.get(key, key.upper())
        assert operator[f"EDGELOOP_OPERATOR_BROKER_{name}"] == value
    policy = named(manifests, "NetworkPolicy", "-aggregators")
    ports = [port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]]
    assert 3128 in ports
    assert 8883 not in ports
