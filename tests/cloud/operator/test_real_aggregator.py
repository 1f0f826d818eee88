"""A task through its whole life, with a real aggregator, a real broker and a real device."""

import base64
import json
import os
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import tomli_w

from cloud.operator import aggregators, certificates
from cloud.operator.certificates import Pair, Wanted
from cloud.operator.status import AggregatorStatus
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.ports import free_port
from tests import forked
from tests.cloud.operator.cluster import Cluster, Object, condition, task, wait
from tests.cloud.operator.conftest import EDGELOOP, StartOperator
from tests.cloud.operator.job_runner import JobRunner
from tests.cloud.operator.kubelet import Kubelet
from tests.world import mosquitto_with


@dataclass
class Process:
    """The aggregator of a pod."""

    process: forked.Forked

    def stop(self) -> None:
        """End it as Kubernetes ends a pod."""
        self.process.terminate()
        assert self.process.wait(60) == 0, "it did not end as asked"


@dataclass
class Node:
    """Runs a pod's command with its ConfigMap, on this machine's ports and folders.

    Attributes:
        cluster: whose ConfigMaps.
        folder: the task's volume, and what is said.
        port: of the aggregator's HTTP interface.
    """

    cluster: Cluster
    folder: Path
    port: int

    def start(self, of: Object) -> Process:
        """Run what a StatefulSet asks for."""
        held = self.cluster.get("configmaps", of["metadata"]["name"])
        assert held is not None
        table = tomllib.loads(held["data"]["task.toml"])
        volumes = {each["name"]: each for each in of["spec"]["template"]["spec"]["volumes"]}
        assert volumes["task"]["configMap"]["name"] == of["metadata"]["name"]
        table["folder"] = str(self.folder / "volume")
        self._mount_certificate(table["broker"], volumes)
        table["http"] |= {"host": "127.0.0.1", "port": self.port}
        config = self.folder / "task.toml"
        config.write_text(tomli_w.dumps(table))
        program, *command = of["spec"]["template"]["spec"]["containers"][0]["command"]
        assert (program, command[-1]) == ("edgeloop", "/etc/edgeloop/task/task.toml")
        with (self.folder / "aggregator.log").open("ab") as log:
            return Process(forked.start([EDGELOOP, *command[:-1], config], stderr=log))

    def _mount_certificate(self, broker: Object, volumes: Object) -> None:
        """Give the aggregator the files of its secret, if it has one."""
        if "tls" not in volumes:
            return
        held = self.cluster.get("secrets", volumes["tls"]["secret"]["secretName"])
        assert held is not None
        place = self.folder / "tls"
        place.mkdir(exist_ok=True)
        for name, text in held["data"].items():
            (place / name).write_bytes(base64.b64decode(text))
        for key, value in broker.items():
            if str(value).startswith("/etc/edgeloop/tls/"):
                broker[key] = str(place / Path(value).name)


@pytest.fixture
def device(tmp_path: Path, world: Path, broker: BrokerSettings) -> list[str]:
    """The command of a device of the small world."""
    config = tmp_path / "device.toml"
    table = {
        "name": "client-00",
        "task": "plant.shop-floor",
        "folder": str(tmp_path / "device"),
        "broker": {"port": broker.port},
        "data": {"source": str(world), "client": 0},
        "training": {"architecture": "cnn", "threads": 1, "mix": "never"},
        "model": {"every_rounds": 0},
    }
    config.write_text(tomli_w.dumps(table))
    return [EDGELOOP, "agent", "--config", str(config)]


@pytest.mark.broker
def test_a_task_with_a_real_aggregator(
    tmp_path: Path,
    cluster: Cluster,
    start_operator: StartOperator,
    broker: BrokerSettings,
    world: Path,
    device: list[str],
) -> None:
    node = Node(cluster, tmp_path, free_port())
    names = json.loads((world / "config.json").read_text())["class_names"]
    wanted = task(
        data={"classNames": names, "shape": [1, 28, 28]},
        cohort={"devices": ["client-00"]},
        broker={"host": "127.0.0.1", "port": broker.port},
        rounds=2,
        width=16,
    )
    with Kubelet(cluster, node.start) as kubelet, ExitStack() as stack:
        start_operator("--aggregator-url", f"http://127.0.0.1:{node.port}")
        cluster.create("federatedtasks", wanted)
        wait("it is ready", lambda: _ready(cluster))
        run = cluster.status("shop-floor")["run"]
        cluster.patch("federatedtasks", "shop-floor", {"spec": {"state": "Paused"}})
        wait("no aggregator is left", lambda: not kubelet.running)
        cluster.patch("federatedtasks", "shop-floor", {"spec": {"state": "Running"}})
        agent = forked.start(device)
        stack.callback(agent.wait)
        stack.callback(agent.kill)
        wait("the end", lambda: cluster.status("shop-floor")["phase"] == "Succeeded", 120)
        status = cluster.status("shop-floor")
        wait("no aggregator is left", lambda: not kubelet.running)
        aggregator = cluster.listed("statefulsets")
    summary = json.loads((tmp_path / "volume" / "summary.json").read_text())
    assert (status["run"], status["progress"], status["participants"]) == (run, "2/2", 1)
    assert summary["run"] == run
    assert status["accuracy"] == f"{summary['accuracy_by_round'][-1]:.4f}"
    again = node.start(aggregator[0])
    told = wait("it has found out", lambda: _finished(node.port))
    again.stop()
    assert (told.run, told.finished, told.round, told.obstacles) == (run, True, 2, ())
    assert told.accuracy == summary["accuracy_by_round"][-1], "as it ended, without its devices"


@dataclass
class Signed:
    """An authority as the chart has one, in a folder, and a Mosquitto that trusts it.

    Attributes:
        folder: with tls.crt and tls.key.
        port: of the broker.
    """

    folder: Path
    port: int

    def issue(self, name: str, task: str = "", **hosts: tuple[str, ...]) -> Path:
        """Sign a certificate, as the chart's job does; return its folder."""
        authority = Pair(*((self.folder / each).read_bytes() for each in ("tls.crt", "tls.key")))
        wanted = Wanted(secret="s", name=name, task=task, **hosts)  # noqa: S106 - its name
        pair, place = certificates.signed(wanted, authority, 1, datetime.now(UTC)), self.folder
        place = self.folder.parent / f"{name}-tls"
        place.mkdir()
        found = {"ca.crt": authority.certificate, "tls.crt": pair.certificate, "tls.key": pair.key}
        for file, content in found.items():
            (place / file).write_bytes(content)
        return place


@pytest.fixture
def signed(tmp_path: Path) -> Iterator[Signed]:
    folder, port = tmp_path / "authority", free_port()
    folder.mkdir()
    made, found = certificates.new_authority("r-authority", datetime.now(UTC)), Signed(folder, port)
    (folder / "tls.crt").write_bytes(made.certificate)
    (folder / "tls.key").write_bytes(made.key)
    own = found.issue("broker", addresses=("127.0.0.1",))
    lines = [f"listener {port} 127.0.0.1", "require_certificate true", "allow_anonymous false"]
    lines += [f"cafile {own}/ca.crt", f"certfile {own}/tls.crt", f"keyfile {own}/tls.key"]
    lines += ["use_identity_as_username true", *(["user root"] if os.geteuid() == 0 else [])]
    (own / "mosquitto.conf").write_text("\n".join([*lines, ""]))
    with mosquitto_with(own / "mosquitto.conf", port):
        yield found


@pytest.mark.broker
def test_a_task_that_is_signed_end_to_end(
    tmp_path: Path,
    cluster: Cluster,
    start_operator: StartOperator,
    signed: Signed,
    world: Path,
    device: list[str],
) -> None:
    """From `kubectl apply` to Succeeded; who has signed nothing takes no part in it."""
    node = Node(cluster, tmp_path, free_port())
    names = json.loads((world / "config.json").read_text())["class_names"]
    data = {"classNames": names, "shape": [1, 28, 28]}
    files = {"ca_file": "ca.crt", "certificate_file": "tls.crt", "key_file": "tls.key"}
    with Kubelet(cluster, node.start), ExitStack() as stack:
        flags = ["--authority-folder", str(signed.folder), "--signatures", "required"]
        flags += ["--broker-host", "127.0.0.1", "--broker-port", str(signed.port)]
        start_operator("--aggregator-url", f"http://127.0.0.1:{node.port}", *flags)
        cohort = {"devices": ["client-00", "client-01"], "quorum": 1, "deadlineSeconds": 5}
        cluster.create("federatedtasks", task(data=data, cohort=cohort, rounds=2, width=16))
        for name, signs in (("client-00", "required"), ("client-01", "off")):
            own = signed.issue(name, "plant.shop-floor")
            broker = {key: str(own / file) for key, file in files.items()}
            place = {"host": "127.0.0.1", "port": signed.port, "signatures": signs}
            held = tomllib.loads(Path(device[-1]).read_text())
            held |= {"name": name, "folder": str(tmp_path / name), "broker": {**place, **broker}}
            path = tmp_path / f"{name}.toml"
            path.write_text(tomli_w.dumps(held))
            log = stack.enter_context((tmp_path / f"{name}.log").open("wb"))
            agent = subprocess.Popen([*device[:-1], str(path)], stderr=log)
            stack.callback(agent.wait)
            stack.callback(agent.kill)
        wait("the end", lambda: cluster.status("shop-floor").get("phase") == "Succeeded", 120)
        status = cluster.status("shop-floor")
        places = {"/etc/edgeloop/task/task.toml": tmp_path / "task.toml"}
        with JobRunner(cluster, EDGELOOP, places) as jobs:
            cluster.delete("federatedtasks", "shop-floor")
            wait("it is gone", lambda: cluster.get("federatedtasks", "shop-floor") is None)
        assert len(jobs.ran) == 1, "what takes back what it left shows the aggregator's certificate"
        assert "LeftBehind" not in [each["reason"] for each in cluster.listed("events")]
    assert (status["progress"], status["participants"]) == ("2/2", 1)
    table = tomllib.loads((tmp_path / "task.toml").read_text())
    assert table["broker"]["signatures"] == "required"
    assert "signatures" in (tmp_path / "client-01.log").read_text(), "it was told why"


def _finished(port: int) -> AggregatorStatus | None:
    told = aggregators.fetch_status(f"http://127.0.0.1:{port}", 5.0)
    return told if told is not None and told.finished else None


def _ready(cluster: Cluster) -> bool:
    status = cluster.status("shop-floor")
    return "conditions" in status and condition(status, "Ready")["status"] == "True"
