"""A hostile network between two brokers: holds uploads back, turns them round, delivers twice."""

from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edgeloop.protocol import wire
from edgeloop.protocol.chunks import Assembler
from edgeloop.runtime.config import BrokerSettings


def _subscribe(client: Client, topics: list[str]) -> None:
    for topic in topics:
        client.subscribe(topic, qos=1)


class Relay:
    """Carries one task between the cloud's broker and the edge's.

    Args:
        task: the task's name.
        cloud: the aggregator's broker.
        edge: the agents' broker.
        hold_back: how many devices' uploads to gather before passing them on, last name first.
    """

    def __init__(
        self, task: str, cloud: BrokerSettings, edge: BrokerSettings, hold_back: int
    ) -> None:
        self.order: list[str] = []
        self.heard = self.forwarded = 0
        self._hold_back = hold_back
        self._held: dict[tuple[int, str], bytes] = {}
        self._passed: set[tuple[int, str]] = set()
        self._cloud = self._client(
            cloud, [f"edgeloop/v1/{task}/{what}" for what in ("contract", "round", "broadcast/+/+")]
        )
        self._edge = self._client(edge, [f"edgeloop/v1/{task}/upload/+"])
        self._cloud.on_message = self._down
        self._edge.on_message = self._up

    def _client(self, broker: BrokerSettings, topics: list[str]) -> Client:
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        client.connect(broker.host, broker.port)
        client.on_connect = lambda *_: _subscribe(client, topics)
        return client

    def __enter__(self) -> Self:
        for client in (self._cloud, self._edge):
            client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        for client in (self._cloud, self._edge):
            client.disconnect()
            client.loop_stop()

    def _down(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        for _ in range(2):
            self._edge.publish(message.topic, message.payload, qos=1, retain=True)

    def _up(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        device = message.topic.rpartition("/")[2]
        payload = Assembler(wire.MAX_FRAME).offer(bytes(message.payload))
        assert payload is not None, "the small world's uploads fit one chunk"
        key = wire.envelope_of(payload).round, device
        if key in self._passed:
            return
        self._held[key] = bytes(message.payload)
        if len(self._held) == self._hold_back:
            self._release(message.topic.rpartition("/")[0])

    def _release(self, topic: str) -> None:
        for key in sorted(self._held, reverse=True):
            self.heard += 1
            self.order.append(key[1])
            for _ in range(2):
                self.forwarded += 1
                self._cloud.publish(f"{topic}/{key[1]}", self._held[key], qos=1)
        self._passed |= self._held.keys()
        self._held.clear()
