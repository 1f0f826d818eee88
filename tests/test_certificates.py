"""TLS to a real Mosquitto that wants certificates."""

import re
import shutil
from pathlib import Path

import pytest

from edgeloop.certificates import Identity
from edgeloop.errors import BrokerError, ConfigError
from edgeloop.link import Arrival, Link, Reconnected
from edgeloop.settings import BrokerSettings, parse
from tests.authority import Authority
from tests.world import StartBroker

LOOPBACK = "127.0.0.1"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.mark.broker
def test_both_sides_show_certificates(
    start_broker: StartBroker, authority: Authority, tmp_path: Path
) -> None:
    rights = tmp_path / "rights"
    rights.write_text("pattern readwrite of/%u\n")
    broker = start_broker(*authority.listener(LOOPBACK), f"acl_file {rights}").settings
    mine, other = authority.client(broker, "me"), authority.client(broker, "you")
    with Link(mine, "a", ["of/#"]) as link, Link(other, "b", []) as stranger:
        stranger.publish("of/me", b"refused")
        assert not stranger.flush(5), "what is refused is not taken"
        link.publish("of/me", b"hello")
        arrival = link.receive(5)
    assert isinstance(arrival, Arrival)
    assert arrival.payload == b"hello"


@pytest.mark.broker
def test_a_broker_that_wants_a_certificate_and_gets_none(
    start_broker: StartBroker, authority: Authority
) -> None:
    broker = start_broker(*authority.listener(LOOPBACK)).settings
    settings = broker.model_copy(update={"ca_file": authority.file, "connect_seconds": 1.0})
    with pytest.raises(BrokerError, match=r"does not answer; .* accepts the certificate in cert"):
        Link(settings, "me", []).__enter__()


@pytest.mark.broker
def test_a_client_without_tls(start_broker: StartBroker, authority: Authority) -> None:
    broker = start_broker(*authority.listener(LOOPBACK)).settings
    settings = broker.model_copy(update={"connect_seconds": 1.0})
    with pytest.raises(BrokerError, match=r"does not answer; .* without TLS unless ca_file is giv"):
        Link(settings, "me", []).__enter__()


@pytest.mark.broker
def test_a_broker_without_tls(broker: BrokerSettings, authority: Authority) -> None:
    settings = authority.client(broker, "me", connect_seconds=0.5)
    with pytest.raises(BrokerError, match=r"cannot be reached \("):
        Link(settings, "me", []).__enter__()


@pytest.mark.broker
def test_a_broker_of_another_authority(
    start_broker: StartBroker, authority: Authority, tmp_path: Path
) -> None:
    broker = start_broker(*authority.listener(LOOPBACK)).settings
    settings = Authority(tmp_path / "other").client(broker, "me")
    expected = r"does not hold \(self-signed certificate in certificate chain\); mend host, or gi"
    with pytest.raises(BrokerError, match=expected):
        Link(settings, "me", []).__enter__()


@pytest.mark.broker
def test_a_broker_of_another_name(start_broker: StartBroker, authority: Authority) -> None:
    broker = start_broker(*authority.listener("elsewhere.example")).settings
    settings = authority.client(broker, "me")
    with pytest.raises(BrokerError, match=r"does not hold \(IP address mismatch"):
        Link(settings, "me", []).__enter__()


@pytest.mark.broker
def test_certificates_are_read_anew_before_each_connection(
    start_broker: StartBroker, authority: Authority, tmp_path: Path
) -> None:
    broker = start_broker(*authority.listener(LOOPBACK))
    settings = authority.client(broker.settings, "me")
    assert settings.ca_file is not None
    assert settings.certificate_file is not None
    assert settings.key_file is not None
    with Link(settings, "me", []) as link:
        broker.process.kill()
        broker.process.wait()
        later = Authority(tmp_path / "later")
        settings.key_file.write_text("half written")  # as long as it is, the old ones are shown
        start_broker(*later.listener(LOOPBACK), port=broker.settings.port)
        assert link.receive(2) is None
        certificate, key = later.sign("me")
        shutil.copyfile(later.file, settings.ca_file)
        shutil.copyfile(certificate, settings.certificate_file)
        shutil.copyfile(key, settings.key_file)
        assert link.receive(20) == Reconnected()


@pytest.mark.parametrize("field", ["ca_file", "certificate_file", "key_file"])
@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_files_that_cannot_be_used(
    authority: Authority, tmp_path: Path, field: str, content: str | None
) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_text(content)
    settings = authority.client(BrokerSettings(), "me", **{field: file})
    with pytest.raises(BrokerError, match=f"broker.*{field}.*: cannot be used"):
        Identity(settings)


def test_a_key_of_another_certificate(authority: Authority) -> None:
    _, key = authority.sign("you")
    settings = authority.client(BrokerSettings(), "me", key_file=key)
    with pytest.raises(BrokerError, match=r"key values mismatch.*give a certificate and its own"):
        Identity(settings)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"certificate_file": "a"}, "certificate_file and key_file go together"),
        ({"key_file": "a"}, "certificate_file and key_file go together"),
        ({"certificate_file": "a", "key_file": "b"}, "certificate_file needs ca_file"),
    ],
)
def test_files_that_belong_together(table: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(problem)):
        parse(table, BrokerSettings, "task.toml")
