"""Connections to the brokers of tasks: one that does not answer keeps nobody waiting."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from cloud.console.rollouts.carrying import Lines
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.protocol.rollout import Order, desired_topic
from edgeloop.runtime.config import BrokerSettings
from tests.cloud.stack.stacks import socket_on
from tests.devices import wait_until

pytestmark = pytest.mark.broker
ORDER = Order(
    rollout="r1", serial=1, kind="model", action="apply", sha256="5e1f0c8ad93b47e6" * 4, size=1
)


@pytest.fixture
def lines(broker: BrokerSettings) -> Iterator[Lines]:
    """Of task a, whose broker says nothing, and of task b."""
    with socket_on(0) as silent:
        port = silent.getsockname()[1]
        brokers = {"a": BrokerSettings(port=port, connect_seconds=2), "b": broker}
        with closing(Lines(brokers.__getitem__)) as found:
            yield found


def test_a_broker_that_does_not_answer_keeps_nobody_waiting(
    lines: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    assert lines.line("a") is None
    assert lines.line("b") is not None
    assert not caplog.records, "it is not known yet"
    wait_until(lambda: lines.line("a") is None and "devices of a cannot be told" in caplog.text)


def test_what_was_told_is_not_told_again(lines: Lines, broker: BrokerSettings) -> None:
    line = lines.line("b")
    assert line is not None
    heard: list[tuple[str, bytes]] = []
    with MqttConnection(broker, "x", [desired_topic("b", "+", "+")], persistent=False) as link:
        for _ in range(3):
            line.tell("press-1", ORDER)
        line.take_back("press-1", "model")
        line.take_back("press-1", "model")
        line.tell("press-2", ORDER)
        assert line.flush()
        while len(heard) < 3 or heard[-1][0] != desired_topic("b", "press-2", "model"):
            for event in link.receive_all(5.0, 10):
                heard.append((event.topic, event.payload))  # type: ignore[union-attr]
    first = desired_topic("b", "press-1", "model")
    last = desired_topic("b", "press-2", "model")
    assert heard == [(first, ORDER.text()), (first, b""), (last, ORDER.text())]
