"""A line on which nothing comes back is noticed, whoever moves the messages; a live one stays."""

import asyncio
import time

import pytest

from edgeloop.mqtt.connection import MqttConnection
from edgeloop.mqtt.loop_client import Heard, LoopClient
from edgeloop.runtime.config import BrokerSettings
from tests.devices import wait_until
from tests.fake_broker import before

pytestmark = pytest.mark.broker

CONNACK, SUBACK = 0x20, 0x90


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeloop.mqtt.paho_client.KEEPALIVE_SECONDS", 1)


def mute(packet: bytes) -> bytes:
    """Let only what makes a connection through: no answer to a ping comes, and no message."""
    return packet if packet[0] in (CONNACK, SUBACK) else b""


@pytest.mark.parametrize("talks", [False, True], ids=["quiet", "talks"])
def test_a_mute_broker_is_parted_from(broker: BrokerSettings, talks: bool) -> None:
    """It takes all bytes and keeps the connection: only that nothing comes tells."""
    dialled: list[int] = []

    def mute_at_first(packet: bytes) -> bytes:
        return mute(packet) if len(dialled) < 2 else packet

    with (
        before(broker.port, dialled.append, mute_at_first) as port,
        MqttConnection(broker.model_copy(update={"port": port}), "me", []) as connection,
    ):
        until = time.monotonic() + 15
        while len(dialled) < 2 and time.monotonic() < until:
            if talks:
                connection.publish("a", b"1")
            time.sleep(0.3)  # between what it says
        assert len(dialled) > 1
        assert connection.flush(20)


def test_a_quiet_line_stays(broker: BrokerSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only answers to pings come."""
    monkeypatch.setattr("edgeloop.mqtt.paho_client.KEEPALIVE_SECONDS", 2)
    pongs: list[bytes] = []

    def count(packet: bytes) -> bytes:
        pongs.extend([packet] if packet[0] == 0xD0 else [])
        return packet

    dialled: list[int] = []
    with (
        before(broker.port, dialled.append, count) as port,
        MqttConnection(broker.model_copy(update={"port": port}), "me", []),
    ):
        wait_until(lambda: len(pongs) > 2)
    assert dialled == [0]


def test_a_client_of_a_loop_parts_from_a_mute_broker(broker: BrokerSettings) -> None:
    with before(broker.port, change=mute) as port:
        assert asyncio.run(parted(broker.model_copy(update={"port": port})))


async def parted(broker: BrokerSettings) -> list[str]:
    """Tend a client as a fleet does; return why it is without a connection."""
    up: list[str | None] = []
    down: list[str] = []
    heard = Heard(up.append, down.append, lambda arrival: None, lambda number, why: None)
    client = LoopClient(broker, "one", heard, "will")
    await asyncio.to_thread(client.dial)
    until = time.monotonic() + 15
    while not down and time.monotonic() < until:
        client.tend()
        await asyncio.sleep(0.2)
    why = list(down)
    client.end()
    assert up == [None]
    return why
