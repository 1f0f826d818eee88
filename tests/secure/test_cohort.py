"""A round of secure aggregation over a real broker: who vanishes, lies, repeats; restarts."""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from edgeloop import algorithms, server_loop
from edgeloop.cohorts.events import DeviceMessage, Event
from edgeloop.cohorts.mqtt import MqttCohort, RoundDeadlines
from edgeloop.cohorts.roster import Roster
from edgeloop.cohorts.secure import SecureCohort, SecureTerms
from edgeloop.cohorts.stepped_log import MemorySteps
from edgeloop.cohorts.uploads import MemoryLog
from edgeloop.errors import ConfigError
from edgeloop.knowledge.prototypes import PrototypeUpload
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.protocol import wire
from edgeloop.protocol.wire import Envelope
from edgeloop.runtime.config import BrokerSettings
from edgeloop.secure.messages import Masked, Revealed
from edgeloop.secure.server import of_sum, summed
from tests.devices import wait_until
from tests.secure.hand_made import (
    ALGORITHM,
    CONTRACT,
    NAMES,
    REPORT,
    Change,
    Fleet,
    changed,
    expected,
    honest,
    upload_of,
    values,
    vanish,
)

pytestmark = pytest.mark.broker


@dataclass
class Server:
    """An aggregator's cohort, which can be started anew on what it has written.

    Attributes:
        broker: where it is.
        log, steps: that outlive it.
        heard: events.
        due: after how many accepted answers a minute more has passed.
        roster: which outlives a cohort, too, so that it knows who is there.
    """

    broker: BrokerSettings
    log: MemoryLog = field(default_factory=MemoryLog)
    steps: MemorySteps = field(default_factory=MemorySteps)
    heard: list[Event] = field(default_factory=list)
    due: list[int] = field(default_factory=list)
    roster: Roster = field(default_factory=lambda: Roster(NAMES))
    _later: float = 0.0

    def clock(self) -> float:
        accepted = sum(verdict == "ACCEPTED" for _, verdict in self.verdicts())
        while self.due and accepted >= self.due[0]:
            del self.due[0]
            self._later += 60.0
        return time.monotonic() + self._later

    @contextmanager
    def cohort(
        self, share: float = 0.0, seconds: float = 20.0, quorum: int = 5, again: float = 30.0
    ) -> Iterator[Any]:
        with MqttConnection(self.broker, "server", MqttCohort.subscriptions("t")) as connection:
            yield SecureCohort(
                connection,
                CONTRACT,
                ALGORITHM,
                RoundDeadlines(quorum, 20.0, 30.0, grace=0.0),
                self.log,
                self.heard.append,
                clock=self.clock,
                announce_seconds=again,
                roster=self.roster,
                terms=SecureTerms(self.steps, share, seconds),
            )

    def verdicts(self) -> list[tuple[str, str]]:
        found = [each for each in self.heard if isinstance(each, DeviceMessage) and each.verdict]
        return [(each.device, each.verdict.name) for each in found if each.verdict]


def same(one: PrototypeUpload | None, other: PrototypeUpload) -> bool:
    assert one is not None
    return bool(wire.fingerprint(one) == wire.fingerprint(other))


def ask(server: Server, change: Change = honest, number: int = 0, **terms: Any) -> Any:
    """Have the devices answer a round; return its answers, and the devices."""
    with Fleet(server.broker, change) as fleet, server.cohort(**terms) as cohort:
        return cohort.ask(number, ALGORITHM.start()[1]), fleet


def test_the_sum_is_that_of_single_uploads_and_nobody_sees_one(
    broker: BrokerSettings, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(broker)
    with caplog.at_level(logging.DEBUG):
        answers, fleet = ask(server)
    assert sorted(answers) == NAMES
    assert all(same(each.upload, expected(NAMES)) for each in answers.values())
    assert server.verdicts().count(("d3", "ACCEPTED")) == 4, "one a step"
    at = server_loop.initial_state(ALGORITHM)
    alone = {name: upload_of(name) for name in NAMES}
    rehearsed = summed(ALGORITHM, "fedproto").aggregate_uploads(at.state, alone)[1]
    shared = {name: each.upload for name, each in answers.items()}
    found = of_sum(ALGORITHM, "fedproto").aggregate_uploads(at.state, shared)[1]
    assert wire.fingerprint(found) == wire.fingerprint(rehearsed), "to the bit"
    kept = [*server.log.uploads[0].values(), *(f for _, _, f in fleet.sent)]
    kept += [each for step in server.steps.steps.values() for each in step.values()]
    for name in NAMES:
        parts = [values(name), np.rint(values(name) * 2.0**24).astype(np.int64)]
        parts += [upload_of(name).prototypes_ND]
        assert not any(part.tobytes() in payload for part in parts for payload in kept)
        assert repr(float(upload_of(name).prototypes_ND[0, 0]))[:8] not in caplog.text


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_two_of_five_vanish_at_a_step(broker: BrokerSettings, step: int) -> None:
    answers, fleet = ask(Server(broker), vanish({"d1": step, "d4": step}), quorum=3)
    there = NAMES if step == 4 else ["d0", "d2", "d3"]
    assert counted(answers) == there
    assert all(same(answers[name].upload, expected(there)) for name in there)
    assert len(answers) == (3 if step == 1 else 5), "whoever has begun has reported"
    assert fleet.refused == []


def counted(answers: Any) -> list[str]:
    return sorted(name for name, each in answers.items() if each.upload is not None)


@pytest.mark.parametrize(
    ("step", "what"), [(2, "entrusted the others"), (3, "sent numbers"), (4, "sent shares")]
)
def test_below_the_threshold_a_round_changes_nothing_and_the_next_begins_anew(
    broker: BrokerSettings, caplog: pytest.LogCaptureFixture, step: int, what: str
) -> None:
    gone = dict.fromkeys(["d1", "d2", "d4"], step)
    server = Server(broker, due=[5 * (step - 1) + 2])
    with Fleet(broker, vanish(gone)) as fleet, server.cohort() as cohort:
        answers = cohort.ask(0, ALGORITHM.start()[1])
        assert counted(answers) == []
        assert len(answers) == 5
        said = f"round 0 changes nothing: there is no sum: 2 have {what}, and 3 must"
        assert said in caplog.text
        fleet.come_back()
        answers = cohort.ask(1, ALGORITHM.start()[1])
    assert same(answers["d0"].upload, expected(NAMES, number=1))
    assert {key[0] for key in server.steps.steps} == {1}, "what was said in round 0 is gone"
    assert server.log.uploads[0] == {}, "nobody has given an upload to it"


def test_a_cohort_of_fewer_than_the_contract_says(
    broker: BrokerSettings, caplog: pytest.LogCaptureFixture
) -> None:
    answers, fleet = ask(Server(broker), vanish(dict.fromkeys(["d1", "d2", "d4"], 1)), quorum=2)
    assert counted(answers) == []
    assert len(answers) == 2
    assert "no sum: 2 devices begin, and 3 to 1000 can" in caplog.text
    assert {step for _, step, _ in fleet.sent} == {1}


def test_a_share_of_the_devices_must_be_there(
    broker: BrokerSettings, caplog: pytest.LogCaptureFixture
) -> None:
    assert counted(ask(Server(broker), vanish({"d4": 3}), share=0.8)[0]) == NAMES[:4]
    assert counted(ask(Server(broker, due=[14]), vanish({"d4": 3}), share=0.9)[0]) == []
    assert "4 have sent numbers, and 5 must" in caplog.text


def test_a_device_that_tells_false_shares_is_found(
    broker: BrokerSettings, caplog: pytest.LogCaptureFixture
) -> None:
    def lie(name: str, step: int, message: Any) -> Any:
        if (name, step) != ("d0", 4):
            return message
        return Revealed(message.shares_NS ^ 1, message.known_N)

    answers, fleet = ask(Server(broker), lie)
    assert all(same(each.upload, expected(NAMES)) for each in answers.values())
    assert "round 0: d0: it has told false shares; the sum was made without them" in caplog.text
    wait_until(lambda: "implausible" in fleet.verdicts("d0"), 10)


def test_a_device_that_entrusts_others_with_nothing_spoils_one_round(
    broker: BrokerSettings, caplog: pytest.LogCaptureFixture
) -> None:
    def spoil(name: str, step: int, message: Any) -> Any:
        if (name, step) != ("d3", 2):
            return message
        return changed(message, sealed_NS=message.sealed_NS ^ 1)

    server = Server(broker)
    with Fleet(broker, spoil) as fleet, server.cohort() as cohort:
        assert counted(cohort.ask(0, ALGORITHM.start()[1])) == []
        assert "no secret that d3 has committed to" in caplog.text
        answers = cohort.ask(1, ALGORITHM.start()[1])
        wait_until(lambda: fleet.verdicts("d3").count("implausible") == 2, 10)
    others = [name for name in NAMES if name != "d3"]
    assert counted(answers) == others
    assert same(answers["d0"].upload, expected(others, number=1))


def test_one_whose_vector_is_longer_is_left_out(broker: BrokerSettings) -> None:
    def longer(name: str, step: int, message: Any) -> Any:
        return changed(message, size=99) if (name, step) == ("d2", 1) else message

    others = [name for name in NAMES if name != "d2"]
    answers, fleet = ask(Server(broker), longer)
    assert counted(answers) == others
    assert same(answers["d0"].upload, expected(others))
    assert {step for name, step, _ in fleet.sent if name == "d2"} == {1}


def test_what_is_late_twice_malformed_or_another_s(broker: BrokerSettings) -> None:
    """Each gets a verdict, and the sum is what it would have been."""
    fleets: list[Fleet] = []

    def meddle(name: str, step: int, message: Any) -> Any:
        if (name, step) == ("d1", 3) and fleets:
            fleet = fleets.pop()
            fleet.say("d1", fleet.frame("d1", 2))  # again, a step later
            fleet.say("d1", fleet.frame("d1", 1))
            other = changed(fleet.rounds["d1"].public_keys, size=1)
            fleet.say("d1", wire.encode(fleet.place("d1"), other, REPORT))
            fleet.say("d1", wire.encode(fleet.place("d1"), Masked(np.zeros(3, np.int64))))
            fleet.say("d1", wire.encode(fleet.place("d1"), message, REPORT))
            fleet.say("d1", fleet.frame("d2", 2))
            told = Revealed(np.zeros((5, 66), np.uint8), np.ones(5, bool))
            fleet.say("d1", wire.encode(fleet.place("d1"), told))
            fleet.say("stranger", wire.encode(Envelope("t", "now", 0, "stranger"), message))
        return message

    server = Server(broker)
    with Fleet(broker, meddle) as fleet, server.cohort() as cohort:
        fleets.append(fleet)
        answers = cohort.ask(0, ALGORITHM.start()[1])
    assert all(same(each.upload, expected(NAMES)) for each in answers.values())
    mine = [verdict for name, verdict in server.verdicts() if name == "d1"]
    for verdict, times in (("DUPLICATE", 2), ("MALFORMED", 2), ("WRONG_ROUND", 1)):
        assert mine.count(verdict) >= times, (verdict, mine)
    assert mine.count("CONFLICT") == 2, "another first answer, and d2's, which is not d1's"
    assert mine.count("ACCEPTED") == 4
    assert ("stranger", "UNINVITED") in server.verdicts()


class KilledError(Exception):
    """The aggregator's process ends."""


@dataclass
class Killing(MemorySteps):
    """What an aggregator has written that is killed as it has just written a certain thing."""

    at: tuple[int, bool] = (0, False)

    def record_step(self, round_number: int, step: int, uploads: Any) -> None:
        """Write, and be killed."""
        super().record_step(round_number, step, uploads)
        own = any(each.client == "aggregator" for each in uploads)
        if (step, own) == self.at:
            self.at = (0, False)
            raise KilledError


@pytest.mark.parametrize("at", [(1, True), (2, False), (2, True), (3, False), (3, True), (4, True)])
def test_an_aggregator_that_is_killed_goes_on(broker: BrokerSettings, at: Any) -> None:
    """It says the same again: no device refuses a step, and nobody's part is lost."""
    server = Server(broker, steps=Killing(at=at))
    with Fleet(broker, vanish({"d4": 3})) as fleet:
        with ExitStack() as stack:
            cohort = stack.enter_context(server.cohort())
            with pytest.raises(KilledError):
                cohort.ask(0, ALGORITHM.start()[1])
        if at == (3, True):  # what comes too late for the sum that was decided
            fleet.say("d4", wire.encode(fleet.place("d4"), Masked(np.zeros(18, np.int64))))
        with server.cohort() as cohort:
            answers = cohort.ask(0, ALGORITHM.start()[1])
    assert fleet.refused == []
    assert counted(answers) == NAMES[:4]
    assert same(answers["d0"].upload, expected(NAMES[:4]))


def test_a_device_that_has_missed_a_step_hears_it_again(broker: BrokerSettings) -> None:
    lost: list[str] = []

    def lose(name: str, step: int, message: Any) -> Any:
        if (name, step) == ("d1", 3) and not lost:
            lost.append(name)
            return b"lost"
        return message

    answers, fleet = ask(Server(broker), lose, again=0.3)
    assert counted(answers) == NAMES
    assert fleet.refused == []


def test_an_algorithm_that_needs_single_uploads_is_refused() -> None:
    load: Any = algorithms.load
    with pytest.raises(ConfigError, match="fedtgp needs single uploads"):
        of_sum(load("fedtgp", classes=3, width=4), "fedtgp")
    half = algorithms.load("class-statistics", classes=3, base_sha256="0" * 64, dims=4)
    with pytest.raises(ConfigError, match='precision = "single"'):
        of_sum(half, "class-statistics")
