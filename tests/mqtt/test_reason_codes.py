"""Every reason code of MQTT 5 has a remedy, in whatever packet the broker sends it."""

import logging
import re

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from edgeloop.errors import BrokerError
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.mqtt.reason_codes import SEE_ITS_LOG, reason_for
from edgeloop.runtime.config import BrokerSettings
from tests import fake_broker
from tests.devices import wait_until
from tests.fake_broker import before, refusing

NAMES = ReasonCode(PacketTypes.CONNACK).names
FAILURES = sorted(code for code in NAMES if code >= 0x80)


def codes(*packets: int) -> list[int]:
    """Return the reason codes of failures that some kinds of packet may have."""
    return [code for code in FAILURES if any(set(packets) & set(v) for v in NAMES[code].values())]


CONNACK, PUBACK = codes(PacketTypes.CONNACK), codes(PacketTypes.PUBACK)
SUBACK, DISCONNECT = codes(PacketTypes.SUBACK), codes(PacketTypes.DISCONNECT)


def test_every_code_has_its_remedy() -> None:
    assert len(FAILURES) > 30
    vague = [code for code in FAILURES if reason_for(code).remedy == SEE_ITS_LOG]
    assert vague == [0x80, 0x83], "the unspecified and the implementation's own"


@pytest.mark.broker
@pytest.mark.parametrize("code", CONNACK)
def test_a_refused_connection_says_what_to_do(broker: BrokerSettings, code: int) -> None:
    with before(broker.port, refusing(*[code] * 50)) as port:
        settings = BrokerSettings(port=port, connect_seconds=1.0)
        with pytest.raises(BrokerError, match=re.escape(reason_for(code).remedy)):
            MqttConnection(settings, "me", []).__enter__()


@pytest.mark.broker
@pytest.mark.parametrize("code", PUBACK)
def test_a_refused_message_says_what_to_do(
    broker: BrokerSettings, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    def change(data: bytes) -> bytes:
        puback = len(data) >= 4 and data[0] == 0x40
        return b"\x40\x03" + data[2:4] + bytes([code]) if puback else data

    with (
        before(broker.port, change=change) as port,
        MqttConnection(BrokerSettings(port=port), "me", []) as connection,
    ):
        connection.publish("a", b"1")
        assert not connection.flush(20, "a")
    assert f"the broker refuses messages on a ({NAMES_OF[code]}); " in caplog.text
    assert REMEDIES.get(code, reason_for(code).remedy) in caplog.text


@pytest.mark.broker
def test_a_refusal_that_comes_before_its_message_is_noted_names_the_topic(
    broker: BrokerSettings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network thread may have the broker's word before `publish` has returned."""

    def change(packet: bytes) -> bytes:
        return b"\x40\x03" + packet[2:4] + b"\x87" if packet[0] == 0x40 else packet

    with (
        before(broker.port, change=change) as port,
        MqttConnection(BrokerSettings(port=port), "me", []) as connection,
    ):
        outbox = connection._outbox
        noted = outbox._pace.sent

        def waiting(number: int, size: int, begun: float) -> None:
            wait_until(lambda: number in outbox._deliveries._early)
            noted(number, size, begun)

        monkeypatch.setattr(outbox._pace, "sent", waiting)
        connection.publish("a", b"1")
        assert outbox.refused() == {"a": "Not authorized"}
    assert "the broker refuses messages on a (Not authorized); " in caplog.text


@pytest.mark.broker
@pytest.mark.parametrize("code", SUBACK)
def test_a_refused_subscription_says_what_to_do(
    broker: BrokerSettings, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    def change(data: bytes) -> bytes:
        return data[:-1] + bytes([code]) if data[0] == 0x90 else data

    with (
        before(broker.port, change=change) as port,
        MqttConnection(BrokerSettings(port=port), "me", ["a"]) as connection,
    ):
        assert connection.refusals()
    assert REMEDIES.get(code, reason_for(code).remedy) in caplog.text


@pytest.mark.broker
@pytest.mark.parametrize("code", DISCONNECT)
def test_a_broker_that_parts_says_what_to_do(
    broker: BrokerSettings, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """It parts when the client is subscribed, and is there again."""
    caplog.set_level(logging.INFO)
    parting = [bytes([0xE0, 2, code, 0])]

    def change(data: bytes) -> bytes:
        return data + parting.pop() if data[0] == 0x90 and parting else data

    with (
        before(broker.port, change=change) as port,
        MqttConnection(BrokerSettings(port=port), "me", ["a"]),
    ):
        wait_until(lambda: "connected again to" in caplog.text)
    assert reason_for(code).remedy in caplog.text


REMEDIES = {0x87: "check its access list for me"}
"""Of who is connected."""

NAMES_OF = {code: next(iter(NAMES[code])) for code in PUBACK}


@pytest.mark.parametrize("cut", range(1, 300, 13))
def test_the_proxy_of_the_tests_changes_every_packet(cut: int) -> None:
    """Two acknowledgements in one read were one to it."""
    packets = [b"\x40\x02\x00\x01", b"\x40\x02\x00\x02", b"\x30\x80\x02" + b"x" * 256, b"\xd0\x00"]
    stream = b"".join(packets)
    first, rest = fake_broker.split(stream[:cut])
    second, nothing = fake_broker.split(rest + stream[cut:])
    assert [first + second, nothing] == [packets, b""]
