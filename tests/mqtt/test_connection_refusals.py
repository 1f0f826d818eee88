"""What a link does about a broker that says no, or is not there yet."""

import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from edgeloop.errors import BrokerError, RefusedError
from edgeloop.mqtt.connection import Arrival, MqttConnection, Reconnected
from edgeloop.mqtt.paho_client import PahoClient
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.ports import free_port
from tests.devices import wait_until
from tests.fake_broker import before, refusing
from tests.world import StartBroker

pytestmark = pytest.mark.broker


@pytest.mark.parametrize("code", [0x80, 0x83, 0x88, 0x89, 0x97, 0x9C, 0x9D, 0x9F])
def test_a_refusal_that_passes_is_tried_again(broker: BrokerSettings, code: int) -> None:
    with (
        before(broker.port, refusing(code, code)) as port,
        MqttConnection(BrokerSettings(port=port), "me", ["a"]) as connection,
    ):
        assert connection.connected


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (0x84, "Unsupported protocol version); use a broker that speaks MQTT 5"),
        (0x85, "Client identifier not valid); have it accept client ids that begin"),
        (0x86, "Bad user name or password); check username and password_file"),
        (0x87, "Not authorized); check username and password_file, or its rights"),
        (0x8A, "Banned); have the broker's owner lift the ban"),
        (0x9A, "Retain not supported); have it keep retained messages"),
        (0x9B, "QoS not supported); have it take QoS 1"),
    ],
)
@pytest.mark.parametrize("patient", [True, False])
def test_a_refusal_that_stays_has_its_remedy(
    broker: BrokerSettings, code: int, said: str, patient: bool
) -> None:
    with before(broker.port, refusing(code)) as port:
        connection = MqttConnection(BrokerSettings(port=port), "me", [], retry_forever=patient)
        with pytest.raises(RefusedError) as caught:
            connection.__enter__()
    assert f"refuses me ({said}" in str(caught.value)


def test_a_broker_that_stays_busy_is_given_up_with_its_own_remedy(broker: BrokerSettings) -> None:
    with before(broker.port, refusing(*[0x89] * 50)) as port:
        connection = MqttConnection(BrokerSettings(port=port, connect_seconds=1.0), "me", [])
        with pytest.raises(RefusedError, match=r"refuses me \(Server busy\); wait until it has"):
            connection.__enter__()


def test_a_broker_that_keeps_nothing(start_broker: StartBroker) -> None:
    broker = start_broker("retain_available false").settings
    with pytest.raises(RefusedError, match="have it keep retained messages"):
        MqttConnection(broker, "me", ["a"], presence="presence").__enter__()
    with pytest.raises(RefusedError, match=r"keeps no retained messages; have it keep"):
        MqttConnection(broker, "me", ["a"]).__enter__()


def test_a_patient_one_waits_for_a_broker_that_is_not_there_yet(
    start_broker: StartBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    port = free_port()
    connection = MqttConnection(BrokerSettings(port=port), "me", [], retry_forever=True)
    connecting = threading.Thread(target=connection.__enter__)
    connecting.start()
    wait_until(lambda: "cannot be reached (Connection refused); start it" in caplog.text)
    assert connecting.is_alive()
    start_broker(port=port)
    connecting.join(60)
    assert connection.connected
    connection.__exit__()
    assert f"connected to 127.0.0.1:{port} after" in caplog.text
    assert caplog.text.count("cannot be reached") == 1, "once a minute"


def test_a_patient_one_that_is_told_for_how_long(tmp_path: Path) -> None:
    broker = BrokerSettings(port=free_port(), connect_seconds=0.3)
    with pytest.raises(BrokerError, match="cannot be reached"):
        MqttConnection(broker, "me", [], retry_forever=True).__enter__()


def test_connections_that_do_not_last_end_nothing(
    broker: BrokerSettings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with (
        before(broker.port, life=0.2) as port,
        MqttConnection(BrokerSettings(port=port), "me", []) as connection,
    ):
        wait_until(lambda: "or there is another client with the id me" in caplog.text)
        assert "the link does not hold" in caplog.text
        assert "connected again to" in caplog.text
        found = [connection.receive(20) for _ in range(6)]
    assert set(found) == {Reconnected()}


@pytest.fixture
def guarded(start_broker: StartBroker, tmp_path: Path) -> BrokerSettings:
    """A broker that takes messages on one topic only."""
    rights = tmp_path / "rights"
    rights.write_text("topic readwrite open\n")
    return start_broker(f"acl_file {rights}").settings


def test_a_message_that_is_refused_is_not_taken(
    guarded: BrokerSettings, caplog: pytest.LogCaptureFixture
) -> None:
    counted: list[tuple[str, str]] = []
    with MqttConnection(
        guarded, "me", [], refusal=lambda *what: counted.append(what)
    ) as connection:
        connection.send("shut", b"1")
        connection.publish("open", b"2")
        assert not connection.flush(20)
        assert not connection.flush(0, "shut")
        assert connection.flush(0, "open")
        assert connection.is_refused("shut")
        assert connection.refusals() == ["refuses messages on shut (Not authorized)"]
        connection.send("shut", b"1")
        assert not connection.flush(20, "shut")
    assert counted == [("publish", "Not authorized")] * 2
    said = "the broker refuses messages on shut (Not authorized); check its access list for me"
    assert caplog.text.count(said) == 1


@pytest.mark.parametrize("late", [0.0, 0.3])
def test_a_topic_that_is_refused_is_asked_for_again(
    broker: BrokerSettings,
    late: float,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Mosquitto grants every subscription, so the proxy writes the refusals.

    It may answer before the thread that subscribes goes on.
    """
    subscribe = PahoClient.subscribe

    def slow(self: PahoClient, topics: Any) -> Any:
        sent = subscribe(self, topics)
        time.sleep(late)
        return sent

    monkeypatch.setattr(PahoClient, "subscribe", slow)
    refuse = threading.Event()
    refuse.set()

    def change(data: bytes) -> bytes:
        return data[:-1] + b"\x87" if data[0] == 0x90 and refuse.is_set() else data

    counted: list[tuple[str, str]] = []
    told = lambda *what: counted.append(what)  # noqa: E731
    with (
        before(broker.port, change=change) as port,
        MqttConnection(BrokerSettings(port=port), "me", ["a"], refusal=told) as connection,
    ):
        assert connection.refusals() == ["refuses to send a (Not authorized)"]
        assert "the broker refuses to send a to me (Not authorized); check its" in caplog.text
        refuse.clear()
        connection.resubscribe_refused()
        wait_until(lambda: not connection.refusals())
        connection.publish("a", b"hello")
        assert isinstance(connection.receive(20), Arrival)
    assert counted == [("subscribe", "Not authorized")]
