"""Connections to the brokers of tasks: one that does not answer keeps nobody waiting."""

import subprocess
import sys
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


SILENT = {f"a{number}": False for number in range(9)}


@pytest.fixture
def lines(broker: BrokerSettings) -> Iterator[Lines]:
    """Of tasks a0 to a8, whose broker says nothing, and of task b."""
    with socket_on(0) as silent:
        nothing = BrokerSettings(port=silent.getsockname()[1], connect_seconds=2)
        with closing(Lines(lambda task: broker if task == "b" else nothing)) as found:
            yield found


def test_brokers_that_do_not_answer_keep_nobody_waiting(
    lines: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    asked = {**SILENT, "b": False}
    assert lines.reach(asked).keys() == {"b"}
    assert not caplog.records, "it is not known yet"
    wait_until(lambda: len(lines.reach(asked)) == 1 and "devices of a0 cannot" in caplog.text)


def test_who_ends_waits_for_no_broker() -> None:
    program = """
import sys
from cloud.console.rollouts.carrying import Lines
from edgeloop.runtime.config import BrokerSettings
lines = Lines(lambda task: BrokerSettings(port=int(sys.argv[1]), connect_seconds=600))
assert not lines.reach({"a": False})
lines.close()
"""
    with socket_on(0) as silent:
        port = str(silent.getsockname()[1])
        ended = subprocess.run([sys.executable, "-c", program, port], timeout=60, check=False)
    assert ended.returncode == 0


def test_what_was_told_is_not_told_again(lines: Lines, broker: BrokerSettings) -> None:
    line = lines.reach({"b": False})["b"]
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
