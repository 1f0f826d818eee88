"""The contract of a task and the opening of a round grow as frames do."""

import json
from typing import Annotated, Any

import pytest
from pydantic import ValidationError, create_model

from edgeloop.protocol.gathering import Verdict
from edgeloop.protocol.growing import Growing
from edgeloop.protocol.presence import Presence
from edgeloop.protocol.receipt import Receipt, receipt
from edgeloop.protocol.rollout import Order, Outcome, outcome
from edgeloop.protocol.task import Contract, Opening
from edgeloop.protocol.wire import Since
from tests.world import contract

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OPENING = Opening(run="r", round=3, digest="0" * 64, slot=1, size=9)
ORDER = Order(rollout="a", serial=1, kind="model", action="apply", sha256="0" * 64, size=9)
MESSAGES = (
    contract(),
    OPENING,
    receipt("r", 3, "0" * 64, Verdict.LATE, "its round is over"),
    Presence(state="training", run="r", round=3),
    Presence(state="sleeping", run="r", in_use="in use: a mixture"),
    ORDER,
    outcome(ORDER, "applied"),
)
"""One of each kind that grows."""

PLAIN = '{"run":"r","round":3,"digest":"' + "0" * 64 + '","slot":1,"size":9}'


def read(known: type[Growing], text: str, **changes: Any) -> Any:
    return known.model_validate_json(json.dumps({**json.loads(text), **changes}))


def test_an_opening_with_nothing_new_is_the_one_that_older_devices_know() -> None:
    assert OPENING.text() == PLAIN
    traced = OPENING.model_copy(update={"trace": TRACE})
    assert json.loads(traced.text()) == {**json.loads(PLAIN), "trace": TRACE, "minor": 1}
    assert traced.text(grown=False) == PLAIN
    assert Opening.model_validate_json(traced.text()) == traced
    assert Opening.model_validate_json(PLAIN) == OPENING
    assert traced.same_round(OPENING)
    assert not traced.same_round(OPENING.model_copy(update={"round": 4}))
    assert not traced.same_round(None)


@pytest.mark.parametrize(
    ("known", "text"),
    [(Opening, PLAIN), (Contract, contract().text())],
    ids=["opening", "contract"],
)
def test_fields_of_a_newer_minor_version_are_ignored_and_named(
    known: type[Growing], text: str
) -> None:
    plain = known.model_validate_json(text)
    found = read(known, text, minor=9, mood="good", hue=[1])
    assert found.ignored == ("hue", "mood")
    assert found.model_dump() == plain.model_dump()
    assert plain.ignored == read(known, text, minor=9).ignored == ()
    for changes in ({"mood": 1}, {"mood": 1, "minor": 0}, {"mood": 1, "minor": "9"}, {"minor": -1}):
        with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
            read(known, text, **changes)
    with pytest.raises(
        ValidationError, match=r"needs minor version 9, this is \d: update edgeloop"
    ):
        read(known, text, needs=9, minor=9, mood="good")


@pytest.mark.parametrize(
    ("known", "text"),
    [(Opening, PLAIN), (Contract, contract().text())],
    ids=["opening", "contract"],
)
def test_another_major_version_is_refused_with_both_and_the_remedy(
    known: type[Growing], text: str
) -> None:
    name = known.__name__.lower()
    for version, side in ((2, "this side"), (0, "the side that sent it")):
        told = f"{name} version {version}, this is 1: update edgeloop on {side}"
        with pytest.raises(ValidationError, match=told):
            read(known, text, schema_version=version, minor=9, mood="good")
    with pytest.raises(ValidationError):
        read(known, "{}", schema_version=1)


def test_a_value_that_is_wrong_is_not_excused_by_a_version() -> None:
    with pytest.raises(ValidationError, match="round"):
        read(Opening, PLAIN, round=-1, minor=9)
    with pytest.raises(ValidationError, match="trace"):
        read(Opening, PLAIN, trace="x" * 129, minor=1)
    for strange in ("[]", "7", "null", '"text"', '{"minor": 9}'):
        with pytest.raises(ValidationError):
            Opening.model_validate_json(strange)


class Later(Growing):
    """A contract of a later version."""

    task: str
    colour: Annotated[str, Since(1)] = ""
    unit: Annotated[str | None, Since(2, needed=True)] = None


def test_a_field_that_must_be_known_travels_to_everybody() -> None:
    assert Later(task="t").to_json(grown=True) == '{"task":"t"}'
    whole = Later(task="t", colour="red", unit="mm")
    assert json.loads(whole.to_json(grown=True)) == {
        **{"task": "t", "colour": "red", "unit": "mm"},
        **{"minor": 2, "needs": 2},
    }
    assert json.loads(whole.to_json(grown=False)) == {
        **{"task": "t", "unit": "mm"},
        **{"minor": 2, "needs": 2},
    }
    assert Later.model_validate_json(whole.to_json(grown=True)) == whole


def test_here_is_one_of_each_kind_of_message() -> None:
    kinds = {each for each in Growing.__subclasses__() if each.__module__.startswith("edgeloop.")}
    assert {Contract, Opening, Receipt, Presence, Order, Outcome} <= kinds
    new = kinds - {type(each) for each in MESSAGES}
    assert not new, f"put one of each of {new} into MESSAGES of this file"


@pytest.mark.parametrize("said", MESSAGES, ids=lambda each: type(each).__name__)
def test_each_may_gain_a_field_that_today_s_reader_ignores(said: Any) -> None:
    """What makes its text says the minor version, without which a reader refuses all of it."""
    known = type(said)
    newer = create_model("Newer", __base__=known, mood=(Annotated[str, Since(99)], ""))
    text = newer(**said.model_dump(), mood="good").text()
    found = known.model_validate_json(text)
    assert found.ignored == ("mood",)
    assert found.model_dump() == said.model_dump()
    assert newer.model_validate_json(text).mood == "good"
    assert newer(**said.model_dump()).text() == said.text()
