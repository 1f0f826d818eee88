"""The CRDs: structural, with defaults and rules that are what the operator reads."""

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from cloud.operator.spec import BaseSpec, DeviceSpec, GeneratorSpec, Privacy, TaskSpec
from edgeloop import algorithms
from edgeloop.protocol import wire
from edgeloop.runtime.config import PrivacySettings
from tests.cloud.operator import schemas
from tests.cloud.operator.cluster import CHART, KINDS, Object, crd, schema, task


def parts(found: Object, path: str = "") -> Iterator[tuple[str, Object]]:
    """Yield every schema in a schema with where it is."""
    yield path, found
    for name, each in found.get("properties", {}).items():
        yield from parts(each, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if isinstance(found.get(name), dict):
            yield from parts(found[name], f"{path}[]")


@pytest.mark.parametrize("plural", KINDS)
def test_a_schema_is_structural_and_bounded(plural: str) -> None:
    spec = schema(plural)["properties"]["spec"]
    for path, part in parts(spec):
        free = part.get("x-kubernetes-int-or-string") or part.get(
            "x-kubernetes-preserve-unknown-fields"
        )
        assert ("type" in part) != bool(free), path
        assert not ("properties" in part and "additionalProperties" in part), path
        assert {"oneOf", "allOf", "not", "$ref"}.isdisjoint(part), path
        if "x-kubernetes-validations" in spec and part.get("type") == "array":
            assert "maxItems" in part, f"{path}: without it a rule costs too much"


@pytest.mark.parametrize("plural", KINDS)
def test_columns_name_fields_that_there_are(plural: str) -> None:
    whole = schema(plural)["properties"]
    for column in crd(plural)["spec"]["versions"][0]["additionalPrinterColumns"]:
        path = re.sub(r"\[[^]]*\].*", "", column["jsonPath"]).strip(".").split(".")
        if path[0] == "metadata":
            continue
        found: Any = {"properties": whole}
        for name in path:
            assert name in found["properties"], column["jsonPath"]
            found = found["properties"][name]


@pytest.mark.parametrize(
    ("plural", "least", "model"),
    [
        ("federatedtasks", task()["spec"], TaskSpec),
        ("generators", {"source": "digits"}, GeneratorSpec),
        ("bases", {"source": "faces"}, BaseSpec),
        ("devices", {}, DeviceSpec),
    ],
)
def test_defaults_are_the_operators(plural: str, least: Object, model: Any) -> None:
    by_server = schemas.filled(schema(plural)["properties"]["spec"], copy.deepcopy(least))
    assert model.model_validate(by_server) == model.model_validate(least)
    written = model.model_validate(least).model_dump(by_alias=True, mode="json")
    missing = {key for key, value in written.items() if value is not None} - by_server.keys()
    assert not missing, "the CRD has no default for them"


def test_device_names_are_the_wires() -> None:
    devices = schema("federatedtasks")["properties"]["spec"]["properties"]["cohort"]
    pattern = devices["properties"]["devices"]["items"]["pattern"]
    assert pattern == f"^{wire.NAME.pattern}$"
    spec = schema("devices")["properties"]["spec"]
    assert spec["properties"]["deviceName"]["pattern"] == pattern


def test_a_device_whose_name_is_too_long_for_the_broker_gives_another() -> None:
    long: Object = {"metadata": {"name": "a" * 65}}
    assert "give spec.deviceName" in problems("devices", long)
    assert problems("devices", {**long, "spec": {"deviceName": "a"}}) == ""


def test_a_device_is_not_called_as_the_server_is() -> None:
    server: Object = {"metadata": {"name": "aggregator"}}
    assert "may not be called aggregator" in problems("devices", server)
    assert problems("devices", {**server, "spec": {"deviceName": "a"}}) == ""
    named: Object = {"metadata": {"name": "a"}, "spec": {"deviceName": "aggregator"}}
    assert "may not be called aggregator" in problems("devices", named)


def filled(plural: str, found: Object) -> Object:
    whole: Object = schemas.filled(schema(plural), copy.deepcopy(found))
    return {**whole, "metadata": {"name": "a", **found["metadata"]}}


def problems(plural: str, new: Object, old: Object | None = None) -> str:
    before = None if old is None else filled(plural, old)
    return "; ".join(schemas.problems(schema(plural), filled(plural, new), before))


def wanted(*requirements: Object) -> Object:
    return {"cohort": {"selector": {"matchExpressions": list(requirements)}}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rounds": 0}, "spec.rounds"),
        ({"rounds": "3"}, "spec.rounds"),
        ({"state": "Stopped"}, "spec.state"),
        ({"algorithm": {"name": "Fed TGP"}}, "spec.algorithm.name"),
        ({"algorithm": {"name": "a", "hyperparameters": [0.5]}}, "algorithm.hyperparameters"),
        ({"data": {"classNames": ["a"], "shape": [1]}}, "spec.data.classNames"),
        ({"data": {"classNames": ["a", "b"], "shape": [0]}}, "spec.data.shape.0"),
        ({"cohort": {"devices": []}}, "spec.cohort.devices"),
        ({"cohort": {"devices": ["a", "a"]}}, "spec.cohort.devices"),
        ({"cohort": {"devices": ["a/b"]}}, "spec.cohort.devices.0"),
        ({"cohort": {"devices": ["a"], "quorum": 2}}, "quorum is larger"),
        ({"cohort": {"devices": ["a", "aggregator"]}}, "may not be called aggregator"),
        ({"cohort": {"devices": ["a"], "buffer": 2}}, "buffer is larger"),
        ({"ingest": {"replicas": 1}, "cohort": {"admit": ["a*"]}}, "listed devices"),
        ({"ingest": {"replicas": 0}}, "spec.ingest.replicas"),
        ({"cohort": {"devices": ["a"], "buffer": 1, "quorum": 1}}, "buffer says how many answers"),
        ({"cohort": {"devices": ["a"], "maxStaleness": 1}}, "of rounds with a buffer"),
        ({"cohort": {"quorum": 2}}, "either devices"),
        ({"cohort": {"devices": ["a"], "selector": {}}}, "either devices"),
        ({"cohort": {"selector": {"matchLabels": {"line": "a b"}}}}, "matchLabels.line"),
        (wanted({"key": "line", "operator": "In"}), "In and NotIn have values"),
        (wanted({"key": "line", "operator": "Exists", "values": ["a"]}), "Exists and DoesNotExist"),
        (wanted({"key": "line", "operator": "Gt", "values": ["a"]}), "matchExpressions.0.operator"),
        (wanted({"key": "a line", "operator": "Exists"}), "matchExpressions.0.key"),
        ({"generator": {}}, "either name, of a Generator, or reference"),
        ({"generator": {"name": "a", "reference": "b"}}, "either name"),
        ({"base": {}}, "either name, of a Base, or reference"),
        ({"base": {"name": "a", "reference": "b"}}, "either name, of a Base"),
        ({"base": {"name": "A"}}, "spec.base.name"),
        ({"base": {"name": "a", "channel": "Beta"}}, "spec.base.channel"),
        ({"privacy": {"noise": 1}}, "spec.privacy.noise"),
        ({"privacy": {"noise": "1e3"}}, "spec.privacy.noise"),
        ({"privacy": {"noise": "0.05"}}, "at least 0.1"),
        ({"privacy": {"prototypeClip": "0.0"}}, "are above 0"),
        ({"privacy": {"delta": "1.0"}}, "delta is between 0 and 1"),
        ({"privacy": {"epsilon": "0"}}, "epsilon is above 0"),
        ({"storage": {"size": "1 GB"}}, "spec.storage.size"),
        ({"broker": {"port": 1}}, "'host' is a required property"),
        ({"resources": {"limits": {"cpu": "much"}}}, "resources.limits.cpu"),
    ],
)
def test_a_wrong_task_is_refused(changes: dict[str, Any], said: str) -> None:
    assert said in problems("federatedtasks", task(**changes))


def test_privacy_without_numbers_has_the_aggregators() -> None:
    assert problems("federatedtasks", task(privacy={"epsilon": "8"})) == ""
    spec = schema("federatedtasks")["properties"]["spec"]["properties"]["privacy"]
    numbers = PrivacySettings.model_validate(
        {alias: float(value) for alias, value in Privacy().model_dump(exclude_none=True).items()}
    )
    assert numbers == PrivacySettings()
    assert schemas.filled(spec, {}) == Privacy().model_dump(by_alias=True, exclude_none=True)


@pytest.mark.parametrize("name", ["a" * 41, "1st", "a.b"])
def test_a_name_that_no_service_can_have(name: str) -> None:
    assert "metadata.name must be" in problems("federatedtasks", task(name))
    assert problems("federatedtasks", task("a-1")) == ""


COHORT = {"devices": ["press-1", "press-2"], "quorum": 1}
LINE: Object = {"cohort": {"selector": {"matchLabels": {"line": "1"}}}}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({}, {"algorithm": {"name": "fedproto", "hyperparameters": {"a": 1}}}, "algorithm is in"),
        ({}, {"data": {"classNames": ["ok", "no"], "shape": [1, 28, 28]}}, "data is in"),
        ({}, {"rounds": task()["spec"]["rounds"] - 1}, "rounds can be added and not taken away"),
        ({}, {"rounds": task()["spec"]["rounds"] + 1}, ""),
        ({}, {"width": 4}, "width is in"),
        ({}, {"batchSize": 4}, "batchSize is in"),
        ({}, {"seed": 4}, "seed is in"),
        ({}, {"shuffle": True}, "shuffle is in"),
        ({"shuffle": True}, {"shuffle": True, "retries": 1}, ""),
        ({}, {"cohort": {"devices": ["press-1"]}}, "cohort.devices is in"),
        ({}, {"cohort": {"selector": {}}}, "cohort.selector finds"),
        (LINE, {"cohort": {"selector": {"matchLabels": {"line": "2"}}}}, "cohort.selector finds"),
        (LINE, {"cohort": {**LINE["cohort"], "quorum": 9}}, ""),
        ({}, {"cohort": {**COHORT, "robust": "median"}}, "cohort.robust is in"),
        ({}, {"cohort": {**COHORT, "robust": "auto"}}, ""),
        ({}, {"cohort": {**COHORT, "secure": True}}, "cohort.secure is in"),
        ({}, {"cohort": {**COHORT, "secure": False, "stepSeconds": 9}}, ""),
        ({}, {"generator": {"name": "a"}}, "generator is in"),
        ({"generator": {"name": "a"}}, {}, "generator is in"),
        ({"generator": {"name": "a"}}, {"generator": {"name": "b"}}, "generator is in"),
        ({}, {"base": {"name": "a"}}, "base is in"),
        ({"base": {"name": "a"}}, {}, "base is in"),
        ({"base": {"name": "a"}}, {"base": {"reference": "a"}}, "base is in"),
        ({"base": {"name": "a"}}, {"base": {"name": "a"}, "retries": 1}, ""),
        ({}, {"privacy": {}}, "privacy is in"),
        ({"privacy": {"epsilon": "8"}}, {"privacy": {"epsilon": "9"}}, "privacy is in"),
        ({"privacy": {"epsilon": "8"}}, {"privacy": {"epsilon": "8"}, "retries": 1}, ""),
        ({}, {"store": {"secretName": "a"}}, "store may not change"),
        ({}, {"ingest": {"replicas": 1}}, "ingest may not come or go"),
        ({"ingest": {"replicas": 1}}, {"ingest": {"replicas": 2}}, ""),
        ({}, {"storage": {"size": "2Gi"}}, "storage.size and"),
        ({}, {"storage": {"className": "a"}}, "storage.size and"),
        ({"state": "Cancelled"}, {}, "state is Cancelled"),
        ({}, {"cohort": {**COHORT, "deadlineSeconds": 1, "quorum": 2, "giveUpSeconds": 1}}, ""),
        ({}, {"state": "Paused", "history": True, "retries": 0, "broker": {"host": "b"}}, ""),
        ({"state": "Paused"}, {"storage": {"retain": True}, "nodeSelector": {"a": "b"}}, ""),
    ],
)
def test_what_may_change(old: dict[str, Any], new: dict[str, Any], said: str) -> None:
    found = problems("federatedtasks", task(**new), task(**old))
    assert said in found
    assert bool(said) == bool(found)


def test_the_pages_examples_are_good() -> None:
    page = (CHART.parents[1] / "docs" / "operator.md").read_text()
    blocks = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    found = [each for block in blocks for each in yaml.safe_load_all(block)]
    kinds = [each["kind"] for each in found]
    assert kinds == [
        *("FederatedTask", "Device", "Device", "FederatedTask", "Device"),
        *("Generator", "Base", "FederatedTask"),
    ]
    for each in found:
        plural = f"{each['kind'].lower()}s"
        assert problems(plural, each) == ""
        assert within(each, filled(plural, each)), "it has a field that there is not"


def within(part: Any, whole: Any) -> bool:
    if isinstance(part, dict):
        return all(key in whole and within(each, whole[key]) for key, each in part.items())
    if isinstance(part, list):
        return all(within(*pair) for pair in zip(part, whole, strict=True))
    return bool(part == whole)


def generator(**spec: Any) -> Object:
    return {"metadata": {"name": "a"}, "spec": {"source": "digits", **spec}}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({}, {"source": "other"}, "never becomes another generator"),
        ({}, {"source": "other", "version": 2}, ""),
        ({"version": 2}, {}, "version only grows"),
        ({}, {"canary": {"source": "b", "version": 2}}, ""),
        ({"version": 2}, {"version": 2, "canary": {"source": "b", "version": 2}}, "larger than"),
        (
            {"canary": {"source": "b", "version": 2}},
            {"canary": {"source": "c", "version": 2}},
            "new source a new version",
        ),
        ({"canary": {"source": "b", "version": 2}}, {"source": "b", "version": 2}, ""),
        ({}, {"state": "Unloaded", "serving": {"gpu": True}}, ""),
        ({}, {"source": "-x"}, "spec.source"),
    ],
)
def test_a_generators_versions(old: dict[str, Any], new: dict[str, Any], said: str) -> None:
    found = problems("generators", generator(**new), generator(**old))
    assert said in found
    assert bool(said) == bool(found)


def test_every_algorithm_has_a_name_that_a_task_can_ask_for() -> None:
    for name in algorithms.names():
        assert problems("federatedtasks", task(algorithm={"name": name})) == ""


def base(**spec: Any) -> Object:
    return {"metadata": {"name": "a"}, "spec": {"source": "faces", **spec}}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({}, {"source": "other"}, "never becomes another base"),
        ({}, {"source": "auto?shape=3x32x32&generator=gan-face", "version": 2}, ""),
        ({}, {"source": "http://bases.other.svc:9466/faces?version=3", "version": 2}, ""),
        ({"version": 2}, {}, "version only grows"),
        ({}, {"canary": {"source": "b", "version": 2}}, ""),
        ({"version": 2}, {"version": 2, "canary": {"source": "b", "version": 2}}, "larger than"),
        (
            {"canary": {"source": "b", "version": 2}},
            {"canary": {"source": "c", "version": 2}},
            "new source a new version",
        ),
        ({"canary": {"source": "b", "version": 2}}, {"source": "b", "version": 2}, ""),
        ({}, {"state": "Stopped", "resources": {"limits": {"memory": "8Gi"}}}, ""),
        ({}, {"storage": {"size": "2Gi"}}, "storage may not change"),
        ({}, {"state": "Unloaded"}, "spec.state"),
        ({}, {"source": "-x"}, "spec.source"),
        ({}, {"source": "$(HOME)"}, "spec.source"),
        ({}, {"source": "a b"}, "spec.source"),
    ],
)
def test_a_bases_versions(old: dict[str, Any], new: dict[str, Any], said: str) -> None:
    found = problems("bases", base(**new), base(**old))
    assert said in found
    assert bool(said) == bool(found)
