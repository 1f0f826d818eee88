"""A client that asks by MQTT 5, as a stranger's does: response topic and correlation data."""

import queue
from dataclasses import dataclass
from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edgeloop.runtime.config import BrokerSettings

SECONDS = 30.0
PROBE = b"probe"


@dataclass(frozen=True)
class Answered:
    payload: bytes
    correlation: bytes | None
    notes: dict[str, str]


class Requester:
    """Asks, and takes answers.

    Args:
        broker: to ask at.
        topic: where answers are to go; or a filter, for those who say with each request.
        username: as whom, without a password.
    """

    def __init__(self, broker: BrokerSettings, topic: str, username: str | None = None) -> None:
        self._topic, self._answers = topic, queue.SimpleQueue[Answered]()
        self._subscribed: queue.SimpleQueue[bool] = queue.SimpleQueue()
        version, five = CallbackAPIVersion.VERSION2, MQTTProtocolVersion.MQTTv5
        self._client = Client(version, protocol=five)
        if username is not None:
            self._client.username_pw_set(username)
        self._client.on_message = self._on_message
        self._client.on_connect = lambda client, *_: client.subscribe(topic, 1)
        self._client.on_subscribe = lambda *_: self._subscribed.put(True)
        self._place = broker.host, broker.port

    def __enter__(self) -> Self:
        self._client.connect(*self._place)
        self._client.loop_start()
        self._subscribed.get(timeout=SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def hears(self, topic: str) -> bool:
        """Return whether somebody answers there within a moment."""
        self.publish(topic, b"", self._topic, PROBE)
        try:
            return self._answers.get(timeout=0.3).correlation == PROBE
        except queue.Empty:
            return False

    def ask(self, topic: str, payload: bytes, correlation: bytes | None) -> Answered:
        """Return the answer to a request."""
        self.publish(topic, payload, self._topic, correlation)
        while (found := self._answers.get(timeout=SECONDS)).correlation == PROBE:
            pass
        return found

    def answer(self) -> Answered:
        """Return the next thing that comes."""
        return self._answers.get(timeout=SECONDS)

    def publish(
        self, topic: str, payload: bytes, answer: str | None, correlation: bytes | None = None
    ) -> None:
        about = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho left it out
        if answer is not None:
            about.ResponseTopic = answer
        if correlation is not None:
            about.CorrelationData = correlation
        self._client.publish(topic, payload, qos=1, properties=about)

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        about = message.properties
        notes = dict(getattr(about, "UserProperty", ()))
        self._answers.put(
            Answered(bytes(message.payload), getattr(about, "CorrelationData", None), notes)
        )
