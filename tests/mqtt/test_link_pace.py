"""The size of what is sent at a time follows the link."""

from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.mqtt.link_pace import FIRST_BYTES, PIECE_SECONDS, LinkPace
from edgeloop.protocol.chunks import Assembler
from tests.chaos.proxy import gates
from tests.world import StartBroker

MOST = 262_144


@dataclass
class Clock:
    """Seconds that a test has pass."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def acknowledged(rate: float, size: int, times: int, pace: LinkPace, clock: Clock) -> None:
    """Have packets go out together over a line, and be acknowledged one by one."""
    for number in range(times):
        pace.sent(number, size, clock.now)
    for number in range(times):
        clock.now += size / rate
        pace.acknowledged(number)


@pytest.mark.parametrize("rate", [1_000.0, 3_500.0, 20_000.0])
def test_a_slow_link_has_small_pieces(rate: float) -> None:
    clock = Clock()
    pace = LinkPace(clock)
    assert pace.piece(MOST) == FIRST_BYTES
    acknowledged(rate, 10_000, 5, pace, clock)
    assert pace.piece(MOST) == pytest.approx(rate * PIECE_SECONDS, rel=0.01)


def test_a_fast_link_has_large_ones_and_one_that_gets_slow_small_ones_again() -> None:
    clock = Clock()
    pace = LinkPace(clock)
    acknowledged(1e6, 10_000, 5, pace, clock)
    assert pace.piece(MOST) == MOST
    acknowledged(2_000.0, 10_000, 12, pace, clock)
    assert pace.piece(MOST) < 10_000


def test_small_messages_tell_nothing_of_a_link() -> None:
    clock = Clock()
    pace = LinkPace(clock)
    acknowledged(100.0, 200, 5, pace, clock)
    assert pace.piece(MOST) == FIRST_BYTES


def test_what_waited_for_a_connection_tells_nothing_of_it() -> None:
    clock = Clock()
    pace = LinkPace(clock)
    pace.sent(1, 10_000, clock.now)
    clock.now += 3600
    pace.connected()
    pace.acknowledged(1)
    assert pace.piece(MOST) == FIRST_BYTES


@pytest.mark.broker
def test_pieces_follow_a_real_line(
    start_broker: StartBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one connection carries all of it where nobody counts a system's bytes, too."""
    monkeypatch.setattr("edgeloop.mqtt.paho_client.KEEPALIVE_SECONDS", 6)
    monkeypatch.setattr("edgeloop.mqtt.progress._counts", lambda connection: (0, 0, 0))
    broker, payload = start_broker().settings, bytes(400_000)
    with ExitStack() as stack:
        (gate,) = stack.enter_context(gates(broker.port, 1))
        gate.plain = True
        near = broker.model_copy(update={"port": gate.port})
        says = stack.enter_context(MqttConnection(near, "says", []))
        hears = stack.enter_context(MqttConnection(broker, "hears", ["a"]))
        sizes = []
        for rate, size in (
            (40_000.0, 400_000),
            (8_000.0, 60_000),
            (8_000.0, 60_000),
            *[(None, 400_000)] * 6,
        ):
            gate.rate = rate
            says.send("a", payload[:size])
            sizes.append(_largest(hears, size))
            assert says.flush(30)
        assert gate.count == 1
    assert sizes[0] == FIRST_BYTES
    assert sizes[2] < 8_000 * PIECE_SECONDS * 1.5, "the line had become slow"
    assert sizes[-1] == MOST - 1024, "and fast again"


def _largest(hears: MqttConnection, limit: int) -> int:
    """Take a payload; return the bytes of its largest packet."""
    assembler, largest = Assembler(limit), 0
    while True:
        arrival = hears.receive(60)
        assert isinstance(arrival, Arrival)
        arrival.acknowledge()
        largest = max(largest, len(arrival.payload))
        if assembler.offer(arrival.payload) is not None:
            return largest


@pytest.mark.broker
def test_what_is_sent_again_is_cut_as_before(start_broker: StartBroker) -> None:
    """The first time tells how fast the link is; what is missing fits what has arrived."""
    broker, payload = start_broker().settings, bytes(200_000)
    with (
        MqttConnection(broker, "says", []) as says,
        MqttConnection(broker, "hears", ["a"]) as hears,
    ):
        says.send("a", payload)
        assert says.flush(30)
        found = hears.receive_all(5.0, 99)
        while len(found) < 4:
            found += hears.receive_all(5.0, 99)
        says.send_again("a", payload, [1], len(found))
        again = hears.receive(30)
        assert isinstance(again, Arrival)
        assert again.payload == found[1].payload  # type: ignore[union-attr]
