"""TLS to a real Mosquitto that wants certificates."""

import re
import shutil
import ssl
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.x509 import load_pem_x509_certificate

from edgeloop.errors import BrokerError, ConfigError
from edgeloop.mqtt.connection import Arrival, MqttConnection, Reconnected
from edgeloop.mqtt.tls import DatesError, Identity, validity
from edgeloop.runtime.config import BrokerSettings, parse
from tests.authority import Authority
from tests.devices import wait_until
from tests.fake_broker import before
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
    with (
        MqttConnection(mine, "a", ["of/#"]) as connection,
        MqttConnection(other, "b", []) as stranger,
    ):
        stranger.publish("of/me", b"refused")
        assert not stranger.flush(5), "what is refused is not taken"
        connection.publish("of/me", b"hello")
        arrival = connection.receive(5)
    assert isinstance(arrival, Arrival)
    assert arrival.payload == b"hello"


@pytest.mark.broker
def test_a_broker_that_wants_a_certificate_and_gets_none(
    start_broker: StartBroker, authority: Authority
) -> None:
    broker = start_broker(*authority.listener(LOOPBACK)).settings
    settings = broker.model_copy(update={"ca_file": authority.file, "connect_seconds": 1.0})
    with pytest.raises(BrokerError, match=r"wants a certificate of this client \(.*; give cert"):
        MqttConnection(settings, "me", []).__enter__()


@pytest.mark.broker
def test_a_client_without_tls(start_broker: StartBroker, authority: Authority) -> None:
    broker = start_broker(*authority.listener(LOOPBACK)).settings
    settings = broker.model_copy(update={"connect_seconds": 1.0})
    with pytest.raises(BrokerError, match=r"does not answer; .* without TLS unless ca_file is giv"):
        MqttConnection(settings, "me", []).__enter__()


@pytest.mark.broker
def test_a_broker_without_tls(broker: BrokerSettings, authority: Authority) -> None:
    settings = authority.client(broker, "me", connect_seconds=0.5)
    with pytest.raises(BrokerError, match=r"does not speak TLS on this port .*8883, or take ca_f"):
        MqttConnection(settings, "me", []).__enter__()


@pytest.mark.broker
def test_a_broker_of_another_authority(
    start_broker: StartBroker, authority: Authority, tmp_path: Path
) -> None:
    broker = start_broker(*authority.listener(LOOPBACK)).settings
    settings = Authority(tmp_path / "other").client(broker, "me")
    expected = r"does not hold \(self-signed certificate in certificate chain\); check host, or gi"
    with pytest.raises(BrokerError, match=expected):
        MqttConnection(settings, "me", []).__enter__()


@pytest.mark.broker
def test_a_broker_of_another_name(start_broker: StartBroker, authority: Authority) -> None:
    broker = start_broker(*authority.listener("elsewhere.example")).settings
    settings = authority.client(broker, "me")
    expected = r"does not hold \(IP address mismatch.*; give as host what the certificate names"
    with pytest.raises(BrokerError, match=expected):
        MqttConnection(settings, "me", []).__enter__()


@pytest.mark.broker
def test_certificates_are_read_anew_before_each_connection(
    start_broker: StartBroker, authority: Authority, tmp_path: Path
) -> None:
    broker = start_broker(*authority.listener(LOOPBACK))
    settings = authority.client(broker.settings, "me")
    assert settings.ca_file is not None
    assert settings.certificate_file is not None
    assert settings.key_file is not None
    with MqttConnection(settings, "me", []) as connection:
        broker.process.kill()
        broker.process.wait()
        later = Authority(tmp_path / "later")
        settings.key_file.write_text("half written")  # as long as it is, the old ones are shown
        start_broker(*later.listener(LOOPBACK), port=broker.settings.port)
        assert connection.receive(2) is None
        certificate, key = later.sign("me")
        shutil.copyfile(later.file, settings.ca_file)
        shutil.copyfile(certificate, settings.certificate_file)
        shutil.copyfile(key, settings.key_file)
        assert connection.receive(20) == Reconnected()


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


NOT_YET = {
    "since": datetime(2096, 2, 29, 12, tzinfo=UTC),
    "until": datetime(2097, 1, 1, tzinfo=UTC),
}
GONE = {"since": datetime(2016, 2, 29, 12, tzinfo=UTC), "until": datetime(2017, 1, 1, tzinfo=UTC)}
DATES = [
    (NOT_YET, "is not yet valid: it holds from 2096-02-29 12:00 UTC, and this", "set the clock"),
    (GONE, "has expired: it held until 2017-01-01 00:00 UTC, and this", "renew it"),
]


@pytest.mark.broker
@pytest.mark.parametrize(("dates", "problem", "remedy"), DATES)
def test_a_broker_whose_certificate_does_not_hold_now(
    start_broker: StartBroker,
    authority: Authority,
    dates: dict[str, datetime],
    problem: str,
    remedy: str,
) -> None:
    broker = start_broker(*authority.listener(LOOPBACK, **dates)).settings
    settings = authority.client(broker, "me", connect_seconds=0.5)
    expected = f"hold: it {problem} machine's clock says {datetime.now(UTC):%Y-}.*; {remedy}"
    with pytest.raises(BrokerError, match=expected):
        MqttConnection(settings, "me", []).__enter__()


@pytest.mark.parametrize(("dates", "problem", "remedy"), DATES)
def test_a_certificate_of_ones_own_that_does_not_hold_now(
    authority: Authority, dates: dict[str, datetime], problem: str, remedy: str
) -> None:
    certificate, key = authority.sign("old", **dates)
    settings = authority.client(BrokerSettings(), "me", certificate_file=certificate, key_file=key)
    with pytest.raises(DatesError, match=f"{problem} machine's clock says") as caught:
        Identity(settings).check_dates()
    assert caught.value.remedy.startswith(remedy)


def test_when_a_certificate_holds(authority: Authority) -> None:
    """As the library for it says, for years before and after 2050."""
    for dates in (NOT_YET, GONE, {}):
        pem = authority.sign("any", **dates)[0].read_text()
        known = load_pem_x509_certificate(pem.encode())
        assert validity(pem) == (known.not_valid_before_utc, known.not_valid_after_utc)
    for wrong in ("", "junk", f"{ssl.PEM_HEADER}\njunk\n{ssl.PEM_FOOTER}", pem[:200]):
        assert validity(wrong) is None


def refusal(settings: BrokerSettings) -> str:
    """Return what a client that is not patient is told."""
    with pytest.raises(BrokerError) as caught:
        MqttConnection(settings, "me", []).__enter__()
    return str(caught.value)


@pytest.mark.broker
def test_a_certificate_that_the_broker_knows_no_authority_of(
    start_broker: StartBroker, authority: Authority, tmp_path: Path
) -> None:
    broker = start_broker(*authority.listener(LOOPBACK)).settings
    certificate, key = Authority(tmp_path / "other").sign("me")
    mine = {"certificate_file": certificate, "key_file": key, "connect_seconds": 1.0}
    said = refusal(authority.client(broker, "me", **mine))
    assert "does not know the authority of certificate_file (" in said
    assert "give one of an authority that the broker trusts" in said


@pytest.mark.broker
def test_a_certificate_that_is_revoked(
    start_broker: StartBroker, authority: Authority, tmp_path: Path
) -> None:
    listener = authority.listener(LOOPBACK)
    lost = authority.sign("lost")
    revoked = authority.revoke(lost[0])
    broker = start_broker(*listener, f"crlfile {revoked}").settings
    other = authority.client(broker, "kept")
    with MqttConnection(other, "kept", []) as connection:
        assert connection.connected
    mine = {"certificate_file": lost[0], "key_file": lost[1], "connect_seconds": 1.0}
    said = refusal(authority.client(broker, "me", **mine))
    assert "says that certificate_file is revoked (" in said
    assert "have another one made for this device" in said


@pytest.mark.broker
@pytest.mark.parametrize("whose", ["broker", "own"])
def test_who_is_patient_waits_until_the_dates_hold(
    start_broker: StartBroker,
    authority: Authority,
    whose: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A device's clock is set when it has been up for a while; a certificate is renewed."""
    first = NOT_YET if whose == "broker" else {}
    broker = start_broker(*authority.listener(LOOPBACK, **first))
    settings = authority.client(broker.settings, "me")
    if whose == "own":
        authority.sign("me", **GONE)
    connection = MqttConnection(settings, "me", [], retry_forever=True)
    connecting = threading.Thread(target=connection.__enter__)
    connecting.start()
    said = "is not yet valid" if whose == "broker" else "certificate_file: has expired"
    wait_until(lambda: said in caplog.text)
    assert "; tries again, next in" in caplog.text
    if whose == "broker":
        broker.process.kill()
        broker.process.wait()
        start_broker(*authority.listener(LOOPBACK), port=broker.settings.port)
    else:
        authority.sign("me")
    connecting.join(60)
    assert connection.connected
    connection.__exit__()


@pytest.mark.broker
def test_a_broker_whose_tls_is_old(authority: Authority) -> None:
    """Nobody has one any more; this one says what it would."""
    old = bytes.fromhex("15 0301 0002 02 46")  # a fatal alert: protocol version
    with before(1, lambda number: old) as port:
        settings = authority.client(BrokerSettings(port=port), "me", connect_seconds=0.5)
        assert "speaks an old TLS only (" in refusal(settings)
        assert "have it speak TLS 1.2 or newer" in refusal(settings)


@pytest.mark.broker
def test_something_else_than_a_broker(authority: Authority) -> None:
    with before(1, lambda number: b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        settings = authority.client(BrokerSettings(port=port), "me", connect_seconds=0.5)
        assert "does not speak TLS on this port (" in refusal(settings)
