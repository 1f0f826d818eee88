"""Ways to a broker: websockets, an HTTP proxy, port 443 shared by ALPN, prefixes."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from edgeloop.errors import BrokerError, ConfigError
from edgeloop.mqtt.connection import Arrival, MqttConnection, Reconnected
from edgeloop.mqtt.loop_client import Heard, LoopClient
from edgeloop.mqtt.proxy import chosen
from edgeloop.runtime.config import BrokerSettings, parse
from edgeloop.runtime.ports import free_port
from tests.authority import Authority
from tests.http_proxy import http_proxy, tls_front
from tests.world import StartBroker, wait_for_port

LARGE = bytes(range(256)) * 320
"""More than a websocket's frame of 16 bits: Mosquitto passes some 40 kB a second on through one."""


def exchange(ours: BrokerSettings, theirs: BrokerSettings | None = None) -> None:
    """Send a small and a large message from one client to another."""
    with (
        MqttConnection(ours, "hears", ["a", "b"], presence="p") as hears,
        MqttConnection(theirs or ours, "says", []) as says,
    ):
        for topic, payload in (("a", b"small"), ("b", LARGE)):
            says.publish(topic, payload)
            arrival = hears.receive(30)
            assert isinstance(arrival, Arrival)
            assert (arrival.topic, arrival.payload) == (topic, payload)
            arrival.acknowledge()


def websocket_listener(port: int, *lines: str) -> list[str]:
    """Return what makes Mosquitto listen for websockets as well: 2.0.11 cannot on their own."""
    return [f"listener {port} 127.0.0.1", "protocol websockets", *lines]


def websockets(port: int, **changes: Any) -> BrokerSettings:
    wait_for_port(port)
    return BrokerSettings(port=port, transport="websockets", **changes)


@pytest.mark.broker
def test_websockets(start_broker: StartBroker) -> None:
    start_broker(*websocket_listener(port := free_port()))
    exchange(websockets(port, path="/mqtt"))


@pytest.mark.broker
def test_websockets_in_tls_with_certificates(start_broker: StartBroker, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    start_broker(*websocket_listener(port := free_port(), *authority.listener("127.0.0.1")))
    exchange(authority.client(websockets(port), "me"))


@pytest.mark.broker
def test_a_websocket_that_is_lost_comes_back(start_broker: StartBroker) -> None:
    listener = websocket_listener(port := free_port())
    broker = start_broker(*listener)
    with MqttConnection(websockets(port), "me", ["a"]) as connection:
        broker.process.kill()
        broker.process.wait()
        start_broker(*listener)
        assert connection.receive(20) == Reconnected()


@pytest.mark.broker
def test_a_broker_without_websockets_and_the_reverse(
    broker: BrokerSettings, start_broker: StartBroker
) -> None:
    wrong = broker.model_copy(update={"transport": "websockets", "connect_seconds": 1.0})
    with pytest.raises(BrokerError, match="check path, and that it speaks websockets on this port"):
        MqttConnection(wrong, "me", []).__enter__()
    start_broker(*websocket_listener(port := free_port()))
    wait_for_port(port)
    plain = BrokerSettings(port=port, connect_seconds=1.0)
    with pytest.raises(BrokerError, match="does not answer; check that it speaks MQTT 5"):
        MqttConnection(plain, "me", []).__enter__()


@pytest.mark.broker
@pytest.mark.parametrize("transport", ["tcp", "websockets"])
def test_through_a_proxy(
    start_broker: StartBroker, transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is the proxy that looks up the broker's name."""
    caplog.set_level(logging.INFO)
    plain = start_broker(*websocket_listener(port := free_port())).settings
    with http_proxy(plain.port if transport == "tcp" else port) as proxy:
        far: dict[str, Any] = {
            "host": "broker.invalid",
            "port": 443,
            "transport": transport,
            "proxy": f"http://127.0.0.1:{proxy.port}",
        }
        exchange(BrokerSettings(**far))
    assert set(proxy.heard) == {"CONNECT broker.invalid:443 HTTP/1.1"}
    said = f"connects to broker.invalid:443 through the proxy 127.0.0.1:{proxy.port} (by broker.pro"
    assert said in caplog.text


@pytest.mark.broker
def test_through_a_proxy_that_knows_its_users(broker: BrokerSettings, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("wrong\n")
    with http_proxy(broker.port, "me:s:cret") as proxy:
        way = {"proxy": f"http://me@127.0.0.1:{proxy.port}", "proxy_password_file": secret}
        settings = broker.model_copy(update={"connect_seconds": 1.0, **way})
        with pytest.raises(BrokerError, match=r"407 Proxy Auth.*; give the proxy's user in proxy"):
            MqttConnection(settings, "me", []).__enter__()
        secret.write_text("s:cret\n")  # read before each connection
        exchange(settings)


@pytest.mark.broker
def test_tls_through_a_proxy_is_the_brokers(start_broker: StartBroker, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    broker = start_broker(*authority.listener("broker.invalid"))
    with http_proxy(broker.settings.port) as proxy:
        way = {"host": "broker.invalid", "proxy": f"http://127.0.0.1:{proxy.port}"}
        exchange(authority.client(broker.settings, "me", **way))


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        ("403 Forbidden", "have the proxy let this machine through to the broker"),
        ("502 Bad Gateway", "check host and port, as the proxy sees them"),
        ("418 Teapot", "see the proxy's log"),
    ],
)
def test_a_proxy_that_says_no(status: str, remedy: str) -> None:
    with http_proxy(1, status=status) as proxy:
        settings = BrokerSettings(proxy=f"http://127.0.0.1:{proxy.port}", connect_seconds=0.5)
        with pytest.raises(BrokerError, match=f"does not lead there .'{status}'.*{remedy}"):
            MqttConnection(settings, "me", []).__enter__()


def test_a_proxy_that_is_none(broker: BrokerSettings) -> None:
    settings = BrokerSettings(proxy=f"http://127.0.0.1:{broker.port}", connect_seconds=0.5)
    with pytest.raises(BrokerError, match=r"does not answer in HTTP\); check that it is an HTTP"):
        MqttConnection(settings, "me", []).__enter__()
    away = BrokerSettings(proxy="http://127.0.0.1:1", connect_seconds=0.5)
    with pytest.raises(BrokerError, match=r"the proxy 127.0.0.1:1 .* cannot be reached .*check pr"):
        MqttConnection(away, "me", []).__enter__()


@pytest.mark.parametrize(
    ("settings", "environment", "expected"),
    [
        ({"host": "far.example"}, {}, None),
        ({"host": "far.example"}, {"https_proxy": "http://p:8080"}, ("p", 8080, "https_proxy")),
        ({"host": "far.example"}, {"HTTPS_PROXY": "p:8080"}, ("p", 8080, "https_proxy")),
        ({"host": "far.example"}, {"https_proxy": "http://p"}, ("p", 3128, "https_proxy")),
        ({"host": "far.example"}, {"https_proxy": "socks5://p:1"}, None),
        ({"host": "far.example"}, {"https_proxy": "http://p:x"}, None),
        ({"host": "far.example"}, {"https_proxy": "http://p:1", "no_proxy": ".example"}, None),
        ({"host": "localhost"}, {"https_proxy": "http://p:1"}, None),
        ({"host": "::1"}, {"https_proxy": "http://p:1"}, None),
        ({"host": "far.example", "proxy": "none"}, {"https_proxy": "http://p:1"}, None),
        (
            {"host": "far.example", "proxy": "http://[::2]:9"},
            {"https_proxy": "http://p:1", "no_proxy": "*"},
            ("::2", 9, "broker.proxy"),
        ),
    ],
)
def test_which_proxy_is_on_the_way(
    settings: dict[str, Any],
    environment: dict[str, str],
    expected: tuple[str, int, str] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = chosen(BrokerSettings(**settings))
    assert (found and (found.host, found.port, found.source)) == expected


def test_a_user_of_the_environments_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://me:s%3Acret@p:1")
    monkeypatch.setenv("no_proxy", "")
    found = chosen(BrokerSettings(host="far.example"))
    assert found is not None
    assert (found.user, found.password) == ("me", "s:cret")
    assert "cret" not in str(found)


@pytest.mark.broker
def test_a_port_that_is_shared(broker: BrokerSettings, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    certificate, key = authority.sign("broker", "127.0.0.1")
    with tls_front(broker.port, str(certificate), str(key), "x-amzn-mqtt-ca") as front:
        shared = {"port": front.port, "ca_file": authority.file, "alpn": "x-amzn-mqtt-ca"}
        exchange(broker.model_copy(update=shared))
    assert set(front.heard) == {"x-amzn-mqtt-ca"}


@pytest.mark.broker
def test_prefixes(start_broker: StartBroker, tmp_path: Path) -> None:
    """Only the broker sees them."""
    rights = tmp_path / "rights"
    rights.write_text("pattern readwrite plant-3/%c/#\ntopic read plant-3/#\n")
    broker = start_broker(f"acl_file {rights}", "allow_zero_length_clientid false").settings
    ours = broker.model_copy(update={"prefix": "plant-3/", "client_id_prefix": "p3-"})
    with (
        MqttConnection(broker, "any", ["plant-3/#"]) as watcher,
        MqttConnection(ours, "me", ["p3-me/+", "$share/all/p3-me/s/+"], "p3-me/p") as connection,
    ):
        for topic in ("p3-me/a", "p3-me/s/a"):
            connection.publish(topic, b"1")
            arrival = connection.receive(10)
            while isinstance(arrival, Arrival) and arrival.topic == "p3-me/p":
                arrival.acknowledge()
                arrival = connection.receive(10)
            assert isinstance(arrival, Arrival)
            assert arrival.topic == topic
            arrival.acknowledge()
        connection.publish("shut", b"1")
        assert not connection.flush(10)
        assert connection.refusals() == ["refuses messages on plant-3/shut (Not authorized)"]
        seen = {event.topic for event in watcher.receive_all(5, 9) if isinstance(event, Arrival)}
    assert "plant-3/p3-me/p" in seen
    with MqttConnection(broker, "any2", ["plant-3/p3-me/p"]) as watcher:
        last = watcher.receive(5)
    assert isinstance(last, Arrival)
    assert last.payload == b"offline"


@pytest.mark.broker
def test_a_client_of_a_loop_goes_the_same_way(start_broker: StartBroker) -> None:
    start_broker(*websocket_listener(port := free_port()))
    with http_proxy(port) as proxy:
        way = {
            "proxy": f"http://127.0.0.1:{proxy.port}",
            "prefix": "plant-3/",
            "client_id_prefix": "p",
        }
        settings = websockets(port, **way)
        arrived = asyncio.run(_loop_exchange(settings))
    assert arrived.topic == "a"
    assert arrived.payload == LARGE
    assert len(proxy.heard) == 1


async def _loop_exchange(settings: BrokerSettings) -> Arrival:
    loop = asyncio.get_running_loop()
    up, arrived, down = (loop.create_future() for _ in range(3))
    heard = Heard(
        lambda refused: up.set_result(refused),
        lambda why: down.set_result(why),
        lambda arrival: arrived.set_result(arrival),
        lambda number, why: None,
    )
    client = LoopClient(settings, "me", heard, "will")
    await loop.run_in_executor(None, client.dial)
    assert await asyncio.wait_for(up, 10) is None
    client.subscribe(["a"])
    client.publish("a", LARGE)
    found: Arrival = await asyncio.wait_for(arrived, 30)
    client.end()
    await asyncio.wait_for(down, 10)
    return found


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"prefix": "plant-3"}, "prefix"),
        ({"prefix": "/"}, "prefix"),
        ({"prefix": "a/+/"}, "prefix"),
        ({"prefix": "$SYS/"}, "prefix"),
        ({"client_id_prefix": "a b"}, "client_id_prefix"),
        ({"proxy": "socks5://p:1"}, "proxy"),
        ({"proxy": "http://p"}, "proxy"),
        ({"proxy": "http://me:secret@p:1"}, "proxy"),
        ({"proxy": "http://p:1", "proxy_password_file": "a"}, "proxy_password_file needs a user"),
        ({"path": "mqtt", "transport": "websockets"}, "path"),
        ({"path": "/ws"}, "path is a websocket's"),
        ({"alpn": "mqtt"}, "alpn needs ca_file"),
        ({"transport": "quic"}, "transport"),
    ],
)
def test_what_is_no_way(table: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        parse(table, BrokerSettings, "task.toml")
