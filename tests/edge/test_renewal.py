"""A device renews its certificate by itself, and its connection shows the new one."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from cloud.authority.identity import Identity
from edge.agent import command, enrolment
from edge.agent.folder import device_settings
from edge.agent.renewal import Renewal
from edge.agent.settings import DeviceSettings
from edgeloop.errors import ConfigError
from edgeloop.mqtt.connection import MqttConnection, Reconnected
from edgeloop.protocol.task import client_id, round_topic
from edgeloop.runtime.config import parse
from tests.devices import wait_until
from tests.enrolled import TASK, Site, guarded_broker, serials, site


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("site")) as found:
        yield found


class Renewed:
    """How often a connection was told to show a new certificate, and the time."""

    def __init__(self) -> None:
        self.times, self.now = 0, datetime.now(UTC)

    def __call__(self) -> None:
        self.times += 1


def test_a_certificate_is_renewed_when_half_of_its_life_is_over(here: Site) -> None:
    folder, told = here.enrol("cam-1"), Renewed()
    before = (folder / "device.crt").read_bytes()
    renewal = Renewal(folder, told, lambda: told.now)
    told.now += timedelta(days=3, hours=11)
    assert renewal.look()
    assert (told.times, (folder / "device.crt").read_bytes()) == (0, before)
    told.now += timedelta(hours=2)
    assert renewal.look()
    assert told.times == 1
    assert (folder / "device.crt").read_bytes() != before


def test_it_renews_in_a_thread_of_its_own(here: Site) -> None:
    folder, told = here.enrol("cam-2"), Renewed()
    told.now += timedelta(days=6)
    with Renewal(folder, told, lambda: told.now, look_seconds=0.01):
        wait_until(lambda: told.times >= 2)  # by this clock each new one is old as well


def test_who_is_refused_says_so_and_goes_on(here: Site, caplog: pytest.LogCaptureFixture) -> None:
    folder, told = here.enrol("cam-3"), Renewed()
    here.authority.revoke(Identity(TASK, "cam-3"), "ann")
    told.now += timedelta(days=6)
    renewal = Renewal(folder, told, lambda: told.now)
    assert not renewal.look()
    assert "is not renewed: cam-3 of presses: was revoked; enrol again by a token" in caplog.text
    facts = json.loads((folder / "identity.json").read_text())
    (folder / "identity.json").write_text(json.dumps({**facts, "server": "https://127.0.0.1:9"}))
    assert not renewal.look()
    assert "is not renewed yet: https://127.0.0.1:9: does not answer" in caplog.text
    assert told.times == 0


def table(folder: Path, **changes: Any) -> DeviceSettings:
    mine = {"name": "cam-4", "task": TASK, "folder": "x", "data": {"source": "x"}}
    return parse({**mine, "enrolment": folder, **changes}, DeviceSettings, "device.toml")


def test_an_agent_takes_its_broker_from_where_it_enrolled(here: Site) -> None:
    folder = here.enrol("cam-4")
    broker = enrolment.completed(table(folder), folder).broker
    assert (broker.host, broker.port) == ("127.0.0.1", 8883)
    assert broker.certificate_file == folder / "device.crt"
    own = enrolment.completed(table(folder, broker={"port": 443, "prefix": "a/"}), folder).broker
    assert (own.host, own.port, own.prefix) == ("127.0.0.1", 443, "a/")
    assert own.ca_file == folder / "ca.crt"
    with pytest.raises(ConfigError, match="enrolment: is that of cam-4 of presses"):
        enrolment.completed(table(folder, name="cam-5"), folder)
    with pytest.raises(ConfigError, match="enrolment: is that of cam-4 of presses"):
        enrolment.completed(table(folder, task="ovens"), folder)


def test_an_agent_that_never_enrolled_says_so(tmp_path: Path) -> None:
    file = tmp_path / "device.toml"
    file.write_text(
        f'name = "a"\ntask = "t"\nfolder = "{tmp_path / "state"}"\n'
        f'enrolment = "{tmp_path}"\n[data]\nsource = "x"\n'
    )
    with pytest.raises(ConfigError, match="has no identity of a device; name the folder"):
        command.main(["--config", str(file)])


@pytest.mark.broker
def test_a_connection_shows_what_was_renewed(here: Site, caplog: pytest.LogCaptureFixture) -> None:
    """It is away for a moment, and warns of nothing."""
    caplog.set_level(logging.INFO)
    folder = here.enrol("cam-6")
    with guarded_broker(here) as broker:
        settings = broker.settings(folder)
        name = client_id(TASK, "cam-6")
        with MqttConnection(settings, name, [round_topic(TASK)], persistent=False) as connection:
            enrolment.renew(folder)
            connection.redial()
            assert connection.receive(20) == Reconnected()
    assert "connects to 127.0.0.1" in caplog.text
    assert "again, with what its files hold now" in caplog.text
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


def test_one_file_for_many_devices_has_an_identity_for_each(here: Site, tmp_path: Path) -> None:
    shared = table(tmp_path)
    mine = device_settings(shared, "cam-9")
    assert mine.enrolment == tmp_path / "cam-9"
    assert device_settings(shared.model_copy(update={"enrolment": None}), "a").enrolment is None


def test_a_device_learns_which_services_are_revoked(
    here: Site, caplog: pytest.LogCaptureFixture
) -> None:
    folder = here.enrol("cam-10")
    settings = enrolment.completed(table(folder, name="cam-10"), folder).broker
    assert (settings.signing, settings.revoked_files) == ("required", (folder / "services.crl",))
    assert serials(x509.load_pem_x509_crl((folder / "services.crl").read_bytes())) == set()
    here.issue("aggregator", "mills")
    here.authority.revoke_service(Identity("mills", "aggregator"), "ann")
    Renewal(folder, Renewed()).look_at_others()
    found = x509.load_pem_x509_crl((folder / "services.crl").read_bytes())
    assert serials(found) == serials(here.authority.revoked("services")) != set()
    facts = json.loads((folder / "identity.json").read_text())
    (folder / "identity.json").write_text(json.dumps({**facts, "server": "https://127.0.0.1:9"}))
    enrolment.try_fetch_revoked(folder)
    assert "not known which services' certificates hold no more" in caplog.text
    accepts = table(folder, name="cam-10", broker={"signatures": "accepted"})
    assert enrolment.completed(accepts, folder).broker.signing == "accepted"
