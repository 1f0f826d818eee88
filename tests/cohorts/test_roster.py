"""Who is there and what they do, as the aggregator knows it."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from cloud.aggregator import waiting
from edgeloop.cohorts.events import OpenRound
from edgeloop.cohorts.roster import FIGHT_SECONDS, FOUGHT_OVER, KINDS, SILENT_SECONDS, Roster
from edgeloop.mqtt.connection import Arrival
from edgeloop.protocol import wire
from edgeloop.protocol.presence import NOTE, Presence, notes_of, presence_of
from edgeloop.protocol.wire import GROWS

WALL = 1.8e9


@dataclass
class Clock:
    """Seconds that a test has pass."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def heard(roster: Roster, device: str, payload: bytes = b"online", **fields: Any) -> None:
    notes = notes_of(Presence(**fields)) if fields else {}
    roster.hear(device, Arrival(f"edgeloop/v1/t/presence/{device}", payload, lambda: None, notes))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def roster(clock: Clock) -> Roster:
    return Roster(["a", "b", "c"], clock, lambda: WALL)


def test_what_each_is_doing(roster: Roster, clock: Clock) -> None:
    heard(roster, "a", state="training", run="r", round=3, since=WALL - 40)
    heard(roster, "b", state="dreaming", run="r")
    heard(roster, "stranger", state="training")
    clock.now = 5.0
    assert roster.describe("a") == "training round 3 for 40 s"
    assert roster.describe("b") == "dreaming for 5 s"
    assert roster.describe("c") == "offline"
    assert [each.kind for each in roster.all()] == ["training", "other", "offline"]
    counts = roster.counts()
    assert counts.keys() == set(KINDS)
    assert {kind: number for kind, number in counts.items() if number} == {
        "training": 1,
        "other": 1,
        "offline": 1,
    }
    heard(roster, "a", b"offline")
    assert roster.describe("a") == "offline"
    heard(roster, "c")
    assert roster.describe("c") == "online", "an older one says no more"


def test_a_clock_that_is_wrong_is_not_believed(roster: Roster, clock: Clock) -> None:
    heard(roster, "a", state="training", since=100.0)
    heard(roster, "b", state="training", since=WALL + 1000)
    clock.now = 7.0
    assert roster.describe("a") == roster.describe("b") == "training for 7 s"


def test_an_online_that_nobody_repeats_is_not_true(roster: Roster, clock: Clock) -> None:
    heard(roster, "a", state="training", round=1, since=WALL)
    heard(roster, "b")
    clock.now = SILENT_SECONDS + 1
    assert roster.describe("a") == "silent for 751 s, though its presence says online"
    assert roster.describe("b") == "online", "an older one repeats nothing"
    assert roster.online() == {"b"}
    roster.heard_of("a")
    assert roster.online() == {"a", "b"}


def test_who_grows(roster: Roster) -> None:
    assert not roster.all_grow()
    for name in "ab":
        heard(roster, name, state="waiting")
    assert not roster.all_grow()
    roster.hear("c", Arrival("edgeloop/v1/t/presence/c", b"online", lambda: None, GROWS))
    assert roster.all_grow()
    roster.keep(["a"])
    assert [each.name for each in roster.all()] == ["a"]


def open_round(roster: Roster, *answered: str, quorum: int = 3, seconds: float = 61) -> OpenRound:
    missing = {each.name for each in roster.all()} - set(answered)
    return OpenRound(2, quorum, frozenset(answered), frozenset(missing), seconds)


def test_a_round_that_cannot_have_its_quorum_is_no_readiness(roster: Roster) -> None:
    heard(roster, "a", state="refused", reason="its class 'dent' is none of the task's")
    heard(roster, "b", state="training")
    found = waiting.shortage(roster, open_round(roster, "b"))
    assert found == (
        "round 2 needs 2 more answers, and 0 of the 2 devices that it waits for can give one:"
        " a (refused the contract: its class 'dent' is none of the task's), c (offline)"
    )
    for fine in (
        None,
        open_round(roster, "b", seconds=59),  # it may be starting
        open_round(roster, "b", quorum=1),
        open_round(roster, quorum=1),
    ):
        assert waiting.shortage(roster, fine) is None


def test_the_status_of_the_devices(roster: Roster) -> None:
    heard(roster, "a", state="answered", run="r", round=2, version="0.3.0", since=WALL - 2.04)
    heard(roster, "b", state="refused", reason="of a reason")
    found = waiting.devices(roster, open_round(roster, "a"))
    assert [each.model_dump(exclude_defaults=True) for each in found] == [
        {
            "name": "b",
            "state": "refused",
            "seconds": 0.0,
            "reason": "of a reason",
            "answered": False,
        },
        {"name": "c", "state": "offline", "answered": False},
        {
            "name": "a",
            "state": "answered",
            "round": 2,
            "seconds": 2.0,
            "version": "0.3.0",
            "answered": True,
        },
    ]
    assert {each.answered for each in waiting.devices(roster, None)} == {None}


def test_two_processes_with_one_name(roster: Roster, clock: Clock) -> None:
    """A link that does not hold, and a device that is started again, are something else."""

    def comes(process: str) -> None:
        clock.now += 1.0
        notes = {**notes_of(Presence(state="waiting")), "process": process}
        roster.hear("a", Arrival("presence/a", b"online", lambda: None, notes))
        heard(roster, "a", b"offline")

    for _ in range(9):
        comes("first")
    for number in range(9):
        comes(f"restart {number}")
    assert not roster.is_fought_over("a")
    for _ in range(3):
        comes("one")
        comes("two")
    assert roster.is_fought_over("a")
    assert roster.describe("a") == FOUGHT_OVER
    (found,) = [each for each in waiting.devices(roster, None) if each.name == "a"]
    assert found.reason == FOUGHT_OVER
    clock.now += FIGHT_SECONDS
    assert not roster.is_fought_over("a")
    assert not roster.is_fought_over("nobody")


def test_what_a_device_says_of_itself_obeys_nobodys_terminal() -> None:
    words = {
        "state": "wait\x1b[2J",
        "reason": "\x1b[31m\nERROR all is lost\u202e",
        "version": "\x9b1m",
    }
    notes = {**wire.OWN_NOTES, NOTE: json.dumps(words)}
    found = presence_of(notes)
    assert found is not None
    assert found.reason == r"\x1b[31m\nERROR all is lost\u202e"
    assert (found.state, found.version) == (r"wait\x1b[2J", r"\x9b1m")
