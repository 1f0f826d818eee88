"""A task through its whole life, with a real aggregator, a real broker and a real device."""

import json
import tomllib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import tomli_w

from cloud.operator import aggregators
from cloud.operator.status import AggregatorStatus
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.ports import free_port
from tests import forked
from tests.cloud.operator.cluster import Cluster, Object, condition, task, wait
from tests.cloud.operator.conftest import EDGELOOP, StartOperator
from tests.cloud.operator.kubelet import Kubelet


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
        table["http"] |= {"host": "127.0.0.1", "port": self.port}
        config = self.folder / "task.toml"
        config.write_text(tomli_w.dumps(table))
        program, *command = of["spec"]["template"]["spec"]["containers"][0]["command"]
        assert (program, command[-1]) == ("edgeloop", "/etc/edgeloop/task/task.toml")
        with (self.folder / "aggregator.log").open("ab") as log:
            return Process(forked.start([EDGELOOP, *command[:-1], config], stderr=log))


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


def _finished(port: int) -> AggregatorStatus | None:
    told = aggregators.fetch_status(f"http://127.0.0.1:{port}", 5.0)
    return told if told is not None and told.finished else None


def _ready(cluster: Cluster) -> bool:
    status = cluster.status("shop-floor")
    return "conditions" in status and condition(status, "Ready")["status"] == "True"
