"""A bare paho subscriber (`python -m benchmarks.bare PORT TOPIC`): takes messages, and no more.

Prints when the last of each burst came, a line a burst, whenever standard input names its size.
"""

import queue
import sys
import time
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion


def main() -> None:
    """Take bursts until standard input ends."""
    port, topic = int(sys.argv[1]), sys.argv[2]
    came: queue.SimpleQueue[float] = queue.SimpleQueue()
    client = Client(CallbackAPIVersion.VERSION2, "bare", protocol=MQTTProtocolVersion.MQTTv5)
    ready: queue.SimpleQueue[None] = queue.SimpleQueue()

    def take(_client: Client, _data: Any, message: MQTTMessage) -> None:
        came.put(time.time())

    client.on_message = take
    client.on_subscribe = lambda *_: ready.put(None)
    client.connect("127.0.0.1", port)
    client.subscribe(topic, qos=1)
    client.loop_start()
    ready.get()
    for line in sys.stdin:
        print("ready", flush=True)
        print([came.get() for _ in range(int(line))], flush=True)
    client.disconnect()
    client.loop_stop()


if __name__ == "__main__":
    main()
