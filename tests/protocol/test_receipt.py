"""Receipts and presences: small messages that grow, and that no peer can break."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgeloop.protocol import wire
from edgeloop.protocol.chunks import Assembler, Unfinished, place_of, split
from edgeloop.protocol.gathering import Verdict
from edgeloop.protocol.presence import NOTE, Presence, State, notes_of, presence_of
from edgeloop.protocol.receipt import MOST_MISSING, Receipt, asking, receipt
from edgeloop.protocol.task import is_addressed_to, is_over, is_reminder, over
from edgeloop.protocol.wire import GROWS, OWN_NOTES, VersionError
from edgeloop.runtime.logs import one_line

DIGEST = "0" * 64


@pytest.mark.parametrize("verdict", Verdict)
def test_a_receipt_comes_back_as_it_was_given(verdict: Verdict) -> None:
    made = receipt("r", 3, DIGEST, verdict, "a reason")
    assert Receipt.model_validate_json(made.text()) == made
    assert made.is_taken == (verdict in (Verdict.ACCEPTED, Verdict.DUPLICATE))


@given(st.text(), st.integers(min_value=0, max_value=2**63))
def test_whatever_a_device_said_its_receipt_can_be_given(reason: str, number: int) -> None:
    made = receipt("r", number, DIGEST, Verdict.MALFORMED, reason + "\ud800" * 1000)
    assert Receipt.model_validate_json(made.text().encode()) == made


def test_what_is_asked_for_is_bounded() -> None:
    made = asking("r", 0, Unfinished(DIGEST, 60_000, tuple(range(60_000))))
    assert made.missing == tuple(range(MOST_MISSING))
    assert Receipt.model_validate_json(made.text()) == made
    assert len(made.text()) < 4096 - 1024


@given(st.binary())
def test_nothing_but_a_receipt_is_one(payload: bytes) -> None:
    with pytest.raises((ValidationError, VersionError)):
        Receipt.model_validate_json(payload)


def test_a_newer_receipt_is_understood_as_far_as_it_can_be() -> None:
    fields = json.loads(receipt("r", 3, DIGEST, Verdict.LATE, "").text())
    newer = Receipt.model_validate_json(json.dumps({**fields, "minor": 99, "mood": "good"}))
    assert (newer.verdict, newer.ignored) == ("late", ("mood",))
    unknown = Receipt.model_validate_json(json.dumps({**fields, "verdict": "postponed"}))
    assert not unknown.is_taken


@given(
    st.sampled_from(State),
    st.none() | st.integers(min_value=0, max_value=10**6),
    st.text(max_size=300),
)
def test_a_presence_comes_back_as_it_was_said(
    state: State, number: int | None, reason: str
) -> None:
    said = Presence(state=state.value, run="r", round=number, reason=reason, since=1.5e9)
    notes = notes_of(said)
    assert notes[NOTE].isascii()
    assert notes[NOTE].isprintable(), "brokers refuse control characters"
    assert presence_of(notes) == said.model_copy(update={"reason": one_line(reason)})
    assert wire.grows(notes)
    assert wire.speaks(notes) == 1


@given(st.text())
def test_nothing_that_a_device_says_of_itself_raises(text: str) -> None:
    assert presence_of({NOTE: text}) in (None, Presence())


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"round": -1}),
        json.dumps({"since": 1e300}),
        json.dumps({"state": "x" * 33}),
        json.dumps({"reason": "x" * 301}),
        json.dumps({"mood": "good"}),
        "[" * 100_000,
    ],
)
def test_what_cannot_be_is_no_presence(text: str) -> None:
    assert presence_of({NOTE: text}) is None
    assert presence_of({}) is None


def test_who_speaks_which_minor_version() -> None:
    assert wire.speaks(OWN_NOTES) == 1
    assert wire.speaks(GROWS) == 0
    assert wire.speaks({}) == 0
    for text in ("", "-1", "1e3", "²", "9" * 30, "x"):
        assert wire.speaks({**GROWS, "speaks": text}) == 0
    assert wire.speaks({"speaks": "1"}) == 0


def test_a_run_that_is_over_reminds_nobody() -> None:
    assert is_over(over())
    assert not is_over(OWN_NOTES)
    assert is_reminder(over())
    assert not is_addressed_to(over(), "a")


def test_an_assembler_knows_what_is_missing() -> None:
    payload = bytes(range(250)) * 4
    parts = split(payload, 300)
    assembler = Assembler(10_000)
    for index in (1, 3):
        assembler.offer(parts[index])
    (found,) = assembler.unfinished(2)
    assert found == Unfinished(wire.digest(payload), len(parts), (0, 2))
    place = place_of(parts[3])
    assert place is not None
    assert (place.digest, place.index, place.count) == (found.digest, 3, len(parts))
    assert place_of(b"EDGC") is None
    assert place_of(b"x" * 100) is None
