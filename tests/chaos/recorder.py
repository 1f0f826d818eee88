"""A client of the broker that notes what devices send, to send it again, some of it damaged."""

import random
import threading
from collections import deque
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

MOST = 60
"""Messages that are kept."""

REPLAYED = 8
"""Messages of one replay."""


class Recorder:
    """Notes what devices send.

    Args:
        task: the task's name.
        port: the broker's.
    """

    def __init__(self, task: str, port: int) -> None:
        self._kept: deque[tuple[str, bytes]] = deque(maxlen=MOST)
        self._lock = threading.Lock()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._topic = f"edgeloop/v1/{task}/upload/+"
        self._client.on_connect = self._subscribe
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(0, 1)
        self._client.connect_async("127.0.0.1", port)
        self._client.loop_start()

    def _subscribe(self, *_: Any) -> None:
        self._client.subscribe(self._topic)

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        with self._lock:
            self._kept.append((message.topic, bytes(message.payload)))

    def replay(self, drawn: random.Random) -> int:
        """Send some of what was noted again, each third damaged; return how many."""
        with self._lock:
            kept = list(self._kept)
        chosen = drawn.choices(kept, k=REPLAYED) if kept else []
        for topic, payload in chosen:
            self._client.publish(topic, _perhaps_damaged(payload, drawn), qos=1)
        return len(chosen)

    def stop(self) -> None:
        """Note nothing more."""
        self._client.disconnect()
        self._client.loop_stop()


def _perhaps_damaged(payload: bytes, drawn: random.Random) -> bytes:
    if not payload or drawn.random() > 1 / 3:
        return payload
    at = drawn.randrange(len(payload))
    return payload[:at] + bytes([payload[at] ^ 1 << drawn.randrange(8)]) + payload[at + 1 :]
