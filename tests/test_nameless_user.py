"""Every image's command as its user, without a passwd entry, HOME and USER, at work."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.ports import free_port
from tests import dockerfile, strangers
from tests.cloud.operator.api_server import ApiServer
from tests.cloud.operator.cluster import (
    KINDS,
    NAMESPACE,
    OPERATOR,
    Cluster,
    crd,
    rules,
    task,
    wait,
)
from tests.cloud.operator.conftest import kubeconfig
from tests.one_device import EDGELOOP, Task, write_data

IMAGES = {  # of each image: the test here that runs its command
    "aggregator": "test_an_aggregator_and_an_agent_do_their_rounds",
    "generator-service": "test_the_generator_service_writes_and_lists",
    "operator": "test_an_operator_leads_and_takes_down",
    "agent": "test_an_aggregator_and_an_agent_do_their_rounds",
}


@pytest.fixture(autouse=True)
def _root() -> None:
    strangers.check()


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder of the user's."""
    with strangers.folder() as made:
        yield made


def test_every_image_is_here() -> None:
    assert set(dockerfile.IMAGES) == set(IMAGES)
    for image, test in IMAGES.items():
        text = dockerfile.image(image)
        assert 'ENTRYPOINT ["edgeloop"]' in text
        assert f"USER {strangers.USER}:{strangers.USER}" in text
        assert test in globals()


def test_an_operator_leads_and_takes_down(tmp_path: Path, place: Path) -> None:
    server = ApiServer()
    for plural in KINDS:
        server.store.define(crd(plural))
    server.roles[OPERATOR] = {
        NAMESPACE: [*rules(), *rules("operator-lease-rules")],
        "": rules("operator-cluster-rules"),
    }
    config, log = tmp_path / "kubeconfig", tmp_path / "log"
    flags = ["--namespace", NAMESPACE, "--aggregator-image", "i", "--broker-host", "b"]
    flags += ["--port", "0", "--interval", "0.2", "--forget", "1"]
    with server:
        config.write_text(kubeconfig(server.url))
        headers = {"Authorization": "Bearer admin"}
        told = {"KUBECONFIG": str(config), "NO_PROXY": "127.0.0.1"}
        with (
            httpx.Client(base_url=server.url, headers=headers, trust_env=False) as client,
            strangers.running([EDGELOOP, "operator", *flags], place, log, **told) as process,
        ):
            cluster = Cluster(server.url, client, collects=True)
            cluster.create("federatedtasks", task())
            wait("it is seen", lambda: cluster.status("shop-floor").get("phase"))
            assert process.poll() is None, log.read_text()
            cluster.delete("federatedtasks", "shop-floor")
            wait("it is gone", lambda: cluster.get("federatedtasks", "shop-floor") is None)
    assert not server.denied


@pytest.mark.broker
def test_an_aggregator_and_an_agent_do_their_rounds(
    tmp_path: Path, place: Path, broker: BrokerSettings
) -> None:
    source = write_data(tmp_path / "data")
    mine = Task(place, source, broker, None, "fedproto", {})
    device = place / "device.toml"
    settings = mine.device()
    device.write_text(
        f'name = "{settings.name}"\ntask = "{settings.task}"\nfolder = "{place / "device"}"\n'
        f'broker = {{ port = {broker.port} }}\n[data]\nsource = "{source}"\n'
        f'[training]\narchitecture = "{settings.training.architecture}"\n'
    )
    commands = {
        "aggregator": [EDGELOOP, "aggregator", "--config", str(mine.config())],
        "agent": [EDGELOOP, "agent", "--config", str(device)],
    }
    logs = {each: tmp_path / f"{each}.log" for each in commands}
    with (
        strangers.running(commands["aggregator"], place, logs["aggregator"]) as cloud,
        strangers.running(commands["agent"], place, logs["agent"]) as edge,
    ):
        assert edge.wait(120) == 0, logs["agent"].read_text()
        assert cloud.wait(60) == 0, logs["aggregator"].read_text()


def test_without_a_broker_both_say_so(tmp_path: Path, place: Path) -> None:
    source = write_data(tmp_path / "data")
    mine = Task(place, source, BrokerSettings(port=free_port()), None, "fedproto", {})
    text = mine.config().read_text()
    mine.config().write_text(text.replace("broker = {", "broker = { connect_seconds = 1,"))
    log = tmp_path / "log"
    command = [EDGELOOP, "aggregator", "--config", str(place / "task.toml")]
    with strangers.running(command, place, log) as process:
        assert process.wait(60) == 75
    assert "broker" in log.read_text().lower()


def test_the_generator_service_writes_and_lists(tmp_path: Path, place: Path) -> None:
    models, log = place, tmp_path / "log"
    command = [EDGELOOP, "generator", "serve-files", "digits", str(models)]
    with strangers.running(command, models, log) as process:
        assert process.wait(60) == 0, log.read_text()
    assert (models / "digits-synthesis" / "1" / "model.onnx").is_file()
    with strangers.running([EDGELOOP, "generator", "list"], models, log) as process:
        code = process.wait(60)
    assert code in (0, 2), log.read_text()
    assert "Traceback" not in log.read_text()
    with strangers.running([EDGELOOP, "generator", "serve", "digits"], models, log) as process:
        assert process.wait(60) == 2
    assert re.search(r"HOME: is not set, and user 10001 has no home; set it", log.read_text())


def test_an_error_names_what_to_set(tmp_path: Path, place: Path) -> None:
    program = "from edgeloop.runtime import atomic_files; atomic_files.home()"
    log = tmp_path / "log"
    with strangers.running([sys.executable, "-c", program], place, log) as process:
        assert process.wait(60) == 1
    assert "ConfigError: HOME: is not set" in log.read_text()
