"""A roll-out to two thousand devices."""

from pathlib import Path
from typing import Any

import pytest

import edgeloop
from edgeloop.remote.rollouts import NewGroup, NewRollout
from tests.cloud.console.crowd import crowd
from tests.cloud.console.serving import aggregator, console, status
from tests.devices import wait_until
from tests.world import StartBroker

pytestmark = pytest.mark.broker
TASK, DEVICES = "doors", 2000
BAD = "no classes\nof mine\0"
"""No text that PostgreSQL takes, or a line of a log."""


def has_all(tasks: list[dict[str, Any]]) -> bool:
    return [each["devices"] for each in tasks] == [DEVICES]


def test_two_thousand_devices_have_it_and_go_back(
    tmp_path: Path, start_broker: StartBroker
) -> None:
    broker = start_broker("max_queued_messages 10000").settings  # as ours are configured
    bad = frozenset(f"press-{number}" for number in range(0, DEVICES, 100))
    said = aggregator(lambda: status(TASK, devices=DEVICES))
    with said as url, crowd(TASK, broker, bad, BAD) as told:
        followed = [{"name": TASK, "url": url}]
        place = {"port": broker.port}
        with console(tmp_path / "server", aggregators=followed, broker=place) as running:
            running.wait("/api/v1/tasks", lambda page: has_all(page["items"]))
            with edgeloop.connect(running.url, token=running.tokens["operator"]) as client:
                settings = {"kind": "settings", "settings": {"health": False}}
                groups = NewGroup(share=0.1, error=0.2), NewGroup(error=0.2)
                asked = {"name": "next", "task": TASK, "groups": groups, **settings}
                rollout = client.create_rollout(NewRollout.model_validate(asked)).rollout
                wait_until(lambda: client.rollout(rollout).state == "succeeded")
                wait_until(lambda: not told)  # nobody has to hear of it any more
                found = client.rollout(rollout).groups
                assert [each.devices for each in found] == [200, 1800]
                assert sum(each.applied for each in found) == DEVICES - len(bad)
                page = running.ask(f"/api/v1/rollouts/{rollout}/devices?state=failed").json()
                assert {each["device"] for each in page["items"]} == bad
                assert {each["reason"] for each in page["items"]} == {"no classes\\nof mine\\x00"}
                client.act_on_rollout(rollout, "rollback")
                wait_until(
                    lambda: sum(g.rolled_back for g in client.rollout(rollout).groups) > 1900
                )
                wait_until(lambda: not told)
