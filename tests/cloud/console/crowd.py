"""All devices of a task, played over one connection: they say at once what they were told to."""

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol.rollout import Order, applied_topic, desired_topic, device_of, outcome
from edgeloop.runtime.config import BrokerSettings

AT_ONCE = 2000


@contextmanager
def crowd(
    task: str, broker: BrokerSettings, bad: Collection[str] = (), reason: str = ""
) -> Iterator[set[str]]:
    """Play all devices of a task over one connection; yield those that have an order by now.

    Args:
        task: whose.
        broker: of the task.
        bad: devices that fail.
        reason: why they do.
    """
    told: set[str] = set()
    ended = threading.Event()
    topics = [desired_topic(task, "+", "+")]

    def answer(link: MqttConnection) -> None:
        while not ended.is_set():
            with link.together():
                for event in link.receive_all(0.05, AT_ONCE):
                    assert isinstance(event, Arrival)
                    if (device := device_of(task, event.topic)) and event.payload:
                        told.add(device)
                        order = Order.model_validate_json(event.payload)
                        why = reason if device in bad else None
                        _answer(link, applied_topic(task, device, order.kind), order, why)
                    else:
                        told.discard(device)
                    event.acknowledge()

    with MqttConnection(broker, "crowd", topics, persistent=False, inflight=AT_ONCE) as link:
        thread = threading.Thread(target=answer, args=(link,))
        thread.start()
        try:
            yield told
        finally:
            ended.set()
            thread.join()


def _answer(link: MqttConnection, place: str, order: Order, why: str | None) -> None:
    if order.action == "roll back":
        link.publish(place, outcome(order, "rolled back").text(), retain=True)
        return
    link.publish(place, outcome(order, "fetching").text(), retain=True)
    last = outcome(order, "applied") if why is None else outcome(order, "failed", why)
    link.publish(place, last.text(), retain=True)
