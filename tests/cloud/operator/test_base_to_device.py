"""A base on its whole way: its object, its server, a task's aggregator, a device that uses it."""

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.ports import free_port
from tests import forked
from tests.bases.served import write_base
from tests.cloud.operator import test_bases as bases
from tests.cloud.operator import test_real_aggregator as aggregators
from tests.cloud.operator.cluster import Cluster, Object, task, wait
from tests.cloud.operator.conftest import StartOperator
from tests.cloud.operator.kubelet import Container, Kubelet

device = aggregators.device


@pytest.mark.broker
def test_a_device_computes_on_the_base_that_the_cluster_serves(
    tmp_path: Path,
    cluster: Cluster,
    start_operator: StartOperator,
    broker: BrokerSettings,
    world: Path,
    device: list[str],
) -> None:
    identity = write_base(tmp_path / "faces", shape=(1, 28, 28))
    server = bases.Node(tmp_path / "bases", free_port())
    node = aggregators.Node(cluster, tmp_path, free_port())

    def start(of: Object) -> Container:
        return server.start(of) if of["metadata"]["name"] == bases.POD else node.start(of)

    names = json.loads((world / "config.json").read_text())["class_names"]
    wanted = task(
        algorithm=bases.STATISTICS,
        base={"name": bases.NAME},
        data={"classNames": names, "shape": [1, 28, 28]},
        cohort={"devices": ["client-00"]},
        broker={"host": "127.0.0.1", "port": broker.port},
        rounds=1,
    )
    with Kubelet(cluster, start, rolls=True), ExitStack() as stack:
        start_operator(*server.flags, "--aggregator-url", f"http://127.0.0.1:{node.port}")
        cluster.create("bases", bases._base(tmp_path / "faces"))
        cluster.create("federatedtasks", wanted)
        agent = forked.start(device)
        stack.callback(agent.wait)
        stack.callback(agent.kill)
        wait("the end", lambda: cluster.status("shop-floor").get("phase") == "Succeeded", 120)
        told = bases._bound(cluster, "Bound")
        assert agent.wait(60) == 0
    assert identity in told["message"]
    summary = json.loads((tmp_path / "device" / "summary.json").read_text())
    kept = [path.read_bytes() for path in (tmp_path / "device").rglob("*.onnx")]
    assert summary["run"] == cluster.status("shop-floor")["run"]
    assert (tmp_path / "faces" / "features.onnx").read_bytes() in kept
