"""The proxy does to a link what it says, and nothing else."""

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edgeloop.runtime.config import BrokerSettings
from tests.chaos.packets import Packets, damaged, is_publish, payload_start, repeated
from tests.chaos.proxy import Gate, gates
from tests.devices import wait_until

QOS_1, QOS_0 = 0x32, 0x30


def publish(topic: bytes, payload: bytes, head: int = QOS_1) -> bytes:
    body = len(topic).to_bytes(2) + topic + (b"\x00\x07" if head & 6 else b"") + b"\x00" + payload
    size, length = b"", len(body)
    while length > 0x7F:
        size, length = size + bytes([length & 0x7F | 0x80]), length >> 7
    return bytes([head]) + size + bytes([length]) + body


@given(
    st.lists(st.tuples(st.binary(max_size=300), st.sampled_from([QOS_0, QOS_1])), max_size=5),
    st.integers(1, 40),
)
def test_a_stream_is_cut_where_packets_end(bodies: list[tuple[bytes, int]], step: int) -> None:
    whole = [publish(b"a/b", payload, head) for payload, head in bodies]
    stream, packets = b"".join(whole), Packets()
    pieces = [stream[start : start + step] for start in range(0, len(stream), step)]
    assert [each for piece in pieces for each in packets.feed(piece)] == whole
    assert not packets.rest


@given(st.binary(min_size=1, max_size=300), st.floats(0, 1), st.sampled_from([QOS_0, QOS_1]))
def test_one_bit_of_the_payload_is_changed(payload: bytes, where: float, head: int) -> None:
    packet = publish(b"a/b", payload, head)
    assert packet[payload_start(packet) :] == payload
    spoilt = damaged(packet, where)
    changed = [(one, two) for one, two in zip(packet, spoilt, strict=True) if one != two]
    assert len(changed) == 1
    assert spoilt[: payload_start(packet)] == packet[: payload_start(packet)]
    assert bin(changed[0][0] ^ changed[0][1]).count("1") == 1


def test_nothing_to_change_is_left_as_it_is() -> None:
    assert damaged(publish(b"a", b""), 0.5) == publish(b"a", b"")
    assert repeated(publish(b"a", b"", QOS_0)) == publish(b"a", b"", QOS_0)
    assert is_publish(repeated(publish(b"a", b"")))


@pytest.fixture
def gate(broker: BrokerSettings) -> Iterator[Gate]:
    with gates(broker.port, 1) as made:
        yield made[0]


class Talker:
    """A client behind the gate that hears what it says."""

    def __init__(self, gate: Gate) -> None:
        self.heard: queue.Queue[bytes] = queue.Queue()
        self.lost = 0
        self._ready = threading.Event()
        self.client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self.client.on_connect = self._subscribe
        self.client.on_subscribe = lambda *_: self._ready.set()
        self.client.on_message = lambda _c, _d, message: self.heard.put(bytes(message.payload))
        self.client.on_disconnect = lambda *_: setattr(self, "lost", self.lost + 1)
        self.client.connect("127.0.0.1", gate.port)
        self.client.loop_start()
        assert self._ready.wait(20)

    def _subscribe(self, *_: Any) -> None:
        self.client.subscribe("a", qos=1)

    def says(self, *payloads: bytes) -> None:
        for each in payloads:
            self.client.publish("a", each, qos=1)

    def hears(self, count: int) -> list[bytes]:
        return [self.heard.get(timeout=20) for _ in range(count)]


@pytest.fixture
def talker(gate: Gate) -> Iterator[Talker]:
    made = Talker(gate)
    yield made
    made.client.disconnect()
    made.client.loop_stop()


pytestmark = pytest.mark.broker


def test_it_carries_what_there_is(talker: Talker) -> None:
    large = bytes(range(256)) * 200
    talker.says(b"1", large, b"")
    assert talker.hears(3) == [b"1", large, b""]


def test_a_message_is_damaged(gate: Gate, talker: Talker) -> None:
    gate.spoil["up"].damage.append(0.5)
    talker.says(b"1234", b"1234")
    first, second = talker.hears(2)
    assert first != second == b"1234"


def test_a_message_comes_twice(gate: Gate, talker: Talker) -> None:
    gate.spoil["down"].twice = 1
    talker.says(b"1", b"2")
    assert talker.hears(3) == [b"1", b"1", b"2"]


def test_a_message_is_overtaken(
    gate: Gate, talker: Talker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patient:
        patient.setattr("tests.chaos.proxy.REORDER_SECONDS", 5.0)
        gate.spoil["up"].late = 1
        talker.says(b"1", b"2", b"3")
        assert talker.hears(3) == [b"2", b"1", b"3"]
    gate.spoil["up"].late = 1
    talker.says(b"4")
    assert talker.hears(1) == [b"4"], "the last one is late, and not lost"


def test_a_hole_and_a_slow_line_bring_all_later(gate: Gate, talker: Talker) -> None:
    gate.hole = frozenset({"up"})
    talker.says(b"1")
    with pytest.raises(queue.Empty):
        talker.heard.get(timeout=0.3)
    gate.hole = frozenset()
    assert talker.hears(1) == [b"1"]
    gate.rate = 10_000.0
    begun = time.monotonic()
    talker.says(bytes(2000))
    assert talker.hears(1) == [bytes(2000)]
    assert time.monotonic() - begun >= 0.4, "both ways"
    assert talker.lost == 0


def test_a_cut_link_is_refused_until_it_is_whole(gate: Gate, talker: Talker) -> None:
    gate.shut = True
    gate.cut()
    wait_until(lambda: gate.count > 2)  # the first one, and two that were refused
    assert talker.lost
    gate.shut = False
    wait_until(talker.client.is_connected)
