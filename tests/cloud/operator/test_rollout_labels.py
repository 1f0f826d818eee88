"""Roll-outs to groups of a FederatedTask's devices, by the labels of the cluster's Devices."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import edgeloop
from edgeloop.errors import InputError
from edgeloop.remote.client import Console
from edgeloop.remote.rollouts import NewGroup, NewRollout, Rollout
from edgeloop.runtime.config import BrokerSettings
from tests.cloud.console.crowd import crowd
from tests.cloud.console.serving import aggregator, console, status
from tests.cloud.operator.api_server import ADMIN
from tests.cloud.operator.cluster import NAMESPACE, OPERATOR, Cluster, device, task
from tests.cloud.operator.conftest import kubeconfig
from tests.devices import wait_until
from tests.postgres import Postgres

pytestmark = pytest.mark.broker

TASK = f"{NAMESPACE}.doors"
LINE = "plant.example/line"
BAD = "no classes\nof mine\0"
"""No text that PostgreSQL takes."""


@pytest.fixture
def client(
    tmp_path: Path,
    cluster: Cluster,
    broker: BrokerSettings,
    postgres: Postgres,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Console]:
    """A server of a task of press-0 to press-3, of which all but the last have a Device."""
    config = tmp_path / "kubeconfig"
    config.write_text(kubeconfig(cluster.url).replace(OPERATOR, ADMIN))
    place = "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"
    monkeypatch.setattr(place, str(config))
    cluster.create("federatedtasks", task("doors"))
    cluster.create(
        "devices", device("node-7", {"deviceName": "press-1"}, site="north", **{LINE: "b"})
    )
    for name, labels in (
        ("press-0", {"site": "north", LINE: "a.1"}),
        ("press-2", {"site": "south", LINE: "a.1"}),
        ("saw-1", {"site": "north", LINE: "a.1"}),  # of another task
    ):
        cluster.create("devices", device(name, None, **labels))
    with aggregator(lambda: status(TASK)) as url, crowd(TASK, broker, ["press-2"], BAD):
        settings: dict[str, Any] = {
            "namespaces": [NAMESPACE],
            "aggregator_url": url,
            "store": postgres.database(),
            "broker": {"port": broker.port},
        }
        with console(tmp_path / "server", **settings) as running:
            running.wait("/api/v1/devices", lambda page: len(page["items"]) == 4)
            with edgeloop.connect(running.url, token=running.tokens["operator"]) as found:
                yield found


def asked(client: Console, *groups: NewGroup) -> Rollout:
    facts = {"name": "next", "task": TASK, "kind": "settings", "settings": {"health": False}}
    return client.create_rollout(NewRollout.model_validate({**facts, "groups": groups}))


def test_groups_are_chosen_by_labels(client: Console) -> None:
    north = NewGroup(labels={"site": "north", LINE: "a.1"})
    made = asked(client, north, NewGroup(labels={"site": "north"}), NewGroup(error=0.6))
    wait_until(lambda: client.rollout(made.rollout).state == "stopped")
    found = {each.device: each for each in client.rollout_devices(made.rollout)}
    assert {name: each.group for name, each in found.items()} == {
        "press-0": 0,
        "press-1": 1,
        "press-2": 2,
        "press-3": 2,
    }
    assert [each.state for each in found.values()] == ["applied", "applied", "failed", "applied"]
    assert found["press-2"].reason == "no classes\\nof mine\\x00"
    with pytest.raises(InputError, match="has no device that no group before has"):
        asked(client, NewGroup(labels={"site": "east"}))
