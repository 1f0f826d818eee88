"""What a link does about a broker, or a peer, that sends what it should not."""

import logging

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edgeloop.errors import RefusedError
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.mqtt.messages import Arrival
from edgeloop.mqtt.paho_client import MAX_INFLIGHT
from edgeloop.runtime.config import MOST_CHUNK_BYTES, BrokerSettings
from tests.devices import wait_until
from tests.fake_broker import before
from tests.world import StartBroker

pytestmark = pytest.mark.broker

NO_TEXT = bytes.fromhex("32 07 0002 fffe 0063 00")  # PUBLISH, QoS 1, to a topic that is no UTF-8


def test_a_topic_that_is_no_text_ends_no_link(
    broker: BrokerSettings, caplog: pytest.LogCaptureFixture
) -> None:
    def with_more(data: bytes) -> bytes:
        return data + NO_TEXT if data.startswith(b"\x90") else data  # behind the SUBACK

    with (
        before(broker.port, change=with_more) as port,
        MqttConnection(BrokerSettings(port=port), "me", ["topic"]) as connection,
        MqttConnection(broker, "peer", []) as peer,
    ):
        wait_until(lambda: "whose topic is not valid text" in caplog.text)
        peer.publish("topic", b"after it")
        event = connection.receive(30)
    assert isinstance(event, Arrival)
    assert event.payload == b"after it"


def test_a_flood_of_what_nobody_must_keep_is_bounded(
    broker: BrokerSettings, caplog: pytest.LogCaptureFixture
) -> None:
    flood = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    flood.connect(broker.host, broker.port)
    flood.loop_start()
    with (
        MqttConnection(broker, "me", ["topic"]) as connection,
        MqttConnection(broker, "peer", []) as peer,
    ):
        for _ in range(10 * MAX_INFLIGHT):
            flood.publish("topic", b"x", qos=0).wait_for_publish(30)
        wait_until(lambda: "more of them than can be read" in caplog.text)
        peer.publish("topic", b"honest")
        wait_until(lambda: connection._inbox.qsize() > MAX_INFLIGHT)
        payloads = []
        while b"honest" not in payloads:
            event = connection.receive(30)
            assert isinstance(event, Arrival)
            payloads.append(event.payload)
            event.acknowledge()
    flood.disconnect()
    flood.loop_stop()
    assert len(payloads) <= MAX_INFLIGHT + 2


def test_no_more_is_delivered_than_is_acknowledged(start_broker: StartBroker) -> None:
    broker = start_broker("max_inflight_messages 0", "max_queued_messages 0").settings
    with (
        MqttConnection(broker, "me", ["topic"]) as connection,
        MqttConnection(broker, "peer", []) as peer,
    ):
        for number in range(5 * MAX_INFLIGHT):
            peer.publish("topic", str(number).encode())
        assert peer.flush(30)
        first = [connection.receive(30) for _ in range(MAX_INFLIGHT)]
        assert connection.receive(1.0) is None
        for event in first:
            assert isinstance(event, Arrival)
            event.acknowledge()
        assert connection.receive(30) is not None


def test_a_packet_larger_than_any_chunk_stays_at_the_broker(broker: BrokerSettings) -> None:
    with (
        MqttConnection(broker, "me", ["topic"]) as connection,
        MqttConnection(broker, "peer", []) as peer,
    ):
        peer.publish("topic", bytes(MOST_CHUNK_BYTES))
        peer.publish("topic", b"small")
        event = connection.receive(60)
        assert isinstance(event, Arrival)
        assert event.payload == b"small"


def test_a_broker_for_tiny_packets_is_refused(start_broker: StartBroker) -> None:
    broker = start_broker("max_packet_size 1000").settings
    with pytest.raises(RefusedError, match="takes packets of 1000 bytes only; raise the broker's"):
        MqttConnection(broker, "me", ["a"], retry_forever=True).__enter__()


def test_a_broker_that_takes_tiny_packets_later_ends_no_link(
    broker: BrokerSettings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    connections = 0

    def tiny(data: bytes) -> bytes:
        nonlocal connections
        if not data.startswith(b"\x20"):
            return data
        connections += 1
        return data if connections == 1 else bytes.fromhex("20 08 00 00 05 27 00000005")

    with (
        before(broker.port, change=tiny, life=1.0) as port,
        MqttConnection(BrokerSettings(port=port), "me", ["a"]) as connection,
    ):
        wait_until(lambda: "connected again" in caplog.text)
        assert connection.send("topic", b"y" * 10) > 0
