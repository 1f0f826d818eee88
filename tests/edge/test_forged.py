"""A device believes its task's aggregator only: not the broker, nor whoever has rights there.

Mosquitto has the configuration that we write. The forger holds an operator's certificate, which may
read and write all of the task: it can do what who runs the broker can.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge.agent.settings import DeviceSettings
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.mqtt.seal import Seal
from edgeloop.protocol import wire
from edgeloop.protocol.gathering import Verdict
from edgeloop.protocol.receipt import receipt
from edgeloop.protocol.signatures import SIGNATURE
from edgeloop.protocol.task import (
    ROOT,
    broadcast_topic,
    contract_topic,
    presence_topic,
    receipt_topic,
    round_topic,
)
from edgeloop.protocol.wire import OWN_NOTES
from edgeloop.runtime.config import BrokerSettings
from tests.devices import Device, at_work, wait_until
from tests.edge.hand_made import Cloud, cloud, cut, framed, pairs
from tests.edge.hand_made import device as device_of
from tests.enrolled import GuardedBroker, guarded_broker, site
from tests.one_device import write_data

pytestmark = pytest.mark.broker
TASK, FIRST, SECOND = "t", pairs(1), pairs(2)
UNSIGNED = "it is not signed"


@dataclass
class Place:
    """Who is there.

    Attributes:
        broker: with the configuration that we write.
        forger: may write everything, and has no key of the task's.
        spy: a device of the task: its settings.
        server: the aggregator's settings.
        device: the device's.
        others: the aggregator of another task.
    """

    broker: GuardedBroker
    forger: MqttConnection
    spy: BrokerSettings
    server: BrokerSettings
    device: BrokerSettings
    others: BrokerSettings


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with ExitStack() as stack:
        here = stack.enter_context(site(tmp_path_factory.mktemp("site")))
        one, two = here.enrol("one", TASK), here.enrol("two", TASK)
        server, other = here.issue("aggregator", TASK), here.issue("aggregator", "u")
        operator = here.issue("operator", TASK)
        broker = stack.enter_context(guarded_broker(here))
        forger = broker.settings(operator, "operator")
        cloud_side = {"signatures": "required", "devices_file": server / "devices.crt"}
        devices = [
            broker.settings(each).model_copy(update={"signatures": "required"})
            for each in (one, two)
        ]
        servers = [
            broker.settings(each, "aggregator").model_copy(update=cloud_side)
            for each in (server, other)
        ]
        link = MqttConnection(forger, "forger", [f"{ROOT}/{TASK}/#"], persistent=False)
        stack.enter_context(link)
        yield Place(broker, link, devices[1], servers[0], devices[0], servers[1])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("world"))


@pytest.fixture
def settings(world: Path, place: Place, tmp_path: Path) -> DeviceSettings:
    return device_of(world, place.device, tmp_path / "one")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.agent.delivery.REPEAT_SECONDS", 0.5)


@pytest.fixture(autouse=True)
def _empty(place: Place) -> Iterator[None]:
    """Have the broker keep nothing afterwards, and hear nothing of before."""
    yield
    with MqttConnection(place.server, "server", [], persistent=False):
        pass  # what waits there for the hand-made aggregator is gone
    kept = {each.topic for each in heard(place.forger)}
    for topic in (each for each in kept if "/upload/" not in each):
        place.forger.publish(topic, b"", retain=True)
    assert place.forger.flush(10.0)
    heard(place.forger)


def heard(link: MqttConnection, seconds: float = 0.5) -> list[Arrival]:
    """Return what a connection hears until it is quiet."""
    found = []
    while isinstance(event := link.receive(seconds), Arrival):
        event.acknowledge()
        found.append(event)
    return found


def next_on(link: MqttConnection, topic: str) -> Arrival:
    """Return the next message on a topic, or below it."""
    while isinstance(event := link.receive(60), Arrival):
        event.acknowledge()
        if event.payload and event.topic.startswith(topic):
            return event
    raise AssertionError(f"nothing on {topic}")


def opens(made: Cloud, number: int, what: object = FIRST) -> None:
    """Open a round as an aggregator does that gives receipts."""
    made.hold(number, cut(framed(what)))
    text = made.opening(number, what).text().encode()  # type: ignore[arg-type]
    made.link.publish(round_topic(TASK), text, retain=True, notes=OWN_NOTES)


def signed_by(settings: BrokerSettings, topic: str, payload: bytes) -> dict[str, str]:
    """Return the user properties of a message that somebody signs, with the certificate."""
    seal = Seal(settings)
    seal.signed(topic, payload, OWN_NOTES)
    return dict(seal.signed(topic, payload, OWN_NOTES))


def answers(made: Cloud, one: Device, number: int) -> None:
    """Have the device answer a round, as it does whatever was forged before."""
    opens(made, number)
    while wire.envelope_of(made.answer()).round != number:
        pass
    assert not one.ended.done()


def serving(settings: DeviceSettings, place: Place) -> DeviceSettings:
    """Return the settings by which the hand-made aggregator reaches the broker."""
    return settings.model_copy(update={"broker": place.server})


def test_it_takes_part_in_what_is_signed(place: Place, settings: DeviceSettings) -> None:
    with cloud(serving(settings, place)) as made, at_work(settings) as one:
        answers(made, one, 0)
        answers(made, one, 1)
        assert SIGNATURE in next_on(place.forger, f"{ROOT}/{TASK}/upload/one").notes


@pytest.mark.parametrize("who", ["nobody", "another device", "another task"])
def test_a_forged_contract(
    place: Place, settings: DeviceSettings, caplog: pytest.LogCaptureFixture, who: str
) -> None:
    """Planted before the device comes: it says so, and waits for the right one."""
    topic = contract_topic(TASK)
    with cloud(serving(settings, place)) as made:
        next_on(place.forger, topic)  # it is there
        text = made.contract.model_copy(update={"run": "forged"}).text().encode()
        signer = {"another device": place.spy, "another task": place.others}.get(who)
        notes = {} if signer is None else signed_by(signer, topic, text)
        place.forger.publish(topic, text, retain=True, notes=notes)
        assert place.forger.flush(10.0, topic)
        with at_work(settings) as one:
            whys = {"nobody": UNSIGNED, "another device": "no authority that is trusted here"}
            why = whys.get(who, "may not say that")
            wait_until(lambda: f"ignored a message on {topic}: " in caplog.text)
            assert why in caplog.text
            presence = presence_topic(TASK, "one")
            while '"refused"' not in next_on(place.forger, presence).notes.get("presence", ""):
                pass
            made.link.publish(topic, made.contract.text().encode(), retain=True)
            answers(made, one, 0)


def test_a_forged_opening_and_broadcast(
    place: Place, settings: DeviceSettings, caplog: pytest.LogCaptureFixture
) -> None:
    with cloud(serving(settings, place)) as made, at_work(settings) as one:
        answers(made, one, 0)
        opening = made.opening(1, SECOND)
        for notes in ({}, signed_by(place.spy, round_topic(TASK), opening.text().encode())):
            text = opening.text().encode()
            place.forger.publish(round_topic(TASK), text, retain=True, notes=notes)
        wait_until(lambda: f"ignored a message on {round_topic(TASK)}" in caplog.text)
        # The right opening, and between the right chunks false ones where they are to be.
        packets = cut(framed(SECOND))
        made.name(1, SECOND)
        wait_until(lambda: any("/broadcast/" in each for each in filters(one)))
        false = f"{broadcast_topic(TASK, 1)}/0"
        place.forger.publish(false, cut(framed(FIRST))[0], retain=True)
        wait_until(lambda: f"ignored a message on {false}" in caplog.text)
        made.hold(1, packets)
        while wire.envelope_of(made.answer()).round != 1:
            pass
        assert not one.ended.done()


def filters(one: Device) -> list[str]:
    """Return what the device has subscribed to."""
    return list(one.link._filters._filters)


@pytest.mark.usefixtures("quick")
def test_a_forged_receipt(
    place: Place, settings: DeviceSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """The device sends its answer again, until the aggregator says that it has it."""
    caplog.set_level("INFO")
    topic = receipt_topic(TASK, "one")
    with cloud(serving(settings, place)) as made, at_work(settings) as one:
        opens(made, 0)
        payload = made.answer()
        said = receipt("r", 0, wire.digest(payload), Verdict.ACCEPTED, "").text().encode()
        for retain in (False, True):
            place.forger.publish(topic, said, retain=retain)
        place.forger.publish(topic, said, notes=signed_by(place.spy, topic, said))
        wait_until(lambda: f"ignored a message on {topic}: {UNSIGNED}" in caplog.text)
        for _ in range(2):
            assert made.answer() == payload
        assert "the answer has arrived" not in caplog.text
        made.link.publish(topic, said)
        wait_until(lambda: "round 0: the answer has arrived" in caplog.text)
        assert not one.ended.done()


@pytest.mark.usefixtures("quick")
def test_an_aggregator_that_is_not_sure_does_not_end_an_answer(
    place: Place, settings: DeviceSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """Time can help, or a certificate that is renewed; and a forger could have had it said."""
    topic = receipt_topic(TASK, "one")
    with cloud(serving(settings, place)) as made, at_work(settings) as one:
        opens(made, 0)
        payload = made.answer()
        said = receipt("r", 0, wire.digest(payload), Verdict.UNVERIFIED, "it has expired")
        made.link.publish(topic, said.text().encode())
        wait_until(lambda: "cannot be sure that it is ours (it has expired)" in caplog.text)
        assert "was refused" not in caplog.text
        made.link.publish(round_topic(TASK), opening_text(made, 0), notes=OWN_NOTES)
        assert made.answer() == payload
        assert not one.ended.done()


def opening_text(made: Cloud, number: int) -> bytes:
    return made.opening(number, FIRST).text().encode()


@pytest.mark.usefixtures("quick")
def test_what_was_said_before(
    place: Place, settings: DeviceSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """The contract of an earlier run and the opening of an earlier round, with their signatures."""
    caplog.set_level("INFO")

    def again(old: Arrival, retain: bool) -> None:
        place.forger.publish(old.topic, old.payload, retain=retain, notes=old.notes)

    with cloud(serving(settings, place)) as made:
        before = made.contract.model_copy(update={"run": "before"}).text().encode()
        made.link.publish(contract_topic(TASK), before, retain=True)
        while (
            b"before" not in (old_contract := next_on(place.forger, contract_topic(TASK))).payload
        ):
            pass
        made.link.publish(contract_topic(TASK), made.contract.text().encode(), retain=True)
        with at_work(settings) as one:
            answers(made, one, 0)
            old = next_on(place.forger, round_topic(TASK))
            answers(made, one, 1)
            for each in (old, old_contract):
                caplog.clear()
                again(each, retain=True)
                wait_until(lambda: "somebody sends it again" in caplog.text)
            assert not one.ended.done()
        with at_work(settings) as one:  # it is remembered: the broker keeps the old ones
            caplog.clear()
            again(old_contract, retain=True)
            wait_until(lambda: "somebody sends it again" in caplog.text)
            text = made.contract.text().encode()
            made.link.publish(contract_topic(TASK), text, retain=True, notes={"again": "1"})
            opens(made, 1)
            wait_until(lambda: "resumed after round 1" in caplog.text)


def test_an_aggregator_that_signs_nothing(
    place: Place, settings: DeviceSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """A broker cannot talk a device out of signatures; who runs the device can."""
    silent = serving(settings, place).model_copy(
        update={"broker": place.server.model_copy(update={"signatures": "off"})}
    )
    with cloud(silent) as made:
        with at_work(settings):
            wait_until(lambda: UNSIGNED in caplog.text)
        accepts = place.device.model_copy(update={"signatures": "accepted"})
        broker = accepts.model_copy(update={"chunk_bytes": settings.broker.chunk_bytes})
        with at_work(settings.model_copy(update={"broker": broker})) as one:
            answers(made, one, 0)
