import shutil
import subprocess
import time
from pathlib import Path

import pytest

from edgeloop.errors import BrokerError
from edgeloop.mqtt.connection import Arrival, MqttConnection, Reconnected
from edgeloop.protocol.chunks import Assembler
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.ports import free_port
from tests.devices import wait_until
from tests.fake_broker import before
from tests.world import StartBroker

pytestmark = pytest.mark.broker


def test_nobody_listens() -> None:
    broker = BrokerSettings(port=free_port(), connect_seconds=0.3)
    with pytest.raises(BrokerError, match=r"cannot be reached \(Connection refused\); start it"):
        MqttConnection(broker, "me", []).__enter__()


@pytest.mark.parametrize("host", ["nowhere.invalid", "no..where", "x" * 70])
def test_no_such_host(host: str) -> None:
    broker = BrokerSettings(host=host, connect_seconds=0.3)
    with pytest.raises(BrokerError, match=f"{host}:1883: cannot be reached"):
        MqttConnection(broker, "me", []).__enter__()


def test_credentials(start_broker: StartBroker, tmp_path: Path) -> None:
    passwords, mine = tmp_path / "passwords", tmp_path / "mine"
    hashed = shutil.which("mosquitto_passwd")
    assert hashed is not None
    subprocess.run([hashed, "-b", "-c", passwords, "me", "right"], check=True)
    broker = start_broker("allow_anonymous false", f"password_file {passwords}").settings
    mine.write_text("wrong\n")
    named = broker.model_copy(update={"username": "me", "password_file": mine})
    for settings in (broker, named):
        with pytest.raises(BrokerError, match=r"refuses me \(Not authorized\); check username"):
            MqttConnection(settings, "me", []).__enter__()
    mine.write_text("right\n")
    with MqttConnection(named, "me", []) as connection:
        assert connection.connected


def test_a_password_that_is_changed_in_its_file_needs_no_restart(
    start_broker: StartBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    passwords, mine = tmp_path / "passwords", tmp_path / "mine"
    hashed = shutil.which("mosquitto_passwd")
    assert hashed is not None
    lines = ("allow_anonymous false", f"password_file {passwords}")
    subprocess.run([hashed, "-b", "-c", passwords, "me", "old"], check=True)
    mine.write_text("\ufeffold\r\n", encoding="utf-8")  # as an editor on Windows saves it
    broker = start_broker(*lines)
    settings = broker.settings.model_copy(update={"username": "me", "password_file": mine})
    with MqttConnection(settings, "me", []) as connection:
        subprocess.run([hashed, "-b", "-c", passwords, "me", "new"], check=True)
        broker.process.kill()
        broker.process.wait()
        start_broker(*lines, port=settings.port)
        wait_until(lambda: "check username and password_file" in caplog.text)
        mine.unlink()
        wait_until(lambda: "broker.password_file: cannot be read" in caplog.text)
        mine.write_text("new\n")
        wait_until(lambda: connection.connected)


def test_no_password_file(tmp_path: Path) -> None:
    broker = BrokerSettings(username="me", password_file=tmp_path / "none")
    with pytest.raises(BrokerError, match=r"broker.password_file: cannot be read"):
        MqttConnection(broker, "me", [])


def test_another_process_with_the_same_name(
    broker: BrokerSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither ends; both slow down, and say what it may be."""
    with MqttConnection(broker, "me", []) as first, MqttConnection(broker, "me", []) as second:
        wait_until(lambda: "there is another client with the id me" in caplog.text)
        assert "the link does not hold" in caplog.text
        assert first.receive(0) in (None, Reconnected())
        assert second.receive(0) in (None, Reconnected())
        before = len(caplog.records)
        time.sleep(4)
        assert len(caplog.records) - before <= 8


def test_another_process_with_the_same_name_is_told_by_its_presence(
    broker: BrokerSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """The broker does not say who took the connection, and what it keeps does."""
    with (
        MqttConnection(broker, "me", [], presence="p") as first,
        MqttConnection(broker, "me", [], presence="p") as second,
    ):
        wait_until(lambda: "short while: there is another client with the id me;" in caplog.text)
        wait_until(lambda: first.takeovers + second.takeovers > 0)
    assert "stop the other process, or give this one another name" in caplog.text


def test_a_link_that_does_not_hold_is_no_other_process(
    broker: BrokerSettings, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        before(broker.port, life=0.5) as port,
        MqttConnection(BrokerSettings(port=port), "me", [], presence="p") as connection,
    ):
        wait_until(lambda: "short while: the link does not hold (a weak" in caplog.text)
        assert connection.receive(10) == Reconnected()
        assert connection.takeovers == 0
    assert "another client" not in caplog.text


def test_a_presence_that_may_not_be_read_leaves_both_open(
    start_broker: StartBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rights = tmp_path / "rights"
    rights.write_text("topic write p\n")
    broker = start_broker(f"acl_file {rights}").settings
    with (
        before(broker.port, life=0.5) as port,
        MqttConnection(BrokerSettings(port=port), "me", [], presence="p") as connection,
    ):
        wait_until(lambda: "or there is another client with the id me;" in caplog.text)
        assert not connection.refusals()


def test_a_broker_that_says_who_took_the_connection_is_believed(
    broker: BrokerSettings, caplog: pytest.LogCaptureFixture
) -> None:
    taken = [bytes.fromhex("e0 02 8e 00")]

    def change(data: bytes) -> bytes:
        return data + taken.pop() if data[0] == 0x90 and taken else data

    with (
        before(broker.port, change=change) as port,
        MqttConnection(BrokerSettings(port=port), "me", ["a"]) as connection,
    ):
        wait_until(lambda: "while: there is another client with the id me;" in caplog.text)
        assert connection.receive(10) == Reconnected()
        assert connection.takeovers == 1


def test_what_is_not_acknowledged_comes_again(broker: BrokerSettings) -> None:
    with (
        MqttConnection(broker, "me", ["a"]) as connection,
        MqttConnection(broker, "you", []) as sender,
    ):
        sender.publish("a", b"1")
        sender.publish("a", b"2")
        first = connection.receive(5)
        assert isinstance(first, Arrival)
        first.acknowledge()
        assert isinstance(connection.receive(5), Arrival)
    with MqttConnection(broker, "me", ["a"]) as connection:
        again = connection.receive(5)
        assert isinstance(again, Arrival)
        assert again.payload == b"2"


def test_presence(broker: BrokerSettings) -> None:
    with MqttConnection(broker, "watcher", ["presence"]) as watcher:
        with MqttConnection(broker, "me", [], presence="presence"):
            online = watcher.receive(5)
        offline = watcher.receive(5)
    assert isinstance(online, Arrival)
    assert isinstance(offline, Arrival)
    assert (online.payload, offline.payload) == (b"online", b"offline")


def test_a_broker_that_comes_back_empty(start_broker: StartBroker) -> None:
    seen: list[bool] = []
    broker = start_broker()
    with MqttConnection(broker.settings, "me", ["a"], watch=seen.append) as connection:
        broker.process.kill()
        broker.process.wait()
        start_broker(port=broker.settings.port)
        assert connection.receive(20) == Reconnected()
        with MqttConnection(broker.settings, "you", []) as sender:
            sender.publish("a", b"hello")
            arrival = connection.receive(5)
    assert isinstance(arrival, Arrival)
    assert arrival.payload == b"hello"
    assert seen == [True, False, True, False]


def test_what_is_sent_while_the_broker_is_away_arrives(
    start_broker: StartBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is sent again when the other one listens already."""
    monkeypatch.setattr("edgeloop.runtime.pace.AGAIN_SECONDS", 5.0)
    broker = start_broker()
    with MqttConnection(broker.settings, "me", []) as connection:
        broker.process.kill()
        broker.process.wait()
        while connection.connected:
            connection.receive(0.05)
        connection.send("a", b"hello")
        assert not connection.flush(0.1)
        start_broker(port=broker.settings.port)
        with MqttConnection(broker.settings, "you", ["a"]) as other:
            arrival = other.receive(60)
        assert isinstance(arrival, Arrival)
        assert Assembler(100).offer(arrival.payload) == b"hello"
        assert connection.flush(20)


def test_a_broker_that_takes_few_messages_at_a_time(
    start_broker: StartBroker, caplog: pytest.LogCaptureFixture
) -> None:
    """It cuts the connection of who sends more than its Receive Maximum."""
    broker = start_broker("max_inflight_messages 2", "max_queued_messages 0").settings
    with MqttConnection(broker, "says", []) as says:
        for number in range(200):
            says.publish("a", bytes([number]) * 5000)
        assert says.flush(30)
        assert says._client._max_inflight_messages == 2
    assert "lost the broker" not in caplog.text
