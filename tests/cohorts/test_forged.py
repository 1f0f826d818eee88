"""An aggregator believes a device's own key only, whatever comes on the device's topic.

Mosquitto has the configuration that we write. The forger holds an operator's certificate, which may
read and write all of the task: it can do what who runs the broker can.
"""

# Over 320 lines: every forgery begins with the same signed round.

import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloud.authority import keys
from cloud.authority.identity import Identity
from cloud.authority.keys import DEVICES
from cloud.authority.signing import new_key, pem
from edgeloop import algorithms
from edgeloop.client import Report
from edgeloop.cohorts.events import DeviceMessage, Event
from edgeloop.cohorts.members import Members
from edgeloop.cohorts.mqtt import MqttCohort, RoundDeadlines
from edgeloop.cohorts.uploads import MemoryLog
from edgeloop.knowledge.prototypes import PrototypeUpload
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.mqtt.seal import Seal
from edgeloop.protocol import chunks, wire
from edgeloop.protocol.gathering import Verdict
from edgeloop.protocol.receipt import INCOMPLETE, Receipt
from edgeloop.protocol.signatures import CERTIFICATE, SIGNATURE
from edgeloop.protocol.task import (
    EVICTED,
    LEFT,
    ROOT,
    Contract,
    contract_topic,
    presence_topic,
    receipt_topic,
    upload_topic,
)
from edgeloop.protocol.wire import OWN_NOTES, Envelope
from edgeloop.runtime.config import BrokerSettings
from tests.devices import wait_until
from tests.enrolled import GuardedBroker, Site, guarded_broker, site
from tests.world import contract

pytestmark = pytest.mark.broker
ALGORITHM = algorithms.load("fedproto", classes=3, width=4)
REPORT = Report(1, 2, 3, 0.1, 0.2, 0.75)
LINK = "link"
NUMBERS = itertools.count()


def prototypes(value: float) -> PrototypeUpload:
    ones = np.full((2, 4), value, np.float32)
    return PrototypeUpload(np.array([0, 2]), np.array([1, 1]), ones)


@dataclass
class Place:
    """Who is there.

    Attributes:
        site: the authority.
        broker: with the configuration that we write.
        server: the aggregator's settings.
        forger: may write everything, and has no key of a device's.
    """

    site: Site
    broker: GuardedBroker
    server: BrokerSettings
    forger: MqttConnection
    _folders: dict[tuple[str, str], Path] = field(default_factory=dict)

    def device(self, name: str, task: str = "t") -> BrokerSettings:
        """Return the settings of a device; it enrols the first time."""
        if (task, name) not in self._folders:
            self._folders[task, name] = self.site.enrol(name, task)
            self.broker.update()
        found = self.broker.settings(self._folders[task, name])
        return found.model_copy(update={"signatures": "required"})

    def forge(self, topic: str, payload: bytes, notes: Mapping[str, str], **how: bool) -> None:
        self.forger.publish(topic, payload, notes=notes, **how)
        assert self.forger.flush(10.0, topic)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with ExitStack() as stack:
        here = stack.enter_context(site(tmp_path_factory.mktemp("site")))
        folders = {("t", name): here.enrol(name, "t") for name in ("one", "two")}
        server, operator = here.issue("aggregator", "t"), here.issue("operator", "t")
        broker = stack.enter_context(guarded_broker(here))
        trusted = {
            "signatures": "required",
            "devices_file": server / "devices.crt",
            "revoked_files": (broker.folder / "devices.crl",),
        }
        aggregator = broker.settings(server, "aggregator").model_copy(update=trusted)
        settings = broker.settings(operator, "operator")
        topics = [f"{ROOT}/t/#"]
        forger = stack.enter_context(MqttConnection(settings, "f", topics, persistent=False))
        yield Place(here, broker, aggregator, forger, folders)


@dataclass
class Scene:
    """A cohort in a run of its own.

    Attributes:
        cohort: asks for rounds.
        contract: of the run.
        heard: what it has heard.
        link: the aggregator's.
    """

    cohort: Any
    contract: Contract
    heard: list[Event]
    link: MqttConnection

    def frame(self, name: str, value: float = 1.0, number: int = 0, **changes: str) -> bytes:
        task, run = changes.get("task", "t"), changes.get("run", self.contract.run)
        return wire.encode(Envelope(task, run, number, name), prototypes(value), REPORT)

    def counts(self, device: str) -> Counter[Verdict | None]:
        return Counter(
            e.verdict for e in self.heard if isinstance(e, DeviceMessage) and e.device == device
        )

    def ask(self, number: int = 0) -> Any:
        return self.cohort.ask(number, ALGORITHM.start()[1])


@dataclass
class Record:
    """Who was admitted."""

    names: list[str] = field(default_factory=list)

    def admitted(self) -> Collection[str]:
        return self.names

    def admit(self, device: str, round_number: int) -> None:
        self.names.append(device)

    def trained(self, device: str, rounds: Collection[int]) -> None:
        pass


@contextmanager
def scene(place: Place, quorum: int = 2, **changes: Any) -> Iterator[Scene]:
    """Begin a run: a round is over with the quorum, once its tenth of a second has passed."""
    made = contract(run=f"run-{next(NUMBERS)}", class_names=("x", "y", "z"), **changes)
    topics, heard = MqttCohort.subscriptions("t"), list[Event]()
    with MqttConnection(place.server, "server", topics, persistent=False) as link:
        cohort = MqttCohort(
            link,
            made,
            ALGORITHM,
            RoundDeadlines(quorum, 0.1, 60.0),
            MemoryLog(),
            heard.append,
            members=Members(made, Record()),
        )
        yield Scene(cohort, made, heard, link)


@contextmanager
def device(place: Place, name: str, task: str = "t") -> Iterator[MqttConnection]:
    topics, presence = [receipt_topic(task, name)], presence_topic(task, name)
    settings = place.device(name, task)
    with MqttConnection(
        settings, LINK, topics, presence, persistent=False, presence_notes=OWN_NOTES
    ) as link:
        yield link


def answer(link: MqttConnection, frame: bytes) -> None:
    """Send an answer, and again where its certificate is asked for; return once it is taken."""
    envelope = wire.envelope_of(frame)
    topic = upload_topic(envelope.task, envelope.sender)
    link.send(topic, frame)
    while isinstance(event := link.receive(60), Arrival):
        event.acknowledge()
        told = Receipt.model_validate_json(event.payload)
        if told.digest == wire.digest(frame) and told.is_taken:
            return
        if told.digest == wire.digest(frame) and told.verdict == INCOMPLETE:
            link.send_again(topic, frame, told.missing, told.count)
    raise AssertionError("no receipt")


@contextmanager
def answering(found: Scene, links: Mapping[str, MqttConnection], number: int = 0) -> Iterator[None]:
    """Have devices answer a round while a block runs; each has its receipt at the end."""
    with ThreadPoolExecutor(len(links)) as pool:
        told = [
            pool.submit(answer, link, found.frame(name, number=number))
            for name, link in links.items()
        ]
        yield
        for each in told:
            each.result(60)


def signed_by(settings: BrokerSettings, topic: str, payload: bytes) -> dict[str, str]:
    """Return the user properties of a message that somebody signs, with the certificate."""
    seal = Seal(settings)
    seal.signed(topic, payload, {})
    return dict(seal.signed(topic, payload, {}))


def chunk(frame: bytes) -> bytes:
    (only,) = chunks.split(frame, 100_000)
    return only


def expired(place: Place, folder: Path) -> BrokerSettings:
    """Return the settings of a device whose certificate has expired."""
    signer, key = keys.read(place.site.folder, DEVICES, None), new_key()
    since = datetime.now(UTC) - timedelta(days=8)
    subject = Identity("t", "one").subject
    made = signer.sign(subject, key.public_key(), (), since, timedelta(days=7))
    keys.write_key(folder / "x.key", key)
    (folder / "x.crt").write_text(pem(made))
    files = {"certificate_file": folder / "x.crt", "key_file": folder / "x.key"}
    return place.device("one").model_copy(update=files)


@pytest.mark.parametrize(
    ("who", "why"),
    [
        ("nobody", "it is not signed"),
        ("another device", "it is signed by two of t, who may not say that"),
        ("its namesake in another task", "it is signed by one of u, who may not say that"),
        ("an old certificate", "does not hold now"),
    ],
)
def test_a_forged_answer(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture, who: str, why: str
) -> None:
    """It is counted, said and told; the device's own counts."""
    topic = upload_topic("t", "one")
    with scene(place) as found:
        false = chunk(found.frame("one", 666.0))
        settings = {
            "another device": lambda: place.device("two"),
            "its namesake in another task": lambda: place.device("one", "u"),
            "an old certificate": lambda: expired(place, tmp_path),
        }.get(who)
        notes = {} if settings is None else signed_by(settings(), topic, false)
        place.forge(topic, false, notes)
        with (
            device(place, "one") as one,
            device(place, "two") as two,
            answering(found, {"one": one, "two": two}),
        ):
            answers = found.ask()
    assert found.counts("one")[Verdict.UNVERIFIED] == 1
    assert found.counts("one")[Verdict.ACCEPTED] == 1
    assert (answers["one"].upload.prototypes_ND == 1.0).all()
    assert "ignored a message of one: " in caplog.text
    assert why in caplog.text
    (refused,) = [e for e in found.heard if getattr(e, "verdict", None) is Verdict.UNVERIFIED]
    assert why in getattr(refused, "reason", ""), "who looks at refusals reads why, too"


def test_an_answer_on_another_topic(place: Place) -> None:
    """Moved to another device's, with its signature; by the other device itself, too."""
    with scene(place) as found:
        frame = chunk(found.frame("two", 666.0))
        topic = upload_topic("t", "one")
        place.forge(topic, frame, signed_by(place.device("two"), upload_topic("t", "two"), frame))
        with (
            device(place, "one") as one,
            device(place, "two") as two,
            answering(found, {"one": one, "two": two}),
        ):
            found.ask()
    assert found.counts("one")[Verdict.UNVERIFIED] == 1
    assert found.counts("two")[Verdict.ACCEPTED] == 1


def test_an_answer_of_another_round_or_run(place: Place) -> None:
    """With its own signature, as the broker has seen it before."""
    topic = upload_topic("t", "one")
    with device(place, "one") as one, device(place, "two") as two:
        links = {"one": one, "two": two}
        with scene(place) as before:
            with answering(before, links, 0):
                before.ask(0)
            seen = signed_answer(place, before)
            place.forge(topic, seen.payload, seen.notes)
            with answering(before, links, 1):
                before.ask(1)
            counted = before.counts("one")
            assert counted[Verdict.ACCEPTED] == 2
            assert counted[Verdict.LATE] + counted[Verdict.DUPLICATE] >= 1
        with scene(place) as after:
            place.forge(topic, seen.payload, seen.notes)
            with answering(after, links):
                after.ask(0)
            assert after.counts("one")[Verdict.WRONG_ROUND] >= 1
            assert after.counts("one")[Verdict.ACCEPTED] == 1


def signed_answer(place: Place, found: Scene) -> Arrival:
    """Return the answer of a device in a run, as the broker has seen it."""
    while isinstance(event := place.forger.receive(60), Arrival):
        event.acknowledge()
        mine = event.topic == upload_topic("t", "one") and found.contract.run.encode()
        if mine and mine in event.payload and SIGNATURE in event.notes:
            return event
    raise AssertionError("no answer")


def test_who_is_revoked(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """The broker may let it in; the aggregator reads the authority's list."""
    gone = place.device("gone")
    place.site.authority.revoke(Identity("t", "gone"), "ann")
    place.broker.update()
    topic = upload_topic("t", "gone")
    with scene(place, 1, devices=("gone", "two")) as found:
        frame = chunk(found.frame("gone", 666.0))
        place.forge(topic, frame, signed_by(gone, topic, frame))
        with device(place, "two") as two, answering(found, {"two": two}):
            assert set(found.ask()) == {"two"}
    assert found.counts("gone")[Verdict.UNVERIFIED] == 1
    assert "ignored a message of gone: the certificate of gone of t is revoked" in caplog.text


def test_a_forged_departure_and_arrival(place: Place) -> None:
    """Nobody is sent away, and nobody comes, by a word that is not the device's own."""
    with scene(place, 1, devices=("one", "two"), admit=("press-*",)) as found:
        run = {"run": found.contract.run}
        place.forge(presence_topic("t", "one"), LEFT, run, retain=True)
        spy = signed_by(place.device("two"), presence_topic("t", "one"), EVICTED)
        place.forge(presence_topic("t", "one"), EVICTED, {**run, **spy})
        place.forge(presence_topic("t", "press-1"), b"online", OWN_NOTES, retain=True)
        place.forge(upload_topic("t", "press-1"), chunk(found.frame("press-1")), {})
        with device(place, "two") as two, answering(found, {"two": two}):
            assert set(found.ask()) == {"two"}
        assert set(found.cohort._members) == {"one", "two"}
        assert found.counts("one")[Verdict.UNVERIFIED] == 2
        assert found.counts("press-1")[Verdict.UNVERIFIED] == 2
        for name in ("one", "press-1"):
            place.forge(presence_topic("t", name), b"", {}, retain=True)


def test_a_certificate_that_has_not_come_is_asked_for(place: Place) -> None:
    """An aggregator that is started again does not count as forged what waited for it."""
    with scene(place, 1, devices=("one", "two")) as found:
        settings, topics = place.device("one"), [receipt_topic("t", "one")]
        with (
            MqttConnection(settings, LINK, topics, persistent=False) as link,
            answering(found, {"one": link}),
        ):
            assert set(found.ask()) == {"one"}
        assert found.counts("one") == {Verdict.ACCEPTED: 1}


def test_what_the_broker_keeps_without_a_signature_is_put_right(place: Place) -> None:
    """The same words, planted without the signature, would keep devices away."""
    topic = contract_topic("t")
    with scene(place, 1) as found, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(found.ask)
        wait_until(lambda: found.cohort.open_round() is not None)
        planted = found.contract.text().encode()
        place.forge(topic, planted, {}, retain=True)
        found.link.redial()

        def is_back() -> bool:
            settings = place.server
            with MqttConnection(settings, "look", [topic], persistent=False) as looks:
                event = looks.receive(10)
                return isinstance(event, Arrival) and SIGNATURE in event.notes

        wait_until(is_back)
        with device(place, "one") as one, answering(found, {"one": one}):
            asked.result(60)


def test_a_certificate_that_is_renewed_signs_anew_what_the_broker_keeps(place: Place) -> None:
    """A service's next certificate has another key; who comes later knows no other."""
    topic = contract_topic("t")

    def kept() -> Mapping[str, str]:
        with MqttConnection(place.server, "look", [topic], persistent=False) as looks:
            event = looks.receive(30)
        assert isinstance(event, Arrival)
        return event.notes

    with scene(place) as found:
        assert found.link.flush(10.0)
        before = kept()
        found.cohort._announcer.remind([])
        assert found.link.flush(10.0)
        assert kept() == before, "what is said again is as it was"
        place.site.issue("aggregator", "t")
        found.cohort._announcer.remind([])
        assert found.link.flush(10.0)
        after = kept()
    assert after[CERTIFICATE] != before[CERTIFICATE]
    assert after[SIGNATURE].split(".")[1] != before[SIGNATURE].split(".")[1], "of another key"
