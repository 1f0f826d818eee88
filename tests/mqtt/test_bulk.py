"""Many packets in one system call: none lost, none twice, each with what it came with."""

import pytest

from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.mqtt.messages import properties
from edgeloop.runtime.config import BrokerSettings

pytestmark = pytest.mark.broker

MANY = 600


def heard(connection: MqttConnection, count: int) -> list[Arrival]:
    found: list[Arrival] = []
    while len(found) < count:
        event = connection.receive(20)
        assert isinstance(event, Arrival), f"{len(found)} of {count}"
        event.acknowledge()
        found.append(event)
    return found


def test_messages_of_all_sizes_come_whole_and_in_their_order(broker: BrokerSettings) -> None:
    sizes = [(at * 7919) % 60_000 for at in range(MANY)]
    sent = [bytes([at % 251]) * size for at, size in enumerate(sizes)]
    with (
        MqttConnection(broker, "to", ["x/+"], inflight=MANY) as to,
        MqttConnection(broker, "from", []) as sender,
    ):
        for at, payload in enumerate(sent):
            notes = {"at": str(at)} if at % 3 == 0 else {}
            sender.publish(f"x/{at}", payload, notes=notes)
        found = heard(to, MANY)
        assert [each.payload for each in found] == sent
        assert [each.topic for each in found] == [f"x/{at}" for at in range(MANY)]
        assert [each.notes.get("at") for each in found[:4]] == ["0", None, None, "3"]
        assert sender.flush(20)
        assert to.receive(0.3) is None


def test_what_is_done_together_leaves_at_the_end_of_the_block(broker: BrokerSettings) -> None:
    with (
        MqttConnection(broker, "to", ["x"], inflight=2) as to,
        MqttConnection(broker, "from", ["y"]) as sender,
    ):
        for _ in range(4):
            sender.publish("x", b"?")
        first = [to.receive(20), to.receive(20)]
        assert to.receive(0.3) is None  # the broker waits for acknowledgements
        with to.together():
            for each in first:
                assert isinstance(each, Arrival)
                each.acknowledge()
                to.publish("y", b"!")
            assert to.receive(0.3) is None
            assert sender.receive(0.3) is None
        assert len(heard(to, 2)) == 2
        assert [each.payload for each in heard(sender, 2)] == [b"!", b"!"]


def test_acknowledgements_of_a_connection_that_is_gone_are_not_sent(broker: BrokerSettings) -> None:
    with MqttConnection(broker, "to", []) as to:
        client = to._client
        with client.together():
            client.ack(7, 1)
            client._connection_number += 1
        assert not client._out_packet
        assert to.connected


def test_properties_of_an_expiring_message_are_those_of_paho() -> None:
    packed = properties({}, 3600)
    also = properties({"a": "b"}, 3600)
    assert packed is not None
    assert also is not None
    assert packed.pack() == b"\x05\x02\x00\x00\x0e\x10"  # type: ignore[no-untyped-call]
    assert also.pack()[2:6] == packed.pack()[2:6]  # type: ignore[no-untyped-call]
    assert properties({}, 3600) is packed
    assert properties({}, None) is None
