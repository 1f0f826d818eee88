"""An aggregator says whom it waits for, and why."""

from pathlib import Path

import pytest

from edgeloop.mqtt.connection import MqttConnection
from edgeloop.protocol.presence import Presence, notes_of
from edgeloop.protocol.task import presence_topic
from edgeloop.runtime.config import BrokerSettings
from tests.devices import wait_until
from tests.one_device import DEVICE, NAME, Task, aggregator, write_data

pytestmark = pytest.mark.broker


def test_a_device_that_refuses_is_named_with_its_reason(
    tmp_path: Path, broker: BrokerSettings
) -> None:
    task = Task(tmp_path, write_data(tmp_path / "data"), broker, None, "fedproto", {})
    topic = presence_topic(NAME, DEVICE)
    why = "its class 'dent' is none of the task's"
    said = Presence(state="refused", run="r", reason=why, version="0.3.0", since=1.7e9)

    def known() -> dict[str, object]:
        return dict((task.status().get("devices") or [{}])[0])

    with aggregator(task) as running, MqttConnection(broker, "device", [], topic) as device:
        wait_until(lambda: known().get("state") == "online")
        device.say_presence(notes_of(said))
        wait_until(lambda: known().get("state") == "refused")
        found = known()
        assert (found["name"], found["reason"], found["answered"]) == (DEVICE, why, False)
        metrics = task.asked("/metrics")
        assert metrics is not None
        assert 'edgeloop_devices{state="refused"} 1.0' in metrics.text
        resting = Presence(state="sleeping", run="r", in_use="in use: a mixture", since=1.7e9)
        device.say_presence(notes_of(resting))
        wait_until(lambda: known().get("reason") == "in use: a mixture")
        device.say_presence(notes_of(said))
        wait_until(lambda: known().get("state") == "refused")
        assert DEVICE not in metrics.text, "no label has a device's name"
        told = f"waits for 1 of 1 devices: {DEVICE} (refused the contract: {why})"
        wait_until(lambda: told in running.said())
