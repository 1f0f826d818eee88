"""A roll-out to two thousand devices: one connection plays them all, and says what they would."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import edgeloop
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol.rollout import (
    Order,
    applied_topic,
    desired_topic,
    device_of,
    outcome,
)
from edgeloop.remote.rollouts import NewGroup, NewRollout
from edgeloop.runtime.config import BrokerSettings
from tests.cloud.console.serving import aggregator, console, status
from tests.devices import wait_until
from tests.world import StartBroker

pytestmark = pytest.mark.broker
TASK, DEVICES = "doors", 2000
BAD = "no classes\nof mine\0"
"""No text that PostgreSQL takes, or a line of a log."""


@contextmanager
def crowd(broker: BrokerSettings, bad: frozenset[str] = frozenset()) -> Iterator[set[str]]:
    """Play all devices; yield those that have an order, as they get one."""
    told: set[str] = set()
    ended = threading.Event()
    topics = [desired_topic(TASK, "+", "+")]

    def answer(link: MqttConnection) -> None:
        while not ended.is_set():
            with link.together():
                for event in link.receive_all(0.05, DEVICES):
                    assert isinstance(event, Arrival)
                    _answer(link, event, bad, told)
                    event.acknowledge()

    with MqttConnection(broker, "crowd", topics, persistent=False, inflight=DEVICES) as link:
        thread = threading.Thread(target=answer, args=(link,))
        thread.start()
        try:
            yield told
        finally:
            ended.set()
            thread.join()


def _answer(link: MqttConnection, order: Arrival, bad: frozenset[str], told: set[str]) -> None:
    device = device_of(TASK, order.topic)
    if not order.payload:
        told.discard(device)
        return
    told.add(device)
    found = Order.model_validate_json(order.payload)
    place = applied_topic(TASK, device, found.kind)
    if found.action == "roll back":
        link.publish(place, outcome(found, "rolled back").text(), retain=True)
        return
    link.publish(place, outcome(found, "fetching").text(), retain=True)
    last = outcome(found, "failed", BAD) if device in bad else outcome(found, "applied")
    link.publish(place, last.text(), retain=True)


def has_all(tasks: list[dict[str, Any]]) -> bool:
    return [each["devices"] for each in tasks] == [DEVICES]


def test_two_thousand_devices_have_it_and_go_back(
    tmp_path: Path, start_broker: StartBroker
) -> None:
    broker = start_broker("max_queued_messages 10000").settings  # as ours are configured
    bad = frozenset(f"press-{number}" for number in range(0, DEVICES, 100))
    with aggregator(lambda: status(TASK, devices=DEVICES)) as url, crowd(broker, bad) as told:
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
