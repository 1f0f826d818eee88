"""What the MQTT cohort does with everything that is not a good answer in time."""

# Over 320 lines: every case is the same round, with one thing different.

import logging
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from edgeloop import algorithms
from edgeloop.client import Report
from edgeloop.cohorts.events import AnswersGathered, DeviceMessage, Event, LeftError, RoundOpened
from edgeloop.cohorts.members import Members
from edgeloop.cohorts.mqtt import MqttCohort, RoundDeadlines
from edgeloop.cohorts.uploads import MemoryLog
from edgeloop.knowledge.prototypes import GlobalPrototypes, PrototypeUpload
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol import chunks, wire
from edgeloop.protocol.chunks import Assembler
from edgeloop.protocol.device_health import Health
from edgeloop.protocol.gathering import TooFewUploadsError, Verdict
from edgeloop.protocol.task import (
    Contract,
    Opening,
    broadcast_topic,
    contract_topic,
    is_addressed_to,
    is_reminder,
    presence_topic,
    round_topic,
    upload_topic,
)
from edgeloop.protocol.wire import Envelope
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.pace import Timer
from tests.fake_broker import before
from tests.world import StartBroker, contract

pytestmark = pytest.mark.broker

ALGORITHM = algorithms.load("fedproto", classes=3, width=4)
REPORT = Report(1, 2, 3, 0.1, 0.2, 0.75)
GOOD = PrototypeUpload(np.array([0, 2]), np.array([1, 1]), np.ones((2, 4), np.float32))
CONTRACT = contract(run="now", class_names=("x", "y", "z"), devices=("a", "b"))


@dataclass
class Admitted:
    """Admissions that nothing but memory holds."""

    rounds: dict[str, int] = field(default_factory=dict)
    late: set[tuple[str, int]] = field(default_factory=set)

    def admitted(self) -> list[str]:
        return list(self.rounds)

    def admit(self, device: str, round_number: int) -> None:
        self.rounds[device] = round_number

    def trained(self, device: str, rounds: Collection[int]) -> None:
        self.late.update((device, each) for each in rounds)


@dataclass
class Scene:
    """A cohort, and a hand-made device that can say anything."""

    broker: BrokerSettings
    stack: ExitStack
    device: MqttConnection
    log: MemoryLog = field(default_factory=MemoryLog)
    heard: list[Event] = field(default_factory=list)
    announce_seconds: float = 30.0
    admitted: Admitted = field(default_factory=Admitted)

    def cohort(self, quorum: int = 1, deadline: float = 2.0, give_up: float = 20.0) -> Any:
        connection = self.stack.enter_context(
            MqttConnection(self.broker, "server", MqttCohort.subscriptions("t"))
        )
        patience = RoundDeadlines(quorum, deadline, give_up)
        return MqttCohort(
            connection,
            CONTRACT,
            ALGORITHM,
            patience,
            self.log,
            self.heard.append,
            announce_seconds=self.announce_seconds,
        )

    def open_cohort(self, quorum: int, deadline: float = 2.0, grace: float = 1.0) -> Any:
        connection = self.stack.enter_context(
            MqttConnection(self.broker, "server", MqttCohort.subscriptions("t"))
        )
        agreed = contract(run="now", class_names=("x", "y", "z"), devices=(), admit=("p*",))
        patience = RoundDeadlines(quorum, deadline, 20.0, grace=grace)
        return MqttCohort(
            connection,
            agreed,
            ALGORITHM,
            patience,
            self.log,
            self.heard.append,
            members=Members(agreed, self.admitted),
        )

    def asked(self, number: int) -> list[str]:
        """Return who of a and b is asked in a round, as its opening tells."""
        while True:
            event = self.device.receive(10)
            assert isinstance(event, Arrival)
            event.acknowledge()
            if event.topic == round_topic("t"):
                opening = Opening.model_validate_json(event.payload)
                if opening.round == number:
                    return [name for name in ("a", "b") if opening.asks(name, event.notes)]

    def say(self, device: str, payload: bytes) -> None:
        self.device.send(upload_topic("t", device), payload)

    def verdicts(self) -> list[tuple[str, Verdict]]:
        return [
            (e.device, e.verdict) for e in self.heard if isinstance(e, DeviceMessage) and e.verdict
        ]


@pytest.fixture
def scene(broker: BrokerSettings) -> Iterator[Scene]:
    with ExitStack() as stack:
        topics = [contract_topic("t"), round_topic("t"), f"{broadcast_topic('t', '+')}/+"]
        device = stack.enter_context(MqttConnection(broker, "device", topics))
        # A session of the server's that holds what is said before it is there.
        with MqttConnection(broker, "server", MqttCohort.subscriptions("t")):
            pass
        yield Scene(broker, stack, device)


def answer(device: str, upload: PrototypeUpload = GOOD, **changes: Any) -> bytes:
    envelope = replace(Envelope("t", "now", 0, device), **changes)
    return wire.encode(envelope, upload, REPORT)


def test_a_round_closes_at_its_deadline_with_the_quorum(scene: Scene) -> None:
    scene.say("b", answer("b"))
    answers = scene.cohort(quorum=1).ask(0, ALGORITHM.start()[1])
    assert list(answers) == ["b"]
    assert answers["b"].report == REPORT
    assert answers["b"].upload.prototypes_ND.tolist() == GOOD.prototypes_ND.tolist()


def test_a_round_tells_when_it_opens_who_answers_and_who_is_missing(scene: Scene) -> None:
    readings = Health(0.25, None, 60.0)
    notes = {**readings.notes(), "other": "x"}
    scene.device.send(upload_topic("t", "b"), answer("b"), notes)
    scene.cohort(quorum=1).ask(0, ALGORITHM.start()[1])
    told = [each for each in scene.heard if not isinstance(each, DeviceMessage) or each.verdict]
    opened, heard, gathered = told
    assert isinstance(opened, RoundOpened)
    assert (opened.round_number, opened.answers) == (0, 0)
    assert opened.size > 0
    assert opened.seconds > 0
    report = REPORT.with_health(readings)
    assert heard == DeviceMessage("b", Verdict.ACCEPTED, len(answer("b")), report=report)
    assert isinstance(gathered, AnswersGathered)
    assert (gathered.round_number, gathered.missing) == (0, 1)
    assert gathered.seconds > 0.4, "it waited for the other one"


def test_what_comes_after_its_round_is_late(scene: Scene) -> None:
    scene.say("a", answer("a", round=0))
    scene.say("b", wire.encode(Envelope("t", "now", 1, "b"), GOOD, REPORT))
    scene.cohort(quorum=1).ask(1, ALGORITHM.start()[1])
    assert scene.verdicts() == [("a", Verdict.LATE), ("b", Verdict.ACCEPTED)]


def test_a_round_without_its_quorum_is_given_up(scene: Scene) -> None:
    scene.say("b", answer("b"))
    with pytest.raises(TooFewUploadsError, match="round 0: 1 uploads, 2 needed"):
        scene.cohort(quorum=2, deadline=0.2, give_up=3.0).ask(0, ALGORITHM.start()[1])


def test_nothing_that_a_device_says_ends_a_round(scene: Scene) -> None:
    other = PrototypeUpload(np.array([1]), np.array([1]), np.zeros((1, 4), np.float32))
    beyond = PrototypeUpload(np.array([3]), np.array([1]), np.zeros((1, 4), np.float32))
    narrow = PrototypeUpload(np.array([1]), np.array([1]), np.zeros((1, 5), np.float32))
    nan = PrototypeUpload(np.array([1]), np.array([1]), np.full((1, 4), np.nan, np.float32))
    scene.device.publish(upload_topic("t", "a"), b"no chunk at all")
    scene.say("a", b"no frame at all")
    scene.say("a", answer("a", beyond))
    scene.say("a", answer("a", narrow))
    scene.say("a", answer("a", nan))
    scene.say("a", answer("b"))
    scene.say("a", answer("a", task="u"))
    scene.say("a", answer("a", run="before"))
    scene.say("a", answer("a", round=1))
    scene.say("stranger", answer("stranger"))
    scene.say("a", answer("a"))
    scene.say("a", answer("a"))
    scene.say("a", answer("a", other))
    scene.say("b", answer("b"))
    answers = scene.cohort(quorum=2, deadline=5, give_up=5).ask(0, ALGORITHM.start()[1])
    assert list(answers) == ["a", "b"]
    assert len(answers["a"].upload.labels_N) == 2
    assert scene.verdicts() == [
        *[("a", Verdict.MALFORMED)] * 7,
        *[("a", Verdict.WRONG_ROUND)] * 2,
        ("stranger", Verdict.UNINVITED),
        ("a", Verdict.ACCEPTED),
        ("a", Verdict.DUPLICATE),
        ("a", Verdict.CONFLICT),
        ("b", Verdict.ACCEPTED),
    ]
    assert list(scene.log.recall(0)) == ["a", "b"]


def test_a_device_that_only_evaluated_is_not_waited_for(scene: Scene) -> None:
    """So does one whose model has diverged, or whose privacy budget is spent."""
    scene.say("a", wire.encode(Envelope("t", "now", 0, "a"), REPORT))
    scene.say("b", answer("b"))
    answers = scene.cohort(quorum=2, deadline=5, give_up=5).ask(0, ALGORITHM.start()[1])
    assert answers["a"].upload is None
    assert answers["a"].report == REPORT
    assert answers["b"].upload is not None
    assert scene.verdicts() == [("a", Verdict.ACCEPTED), ("b", Verdict.ACCEPTED)]


def test_an_upload_is_in_the_log_before_the_broker_may_forget_it(scene: Scene) -> None:
    class FullDisk(MemoryLog):
        def record(self, *_: Any) -> None:
            raise OSError("no space left on device")

    scene.say("a", answer("a"))
    good, scene.log = scene.log, FullDisk()
    with pytest.raises(OSError, match="no space"):
        scene.cohort().ask(0, ALGORITHM.start()[1])
    scene.stack.close()
    scene.log = good
    assert list(scene.cohort().ask(0, ALGORITHM.start()[1])) == ["a"]


def test_what_the_log_holds_needs_no_second_delivery(scene: Scene) -> None:
    scene.log.record(0, "a", "digest", answer("a"))
    scene.say("b", answer("b"))
    answers = scene.cohort(quorum=2, deadline=5, give_up=5).ask(0, ALGORITHM.start()[1])
    assert list(answers) == ["a", "b"]


def test_a_stored_answer_that_is_refused_today_ends_no_restart(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """An older edgeloop took it; its device may send another."""
    scene.log.record(0, "a", "digest", answer("a", wrapped()))
    scene.log.record(0, "b", "digest", answer("b"))
    scene.say("a", answer("a"))
    answers = scene.cohort(quorum=2, deadline=5, give_up=5).ask(0, ALGORITHM.start()[1])
    assert list(answers) == ["a", "b"]
    assert "ignored the stored answer of a" in caplog.text
    assert scene.log.recall(0)["a"] == answer("a")


def test_what_no_device_can_have_measured_is_malformed(scene: Scene) -> None:
    scene.say("a", answer("a", wrapped()))
    counted = PrototypeUpload(np.array([1]), np.array([2**63 - 1]), np.zeros((1, 4), np.float32))
    scene.say("a", answer("a", counted))
    for report in (Report(0, 2**63 - 1, 3, 0.1, 0.2), Report(1, 2, 3, 0.1, 1e300)):
        scene.say("a", wire.encode(Envelope("t", "now", 0, "a"), GOOD, report))
    scene.say("b", answer("b"))
    answers = scene.cohort(quorum=1).ask(0, ALGORITHM.start()[1])
    assert list(answers) == ["b"]
    assert scene.verdicts() == [*[("a", Verdict.MALFORMED)] * 4, ("b", Verdict.ACCEPTED)]


def wrapped() -> PrototypeUpload:
    """Return labels whose differences wrap, past the class's own check."""
    made = object.__new__(PrototypeUpload)
    labels = np.array([0, 2**63 - 1, -(2**63) + 5, 2])
    vars(made).update(
        labels_N=labels, counts_N=np.ones(4, int), prototypes_ND=np.ones((4, 4), np.float32)
    )
    return made


def test_reports_of_the_end_come_without_an_upload_and_need_no_quorum(scene: Scene) -> None:
    scene.say("a", wire.encode(Envelope("t", "now", 2, "a"), REPORT))
    reports = scene.cohort(quorum=2).finish(2, ALGORITHM.start()[1])
    assert reports == {"a": REPORT}


def test_a_late_device_finds_contract_and_broadcast(scene: Scene) -> None:
    wide = GlobalPrototypes(np.ones(3, bool), np.ones((3, 4), np.float32))
    scene.say("a", answer("a"))
    scene.cohort(deadline=0.2).ask(0, wide)
    topics = [contract_topic("t"), round_topic("t"), f"{broadcast_topic('t', '+')}/+"]
    late = scene.stack.enter_context(MqttConnection(scene.broker, "late", topics))
    arrivals = [late.receive(5) for _ in range(3)]
    found = {a.topic: a.payload for a in arrivals if isinstance(a, Arrival)}
    assert Contract.model_validate_json(found[contract_topic("t")]) == CONTRACT
    payload = Assembler(10_000).offer(found[f"{broadcast_topic('t', 0)}/0"])
    assert payload is not None
    frame = wire.decode(payload, GlobalPrototypes)
    assert frame.envelope == Envelope("t", "now", 0, "aggregator")
    assert frame[GlobalPrototypes].prototypes_CD.tolist() == wide.prototypes_CD.tolist()


def test_payloads_are_cut_to_the_brokers_limit(start_broker: StartBroker) -> None:
    broker = start_broker("max_packet_size 8000").settings
    payload = bytes(range(256)) * 200
    with (
        MqttConnection(broker, "receiver", ["to/+"]) as receiver,
        MqttConnection(broker, "sender", []) as sender,
    ):
        sender.publish_retained("to", payload)
        assembler = Assembler(100_000)
        whole = None
        while whole is None:
            arrival = receiver.receive(5)
            assert isinstance(arrival, Arrival)
            assert len(arrival.payload) < 8000
            whole = assembler.offer(arrival.payload)
            arrival.acknowledge()
        assert whole == payload
        sender.publish_retained("to", b"short")
        assert sender.flush(5)
    with MqttConnection(broker, "late", ["to/+"]) as late:
        first = late.receive(5)
        assert isinstance(first, Arrival)
        assert chunks.Assembler(100).offer(first.payload) == b"short"
        assert late.receive(0.3) is None


def openings(device: MqttConnection, seconds: float) -> list[Arrival]:
    """Return what is heard of contract, round and broadcast in this time."""
    found, end = [], time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        event = device.receive(left)
        if isinstance(event, Arrival):
            event.acknowledge()
            found.append(event)
    return found


def test_a_round_that_waits_is_announced_again_and_again(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    scene.say("a", answer("a"))
    scene.announce_seconds = 0.2
    cohort = scene.cohort(quorum=2, deadline=2.0, give_up=2.0)
    cohort._word = Timer(60, 0.5)
    with pytest.raises(TooFewUploadsError):
        cohort.ask(0, ALGORITHM.start()[1])
    heard = openings(scene.device, 0.5)
    again = [each for each in heard if is_reminder(each.notes)]
    assert len(again) >= 4
    for topic in (contract_topic("t"), round_topic("t"), f"{broadcast_topic('t', 0)}/0"):
        assert sum(each.topic == topic for each in heard) >= 4
    assert is_addressed_to(again[-1].notes, "b")
    assert not is_addressed_to(again[-1].notes, "a")
    assert "round 0 of 2: connected to" in caplog.text
    assert "waits for 1 of 2 devices: b (offline)" in caplog.text


def test_the_round_is_announced_at_every_connection_and_nothing_that_the_broker_keeps(
    scene: Scene,
) -> None:
    with before(scene.broker.port, life=1.5) as port, ExitStack() as stack:
        settings = scene.broker.model_copy(update={"port": port})
        connection = stack.enter_context(
            MqttConnection(settings, "server", MqttCohort.subscriptions("t"))
        )
        patience = RoundDeadlines(2, 12.0, 12.0)
        cohort = MqttCohort(connection, CONTRACT, ALGORITHM, patience, scene.log)
        with pytest.raises(TooFewUploadsError):
            cohort.ask(0, ALGORITHM.start()[1])
    heard = [each.topic for each in openings(scene.device, 0.5)]
    assert heard.count(round_topic("t")) >= 3
    for topic in (contract_topic("t"), f"{broadcast_topic('t', 0)}/0"):
        assert heard.count(topic) == 1


def test_what_is_unfinished_when_a_round_opens_is_forgotten(scene: Scene) -> None:
    cohort = scene.cohort(quorum=0, deadline=3.0)
    part, _ = chunks.split(answer("a"), len(answer("a")))
    scene.device.publish(upload_topic("t", "a"), part)
    cohort.ask(0, ALGORITHM.start()[1])
    assembler = cohort._judge.assemblers["a"]
    assert len(assembler._open) == 1
    cohort.ask(1, ALGORITHM.start()[1])
    assert not assembler._open


def test_a_flood_of_nonsense_is_told_of_sparingly(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(300):
        scene.device.publish(upload_topic("t", "a"), b"nonsense")
    scene.say("b", answer("b"))
    answers = scene.cohort(quorum=1, deadline=5.0).ask(0, ALGORITHM.start()[1])
    assert list(answers) == ["b"]
    assert len(scene.verdicts()) == 301
    assert caplog.text.count("ignored a message of a") == 20
    assert "further ones within a minute are not logged" in caplog.text


def test_who_is_not_invited_is_not_remembered(scene: Scene) -> None:
    scene.device.publish("edgeloop/v1/t/presence/stranger", b"online")
    scene.device.publish("edgeloop/v1/t/presence/a", b"online")
    scene.say("b", answer("b"))
    cohort = scene.cohort(quorum=1)
    cohort.ask(0, ALGORITHM.start()[1])
    assert cohort._roster.online() == {"a"}


def test_who_is_not_asked_is_told_and_does_not_count(scene: Scene) -> None:
    scene.say("a", answer("a"))
    scene.say("b", answer("b"))
    cohort = scene.cohort(quorum=2, deadline=5, give_up=5)
    answers = cohort.ask(0, ALGORITHM.start()[1], {"b"})
    assert list(answers) == ["b"]
    assert scene.verdicts() == [("a", Verdict.NOT_ASKED), ("b", Verdict.ACCEPTED)]
    assert scene.asked(0) == ["b"]
    for name in ("a", "b"):
        scene.device.publish(presence_topic("t", name), b"online", notes=wire.OWN_NOTES)
    scene.say("b", answer("b", round=1))
    cohort.ask(1, ALGORITHM.start()[1], {"b"})
    scene.say("b", answer("b", round=2))
    cohort.ask(2, ALGORITHM.start()[1], {"b"})
    assert scene.asked(2) == ["b"]


def test_a_last_evaluation_is_no_answer_to_the_round_that_was_added_since(scene: Scene) -> None:
    """It may have waited at the broker; nor does it tell that its device has trained."""
    evaluated = wire.encode(Envelope("t", "now", 0, "a", evaluates=True), REPORT)
    for _ in range(2):
        scene.say("a", evaluated)
    scene.say("a", answer("a"))
    scene.say("b", answer("b"))
    answers = scene.cohort(quorum=2, deadline=5, give_up=5).ask(0, ALGORITHM.start()[1])
    assert answers["a"].upload is not None
    assert scene.verdicts() == [
        *[("a", Verdict.LATE)] * 2,
        ("a", Verdict.ACCEPTED),
        ("b", Verdict.ACCEPTED),
    ]
    scene.say("p1", wire.encode(Envelope("t", "now", 4, "p1", evaluates=True), REPORT))
    scene.say("p1", answer("p1", round=5))
    scene.open_cohort(quorum=1, grace=0.0).ask(5, ALGORITHM.start()[1])
    assert not scene.admitted.late


def test_a_device_joins_and_counts_once_it_is_recorded(scene: Scene) -> None:
    scene.say("p1", answer("p1"))
    scene.say("x1", answer("x1"))
    cohort = scene.open_cohort(quorum=1)
    assert list(cohort.ask(0, ALGORITHM.start()[1])) == ["p1"]
    assert scene.verdicts() == [("p1", Verdict.ACCEPTED), ("x1", Verdict.UNINVITED)]
    assert scene.admitted.rounds == {"p1": 0}


def test_a_round_of_an_open_run_waits_for_who_is_online(scene: Scene) -> None:
    for name, word in (("p1", b"online"), ("p2", b"online"), ("p3", b"offline"), ("p4", b"online")):
        notes = wire.OWN_NOTES if name != "p4" else {}  # p4 knows no patterns
        scene.device.publish(presence_topic("t", name), word, notes=notes)
    scene.say("p1", answer("p1"))
    scene.say("p2", answer("p2"))
    begun = time.monotonic()
    cohort = scene.open_cohort(quorum=1, deadline=30.0)
    assert list(cohort.ask(0, ALGORITHM.start()[1])) == ["p1", "p2"]
    assert time.monotonic() - begun < 20
    assert scene.admitted.rounds == {"p1": 0, "p2": 0}
    scene.device.publish(presence_topic("t", "p2"), b"evicted", notes={"run": "now"})
    with pytest.raises(LeftError) as left:
        cohort.ask(1, ALGORITHM.start()[1])
    assert set(left.value.evicted) == {"p2"}
    assert not left.value.devices


def test_who_trained_in_a_round_and_was_late_is_recorded(scene: Scene) -> None:
    """By an answer that comes too late, or by one that tells of another that never came."""
    scene.say("p1", answer("p1", round=4))
    scene.say("p2", answer("p2", round=5, trained="0-1,3"))
    scene.say("p1", answer("p1", round=5, trained="4"))
    scene.open_cohort(quorum=2, grace=0.0).ask(5, ALGORITHM.start()[1])
    assert scene.admitted.late == {("p1", 4), ("p2", 0), ("p2", 1), ("p2", 3)}
