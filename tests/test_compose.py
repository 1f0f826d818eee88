"""compose.yaml: as the Compose specification says, with the chart's versions and our doors' files.

Its containers are not run here: its configuration files are, as processes.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from cloud.aggregator.settings import TaskSettings
from edge.agent.settings import DeviceSettings
from edgeloop.runtime.config import read
from edgeloop.runtime.ports import free_port
from tests.cloud.stack import stacks
from tests.world import StartBroker

ROOT = Path(__file__).parent.parent
TASKS, DEVICES = ("task", "task-triton"), ("press-1", "press-2")


def interpolated() -> str:
    """Return the file as it is where no variable is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (ROOT / "compose.yaml").read_text())


def parsed(whole: dict[str, Any]) -> PyCompose:
    """Read a file without YAML's anchors and merges, which the specification leaves to YAML."""
    return PyCompose.from_yaml(yaml.safe_dump(whole))


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return dict(yaml.safe_load(interpolated())["services"])


def test_it_is_as_the_specification_says() -> None:
    found = parsed(yaml.safe_load(interpolated()))
    assert found.services is not None
    assert set(found.services) == {
        *("broker", "aggregator", *DEVICES),
        *("models", "triton", "prometheus"),
    }


def test_a_wrong_key_would_be_found() -> None:
    whole = yaml.safe_load(interpolated())
    whole["services"]["broker"]["depend_on"] = ["triton"]
    with pytest.raises(ValueError, match="depend_on"):
        parsed(whole)


def test_images_are_the_charts(services: dict[str, Any]) -> None:
    values = yaml.safe_load((ROOT / "helm" / "edgeloop" / "values.yaml").read_text())
    for service, key in (("broker", "broker"), ("triton", "triton")):
        image = values[key]["image"]
        assert services[service]["image"] == f"{image['repository']}:{image['tag']}"
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    ours = {services[name]["image"] for name in ("aggregator", *DEVICES, "models")}
    names = ("aggregator", "agent", "generator-service")
    assert ours == {f"edgeloop-{name}:{version}" for name in names}


def test_every_mounted_file_is_there(services: dict[str, Any]) -> None:
    mounted = [each for service in services.values() for each in service["volumes"]]
    places = {each.split(":")[0] for each in mounted if each.startswith("./")}
    assert len(places) == 6
    for place in places:
        assert (ROOT / place).exists(), place


def test_nothing_is_open_to_the_network_and_nobody_is_root(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_one(name: str, services: dict[str, Any]) -> None:
    settings = read(ROOT / "compose" / f"{name}.toml", TaskSettings)
    assert settings.broker.host in services
    assert settings.cohort.devices == DEVICES
    assert f":{settings.folder}" in services["aggregator"]["volumes"][1]
    if settings.generator is not None:
        assert settings.generator == "triton://triton:8001/digits"


@pytest.mark.parametrize("name", DEVICES)
def test_a_device_is_one(name: str, services: dict[str, Any]) -> None:
    settings = read(ROOT / "compose" / f"{name}.toml", DeviceSettings)
    assert (settings.name, settings.task) == (name, "shop-floor")
    assert settings.broker.host in services
    assert services[name]["volumes"][1] == f"{name}:{settings.folder}"


@pytest.mark.broker
def test_its_files_run_a_task(tmp_path: Path, start_broker: StartBroker) -> None:
    port = free_port()
    (tmp_path / "data").mkdir()
    broker = (ROOT / "compose" / "mosquitto.conf").read_text()
    broker = broker.replace("listener 1883", f"user root\nlistener {port} 127.0.0.1")
    (tmp_path / "own.conf").write_text(broker.replace("/mosquitto/data", str(tmp_path / "data")))
    http = {"port": free_port()}
    task = {**_table("task"), "rounds": 1, "http": http, "folder": str(tmp_path / "task")}
    agents = [
        {**_table(name), "stay": False, "folder": str(tmp_path / name), "broker": {}}
        for name in DEVICES
    ]
    stack: dict[str, object] = {
        "folder": str(tmp_path / "stack"),
        "broker": {"port": port, "config_file": str(tmp_path / "own.conf")},
        "aggregators": [{**task, "broker": {}}],
        "agents": agents,
    }
    with stacks.running(stacks.write(tmp_path, stack)) as up:
        assert up.end() == 0, up.said()
    assert "round 0 of 1 closed: 2 answers" in up.said()


def _table(name: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / "compose" / f"{name}.toml").read_text())
