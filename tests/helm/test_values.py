"""Values: a wrong one is refused with its name; each is in the schema and in the README."""

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from cloud.aggregator.settings import CohortSettings, TaskSettings
from edge.agent.settings import DataSettings, TrainingSettings
from tests.helm import chart
from tests.helm.chart import CHART, ROOT

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())

WRONG = {  # of each key at the top: a value that is refused, and what names it
    "nameOverride": ("nameOverride=Big", "/nameOverride"),
    "fullnameOverride": ("fullnameOverride=a_b", "/fullnameOverride"),
    "clusterDomain": ("clusterDomain=-", "/clusterDomain"),
    "commonLabels": ("commonLabels.a=1", "/commonLabels/a"),
    "logFormat": ("logFormat=xml", "/logFormat"),
    "trace": ("trace.endpoint=collector:4318", "/trace/endpoint"),
    "global": ("global=1", "/global"),
    "image": ("image.tag=latest", "/image/tag"),
    "securityContext": ("securityContext.privileged=true", "/securityContext/privileged"),
    "tls": ("tls.source=letsencrypt", "/tls/source"),
    "broker": ("broker.service.port=70000", "/broker/service/port"),
    "triton": ("triton.mode=tpu", "/triton/mode"),
    "aggregators": ("aggregators[0].name=A", "/aggregators/0"),
    "aggregator": ("aggregator.persistence.size=big", "/aggregator/persistence/size"),
    "database": ("database.url=mysql://db", "/database/url"),
    "operator": ("operator.logLevel=loud", "/operator/logLevel"),
    "generatorService": ("generatorService.image.digest=1", "/generatorService/image/digest"),
    "agent": ("agent.dataPath=data", "/agent/dataPath"),
    "authority": ("authority.days=1000", "/authority/days"),
    "networkPolicy": ("networkPolicy.deviceCIDRs[0]=all", "/networkPolicy/deviceCIDRs/0"),
    "monitoring": ("monitoring.interval=often", "/monitoring/interval"),
    "tests": ("tests.enabled=maybe", "/tests/enabled"),
    "extraObjects": ("extraObjects[0]=1", "/extraObjects/0"),
}


def test_each_key_at_the_top_has_a_wrong_value() -> None:
    assert set(WRONG) == set(VALUES) == set(SCHEMA["properties"])


@pytest.mark.parametrize("key", WRONG)
def test_a_wrong_value_is_named(key: str) -> None:
    value, pointer = WRONG[key]
    assert f"at '{pointer}" in chart.refused("--set", value)


OPEN = "global"
"""Which helm fills with the keys of other charts, too."""

CLOSED = [
    key for key, schema in SCHEMA["properties"].items() if "properties" in schema and key != OPEN
]


@pytest.mark.parametrize("key", CLOSED)
def test_a_key_that_is_not_there_is_named(key: str) -> None:
    said = chart.refused("--set", f"{key}.enabeld=true")
    assert f"at '/{key}': additional properties 'enabeld' not allowed" in said


TOGETHER = [  # values that are right one by one, and what is said of them
    ("broker.enabled=false,tls.source=none", "broker.external.host: is needed"),
    ("broker.enabled=false,broker.external.host=b", "tls.source: an external broker trusts no"),
    ("broker.external.path=/mqtt", "broker.external.path: is a websocket's"),
    ("tls.source=none,broker.external.alpn=mqtt", "broker.external.alpn: is what TLS asks for"),
    ("tls.source=secrets", "tls.secrets.aggregator: is needed"),
    ("tls.source=secrets,tls.secrets.aggregator=a", "tls.secrets.broker: is needed"),
    (
        "tls.source=secrets,tls.secrets.aggregator=a,tls.secrets.broker=b,"
        "agent.enabled=true,agent.task=t",
        "tls.secrets.agent: is needed",
    ),
    ("tls.source=none,tls.devices[0]=d", "tls.devices: certificates are made only where"),
    ("tls.clientCertificates=false", "tls.clientCertificates: the bundled broker knows"),
    ("triton.keda.enabled=true,triton.autoscaling.enabled=true", "two scalers would fight"),
    ("triton.autoscaling.minReplicas=5", "minReplicas is 5 and maxReplicas is 4"),
    ("triton.keda.minReplicas=5", "minReplicas is 5 and maxReplicas is 4"),
    ("triton.external=t:8001", "triton.external: is for a release without a Triton"),
    ("triton.repository.kind=url", "triton.repository.url: is needed"),
    (
        "triton.repository.kind=claim,triton.replicaCount=2",
        "triton.repository.claim.accessModes: several pods share the volume",
    ),
    ("database.url=postgresql://a,database.bundled.enabled=true", "three answers to one"),
    ("agent.enabled=true", "agent.task: is needed"),
    ("authority.enabled=true,tls.source=none", "authority.enabled: needs tls.source generated"),
    (
        "authority.enabled=true,broker.enabled=false,broker.external.host=b,tls.source=none",
        "authority.enabled: keeps the rights of the bundled broker",
    ),
    ("authority.enabled=true,tls.devices[0]=d", "tls.devices: devices enrol where"),
    (
        "authority.enabled=true,agent.enabled=true,agent.task=t",
        "agent.enrolment.tokenSecret.name: is needed where authority.enabled",
    ),
]


@pytest.mark.parametrize(("values", "sentence"), TOGETHER)
def test_values_that_contradict_one_another(values: str, sentence: str) -> None:
    assert sentence in chart.refused("--set", values)


def test_two_tasks_of_one_name(tmp_path: Path) -> None:
    trial = yaml.safe_load((CHART / "ci" / "trial-values.yaml").read_text())
    trial["aggregators"] *= 2
    assert "shop-floor is there twice" in chart.refused("-f", written(tmp_path, trial))


def test_a_name_that_is_too_long_for_pods(tmp_path: Path) -> None:
    trial = yaml.safe_load((CHART / "ci" / "trial-values.yaml").read_text())
    trial["aggregators"][0]["name"] = "x" * 39
    assert "is longer than the 52 letters" in chart.refused("-f", written(tmp_path, trial))


def written(folder: Path, values: Any) -> Path:
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def objects(schema: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every part of a schema that lists an object's keys."""
    if isinstance(schema, dict):
        if "properties" in schema:
            yield path, schema
        for key, value in schema.items():
            yield from objects(value, f"{path}/{key}")
    elif isinstance(schema, list):
        for value in schema:
            yield from objects(value, path)


def test_no_object_takes_unknown_keys() -> None:
    found = list(objects(SCHEMA, ""))
    assert len(found) > 40
    taking = [path for path, each in found if each.get("additionalProperties") is not False]
    assert taking == [f"/properties/{OPEN}"]


def resolved(schema: Any) -> Any:
    while "$ref" in schema:
        schema = SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]]
    return schema


def missing(values: Any, schema: Any, path: str) -> Iterator[str]:
    """Yield the keys that only one of values and schema has."""
    schema = resolved(schema)
    if not isinstance(values, dict) or "properties" not in schema:
        return
    yield from (
        f"{path}.{key} is not in the schema" for key in values.keys() - schema["properties"]
    )
    for key, value in values.items():
        yield from missing(value, schema["properties"].get(key, {}), f"{path}.{key}")


def test_every_value_is_in_the_schema() -> None:
    assert list(missing(VALUES, SCHEMA, "")) == []


def keys_of(path: str) -> set[str]:
    schema = SCHEMA
    for name in path.split("/"):
        schema = resolved(schema[name])
    return set(schema["properties"])


def test_tasks_and_devices_have_the_keys_of_their_files() -> None:
    made = {"name", "folder", "broker", "http", "store", "store_file"}
    made |= {"trace"}  # one collector for all
    made |= {"ingest"}  # processes beside an aggregator: a FederatedTask has them
    made |= {"authority"}  # and no `edgeloop ca serve`
    assert keys_of("definitions/task") == set(TaskSettings.model_fields) - made
    cohort = "definitions/task/properties/cohort"
    assert keys_of(cohort) == set(CohortSettings.model_fields)
    agent = "properties/agent/properties"
    assert keys_of(f"{agent}/data") == set(DataSettings.model_fields) - {"source"}
    assert keys_of(f"{agent}/training") == set(TrainingSettings.model_fields)


SCRIPT = SimpleNamespace(**runpy.run_path(str(ROOT / "tools" / "chart_readme.py")))


def test_the_readme_is_current() -> None:
    assert (CHART / "README.md").read_text() == SCRIPT.readme(), "run tools/chart_readme.py"


def test_every_value_is_described() -> None:
    text = (CHART / "values.yaml").read_text()
    described = SCRIPT.keys(text)
    with_words = {each.path for each in described if each.words}
    for each in described:
        above = {each.path[:length] for length in range(1, len(each.path) + 1)}
        inner = [path for path in with_words if path[: len(each.path)] == each.path]
        assert above & with_words or inner, each.path


def test_the_table_has_a_row_for_each_description() -> None:
    text = "# -- One\na: 1\nb:\n  # -- Two | three\n  c: {x: 2}\n"
    assert SCRIPT.rows(text)[2:] == [
        "| `a` | `1` | One |",
        '| `b.c` | `{"x": 2}` | Two \\| three |',
    ]
