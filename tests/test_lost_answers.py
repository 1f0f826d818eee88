"""A broker that loses what it has acknowledged costs neither an answer nor a deadline."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol import wire
from edgeloop.protocol.chunks import Assembler
from edgeloop.protocol.task import upload_topic
from edgeloop.runtime.config import BrokerSettings
from tests.devices import at_work
from tests.fake_broker import before
from tests.one_device import DEVICE, NAME, ROUNDS, Task, aggregator, opens, write_data
from tests.world import StartBroker

pytestmark = pytest.mark.broker


def wait_for_answer(broker: BrokerSettings, number: int, listening: threading.Event) -> None:
    """Return when the broker has the device's answer to a round."""
    assembler = Assembler(wire.MAX_FRAME)
    with MqttConnection(broker, "listener", [upload_topic(NAME, DEVICE)]) as listener:
        listening.set()
        while True:
            event = listener.receive(60)
            assert isinstance(event, Arrival), "no answer"
            payload = assembler.offer(event.payload)
            if payload is not None and wire.envelope_of(payload).round == number:
                return


@pytest.mark.parametrize("number", [0, ROUNDS])
def test_an_answer_that_dies_with_the_broker_is_sent_again(
    start_broker: StartBroker, tmp_path: Path, number: int
) -> None:
    """The aggregator hears nothing from the round's opening on, until the broker is killed."""
    broker, deaf, listening = start_broker(), threading.Event(), threading.Event()
    opened = opens(number)

    def heard(arrival: Any) -> bool:
        if opened(arrival) and not listening.is_set():
            deaf.set()
            waiting.start()
            assert listening.wait(60)
        return False

    waiting = threading.Thread(target=wait_for_answer, args=(broker.settings, number, listening))
    with before(broker.settings.port, change=lambda data: b"" if deaf.is_set() else data) as port:
        far = broker.settings.model_copy(update={"port": port})
        task = Task(tmp_path, write_data(tmp_path / "data"), far, None, "fedproto", {})
        settings = task.device().model_copy(update={"broker": broker.settings})
        with aggregator(task) as running, at_work(settings, heard) as device:
            assert listening.wait(120)
            waiting.join(120)
            assert not device.ended.done(), "its last answer has not arrived"
            broker.process.kill()
            broker.process.wait()
            deaf.clear()
            start_broker(port=broker.settings.port)
            summary = json.loads(device.ended.result(120).read_text())
            assert running.process.wait(120) == 0, running.said()
    assert len(summary["accuracy_by_round"]) == ROUNDS + 1
    assert task.summary()["accuracy_by_round"][number] is not None
