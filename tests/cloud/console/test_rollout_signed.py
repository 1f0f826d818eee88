"""A roll-out in a stack with its own authority: certificates and signatures from end to end."""

from pathlib import Path

import pytest

import edgeloop
from edgeloop.remote.rollouts import NewGroup, NewRollout
from tests.cloud.console.serving import console
from tests.cloud.stack import stacks
from tests.cloud.stack.stacks import DEVICES, TASK
from tests.devices import wait_until
from tests.world import StartBroker

pytestmark = pytest.mark.broker


def test_devices_take_what_is_signed_and_go_back(tmp_path: Path, start_broker: StartBroker) -> None:
    start_broker()  # only where there is a Mosquitto
    config = stacks.write(tmp_path, stacks.table(tmp_path, aggregators=[stacks.task(rounds=1000)]))
    shipped = [
        tmp_path / "stack" / "agents" / TASK / name / "settings.shipped.json" for name in DEVICES
    ]
    with stacks.running(config) as up, console(tmp_path / "server", stack=str(config)) as running:
        running.wait("/api/v1/devices", lambda page: len(page["items"]) == len(DEVICES), 120)
        with edgeloop.connect(running.url, token=running.tokens["operator"]) as client:
            groups = NewGroup(devices=DEVICES[:1]), NewGroup()
            facts = {"kind": "settings", "settings": {"health": False}, "groups": groups}
            asked = NewRollout.model_validate({"name": "next", "task": TASK, **facts})
            made = client.create_rollout(asked).rollout
            wait_until(lambda: client.rollout(made).state == "succeeded", 120)
            wait_until(lambda: client.rollout(made).groups[1].applied == 1)
            assert ["false" in each.read_text() for each in shipped] == [True, True]
            client.act_on_rollout(made, "rollback")
            wait_until(lambda: all(g.rolled_back for g in client.rollout(made).groups), 120)
        assert up.process.poll() is None
    said = up.said()
    assert "ignored" not in said
    assert not any("false" in each.read_text() for each in shipped if each.exists())
