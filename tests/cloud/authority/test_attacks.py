"""What a member of the fleet, or a stranger, tries at a real Mosquitto with the rights we write."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cloud.authority import keys
from cloud.authority.identity import Identity
from cloud.authority.keys import DEVICES
from cloud.authority.signing import Signer, new_key, pem
from edgeloop.errors import BrokerError
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol.task import (
    broadcast_topic,
    client_id,
    contract_topic,
    presence_topic,
    receipt_topic,
    round_topic,
    upload_topic,
)
from edgeloop.runtime.config import BrokerSettings
from tests.devices import wait_until
from tests.enrolled import TASK, GuardedBroker, Site, guarded_broker, site

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("site")) as found:
        yield found


@pytest.fixture(scope="module")
def press(here: Site) -> Path:
    return here.enrol("press-1")


@pytest.fixture(scope="module")
def spy(here: Site) -> Path:
    """An honest certificate of another device, in the wrong hands."""
    return here.enrol("press-2")


@pytest.fixture(scope="module")
def server(here: Site) -> Path:
    return here.issue("aggregator")


@pytest.fixture(scope="module")
def broker(here: Site, press: Path, spy: Path, server: Path) -> Iterator[GuardedBroker]:
    with guarded_broker(here) as started:
        yield started


@contextmanager
def connected(settings: BrokerSettings, name: str, *topics: str) -> Iterator[MqttConnection]:
    patient = settings.model_copy(update={"connect_seconds": 30.0})
    with MqttConnection(patient, client_id(TASK, name), list(topics), persistent=False) as found:
        yield found


def heard(connection: MqttConnection, least: int = 0) -> list[tuple[str, bytes]]:
    """Return what arrives until nothing does for a while; so many are waited for."""
    found: list[tuple[str, bytes]] = []
    while isinstance(event := connection.receive(0.5 if len(found) >= least else 30.0), Arrival):
        event.acknowledge()
        found.append((event.topic, event.payload))
    return found


def goes(connection: MqttConnection, topic: str, retain: bool = False) -> bool:
    """Return whether the broker takes a message."""
    connection.publish(topic, b"planted", retain=retain)
    return connection.flush(5.0, topic)


def test_who_is_admitted_takes_part(broker: GuardedBroker, press: Path, server: Path) -> None:
    mine = broker.settings(press)
    cloud = broker.settings(server, "aggregator")
    with (
        connected(cloud, "aggregator", upload_topic(TASK, "+"), presence_topic(TASK, "+")) as up,
        connected(mine, "press-1", round_topic(TASK), receipt_topic(TASK, "press-1")) as device,
    ):
        for topic in (round_topic(TASK), receipt_topic(TASK, "press-1"), contract_topic(TASK)):
            assert goes(up, topic)
        for topic in (upload_topic(TASK, "press-1"), presence_topic(TASK, "press-1")):
            assert goes(device, topic)
        assert len(heard(up, 2)) == 2
        assert len(heard(device, 2)) == 2


def test_another_devices_topics(broker: GuardedBroker, spy: Path, server: Path) -> None:
    topics = [receipt_topic(TASK, "press-1"), upload_topic(TASK, "+"), presence_topic(TASK, "+")]
    with (
        connected(broker.settings(server, "aggregator"), "aggregator") as up,
        connected(broker.settings(spy), "press-2", *topics, "#", f"edgeloop/v1/{TASK}/#") as device,
    ):
        assert not goes(device, upload_topic(TASK, "press-1"))
        assert not goes(device, presence_topic(TASK, "press-1"))
        up.publish(receipt_topic(TASK, "press-1"), b"secret")
        up.publish(upload_topic(TASK, "press-1"), b"secret")
        assert up.flush(5.0)
        assert (receipt_topic(TASK, "press-1"), b"secret") not in heard(device)


@pytest.mark.parametrize("retain", [False, True])
def test_what_only_the_aggregator_says(
    broker: GuardedBroker, spy: Path, press: Path, retain: bool
) -> None:
    """Forged contracts, openings, broadcasts and receipts: retained or not, none gets in."""
    forged = [
        *(contract_topic(TASK), round_topic(TASK), broadcast_topic(TASK, 0) + "/0"),
        *(receipt_topic(TASK, "press-1"), receipt_topic(TASK, "press-2")),
        "edgeloop/v1/other/contract",
        "elsewhere",
    ]
    with connected(broker.settings(spy), "press-2") as device:
        assert [topic for topic in forged if goes(device, topic, retain)] == []
    listens = [contract_topic(TASK), round_topic(TASK), broadcast_topic(TASK, "+") + "/+"]
    with connected(broker.settings(press), "press-1", *listens) as victim:
        assert all(payload != b"planted" for _, payload in heard(victim))


def test_another_tasks_topics(here: Site, broker: GuardedBroker, server: Path) -> None:
    oven = here.enrol("oven-1", task="ovens")
    other = here.issue("aggregator", task="ovens")
    broker.update()
    topics = [contract_topic(TASK), round_topic(TASK), broadcast_topic(TASK, "#"), "$SYS/#"]
    with (
        connected(broker.settings(server, "aggregator"), "aggregator") as up,
        connected(broker.settings(oven), "oven-1", *topics) as device,
        connected(broker.settings(other, "aggregator"), "x", upload_topic(TASK, "+")) as rival,
    ):
        wait_until(lambda: goes(device, upload_topic("ovens", "oven-1")), 30)
        assert not goes(device, upload_topic(TASK, "oven-1"))
        assert not goes(rival, contract_topic(TASK))
        assert not goes(up, contract_topic("ovens"))
        for topic in (contract_topic(TASK), round_topic(TASK), upload_topic(TASK, "press-1")):
            up.publish(topic, b"secret", retain=True)
            assert up.flush(5.0, topic)
        assert heard(device) == []
        assert heard(rival) == []
        for topic in (contract_topic(TASK), round_topic(TASK), upload_topic(TASK, "press-1")):
            up.publish(topic, b"", retain=True)


@pytest.mark.parametrize("name", ["aggregator", "press-1"])
def test_another_ones_client_id(
    broker: GuardedBroker, press: Path, spy: Path, server: Path, name: str
) -> None:
    """Whoever takes a client id takes the session with it, and what waits there."""
    victim = broker.settings(press)
    if name == "aggregator":
        victim = broker.settings(server, "aggregator")
    with connected(victim, name, upload_topic(TASK, "+"), round_topic(TASK)) as device:
        with connected(broker.settings(spy), name), ExitStack() as stack:
            for taken in ("CN=press-1,OU=presses", "CN=aggregator,OU=presses"):
                stack.enter_context(MqttConnection(broker.settings(spy), taken, []))
                time.sleep(0.3)  # for the broker to cut off whom that took over
        assert device.connected
        assert device.receive(0.3) is None, "it was not lost for a moment"


@pytest.mark.parametrize("given", ["username", "will"])
def test_another_ones_name(broker: GuardedBroker, spy: Path, server: Path, given: str) -> None:
    """The certificate names a client, and nothing that it says; nor does its last will."""
    mine = broker.settings(spy)
    if given == "username":
        mine = mine.model_copy(update={"username": "CN=press-1,OU=presses"})
    presence = presence_topic(TASK, "press-1") if given == "will" else None
    aggregator = broker.settings(server, "aggregator")
    with connected(aggregator, "aggregator", presence_topic(TASK, "press-1")) as up:
        heard(up)
        with MqttConnection(mine, "x", [], presence, persistent=False) as device:
            assert not goes(device, upload_topic(TASK, "press-1"))
            device.redial()  # the broker tells its last will
            wait_until(lambda: device.connected)
        assert heard(up) == []


def refused(settings: BrokerSettings) -> None:
    with pytest.raises(BrokerError), MqttConnection(settings, "x", [contract_topic(TASK)]):
        pass


def is_refused(settings: BrokerSettings) -> bool:
    try:
        with MqttConnection(settings, "x", [contract_topic(TASK)]):
            return False
    except BrokerError:
        return True


@pytest.mark.parametrize("listener", ["devices", "services"])
def test_no_certificate(broker: GuardedBroker, press: Path, listener: str) -> None:
    none = {"certificate_file": None, "key_file": None, "port": getattr(broker, listener)}
    refused(broker.settings(press).model_copy(update=none))
    plain = {**none, "ca_file": None}
    refused(broker.settings(press).model_copy(update=plain))


@pytest.mark.parametrize("listener", ["devices", "services"])
@pytest.mark.parametrize("name", ["press-1", "aggregator"])
def test_a_foreign_authority(
    broker: GuardedBroker, press: Path, tmp_path: Path, listener: str, name: str
) -> None:
    """It may call itself and whom it signs as it likes."""
    other = keys.make(tmp_path / "other", None, datetime.now(UTC))[DEVICES]
    mine = signed_by(other, name, tmp_path, datetime.now(UTC))
    port = getattr(broker, listener)
    refused(broker.settings(press).model_copy(update={**mine, "port": port}))


def signed_by(signer: Signer, name: str, folder: Path, since: datetime) -> dict[str, Path]:
    key = new_key()
    subject = Identity(TASK, name).subject
    made = signer.sign(subject, key.public_key(), (), since, timedelta(days=7))
    keys.write_key(folder / "x.key", key)
    (folder / "x.crt").write_text(pem(made))
    return {"certificate_file": folder / "x.crt", "key_file": folder / "x.key"}


def test_a_certificate_that_has_expired(
    here: Site, broker: GuardedBroker, press: Path, tmp_path: Path
) -> None:
    signer = keys.read(here.folder, DEVICES, None)
    expired = signed_by(signer, "press-1", tmp_path, datetime.now(UTC) - timedelta(days=8))
    refused(broker.settings(press).model_copy(update=expired))


def test_a_certificate_without_its_key(broker: GuardedBroker, press: Path, spy: Path) -> None:
    refused(broker.settings(press).model_copy(update={"key_file": spy / "device.key"}))


def test_a_device_is_no_service(broker: GuardedBroker, press: Path, server: Path) -> None:
    """A device may choose no client id: on the services' listener it could, and does not get in."""
    refused(broker.settings(press, port=broker.services))
    swapped = broker.settings(server, "aggregator", port=broker.devices)
    refused(swapped)


def test_who_is_signed_and_not_admitted(
    here: Site, broker: GuardedBroker, press: Path, server: Path, tmp_path: Path
) -> None:
    """A certificate of the authority alone opens nothing."""
    signer = keys.read(here.folder, DEVICES, None)
    topics = [contract_topic(TASK), round_topic(TASK), "#"]
    with connected(broker.settings(server, "aggregator"), "aggregator") as up:
        up.publish(contract_topic(TASK), b"secret", retain=True)
        assert up.flush(5.0)
        mine = signed_by(signer, "stranger", tmp_path, datetime.now(UTC))
        settings = broker.settings(press).model_copy(update=mine)
        with connected(settings, "stranger", *topics) as device:
            assert heard(device) == []
            assert not goes(device, upload_topic(TASK, "stranger"))
        up.publish(contract_topic(TASK), b"", retain=True)


def test_who_is_revoked(here: Site, broker: GuardedBroker, server: Path) -> None:
    """At once and while connected; what it has had the broker keep reaches nobody any more."""
    lost = here.enrol("press-9")
    broker.update()
    settings, topic = broker.settings(lost), presence_topic(TASK, "press-9")
    with connected(settings, "press-9", round_topic(TASK)) as device:
        wait_until(lambda: goes(device, topic, retain=True), 30)
        here.authority.revoke(Identity(TASK, "press-9"), "ann")
        broker.update()
        wait_until(lambda: not goes(device, topic), 30)
        cloud = broker.settings(server, "aggregator")
        with connected(cloud, "aggregator", topic) as up:
            up.publish(round_topic(TASK), b"secret")
            assert up.flush(5.0)
            assert heard(up) == [], "what it has planted is not told"
        assert heard(device) == []
    wait_until(lambda: is_refused(settings), 30)  # the broker reads its files again


def test_an_aggregator_that_is_revoked(here: Site, broker: GuardedBroker) -> None:
    other = here.issue("aggregator", task="mills")
    broker.update()
    settings = broker.settings(other, "aggregator")
    with connected(settings, "aggregator") as up:
        wait_until(lambda: goes(up, contract_topic("mills")), 30)
        here.authority.revoke_service(Identity("mills", "aggregator"), "ann")
        broker.update()
        wait_until(lambda: not goes(up, contract_topic("mills")), 30)
    wait_until(lambda: is_refused(settings), 30)


def test_a_certificate_that_was_replaced(here: Site, broker: GuardedBroker) -> None:
    """A token that names a device lets it be replaced; who has the old one is out."""
    lost = here.enrol("press-8")
    stolen = lost.rename(lost.with_name("stolen"))
    found = here.enrol("press-8")
    broker.update()
    wait_until(lambda: is_refused(broker.settings(stolen)), 30)
    with connected(broker.settings(found), "press-8") as device:
        wait_until(lambda: goes(device, upload_topic(TASK, "press-8")), 30)
