"""Packets of a broadcast that a broker drops are asked for."""

from collections.abc import Collection
from dataclasses import dataclass, field

import pytest

from edge.agent import fetching
from edge.agent.fetching import BroadcastSubscription
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol.chunks import split
from edgeloop.protocol.task import broadcast_topic
from edgeloop.runtime.config import BrokerSettings
from tests.devices import wait_until

pytestmark = pytest.mark.broker

PAYLOAD = bytes(range(256)) * 20
PARTS = split(PAYLOAD, 700)
SLOT = broadcast_topic("t", 0)


@dataclass
class Fetching:
    """A subscription whose broker drops some packets the first time.

    Attributes:
        heard: the indices of the packets that arrived.
    """

    link: MqttConnection
    subscription: BroadcastSubscription
    dropped: set[int]
    heard: list[int] = field(default_factory=list)

    def take(self, count: int) -> bytes | None:
        """Take so many packets."""
        payload = None
        for _ in range(count):
            event = self.link.receive(20)
            assert isinstance(event, Arrival), self.heard
            event.acknowledge()
            index = int(event.topic.rpartition("/")[2])
            self.heard.append(index)
            if index in self.dropped:
                self.dropped.remove(index)
            else:
                payload = self.subscription.offer(event.payload)
        return payload

    def stall(self) -> None:
        """Let the subscription wait until it asks."""
        wait_until(lambda: not self.subscription.left())
        self.subscription.ask_missing()


def fetch(broker: BrokerSettings, link: MqttConnection, dropped: Collection[int]) -> Fetching:
    with MqttConnection(broker, "server", []) as server:
        for index, part in enumerate(PARTS):
            server.publish(f"{SLOT}/{index}", part, retain=True)
        assert server.flush(20)
    subscription = BroadcastSubscription(link, "t")
    subscription.start(0, len(PAYLOAD))
    return Fetching(link, subscription, set(dropped))


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "STALLED_SECONDS", 0.3)


def test_only_those_are_asked_for_that_did_not_come(broker: BrokerSettings) -> None:
    with MqttConnection(broker, "one", []) as link:
        found = fetch(broker, link, {1, 3})
        assert found.take(len(PARTS)) is None
        found.stall()
        assert found.take(2) == PAYLOAD
        assert sorted(found.heard[len(PARTS) :]) == [1, 3]
        found.subscription.stop()
        assert link.receive(0.5) is None
        assert found.subscription.left() == float("inf")


def test_many_are_asked_for_some_at_a_time(
    broker: BrokerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "MOST_ASKED", 2)
    with MqttConnection(broker, "one", []) as link:
        found = fetch(broker, link, {0, 2, 4, 5, 6})
        found.take(len(PARTS))
        found.stall()
        assert found.take(5) == PAYLOAD, "the next ones are asked for as soon as these are there"
        assert found.heard[len(PARTS) :] == [0, 2, 4, 5, 6]


def test_where_nothing_came_all_is_asked_for(broker: BrokerSettings) -> None:
    with MqttConnection(broker, "one", []) as link:
        found = fetch(broker, link, range(len(PARTS)))
        found.take(len(PARTS))
        found.stall()
        assert found.take(len(PARTS)) == PAYLOAD
