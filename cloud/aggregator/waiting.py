"""Whom a round waits for, and why, as the HTTP interface says it."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict

from cloud.aggregator.answer_record import Received
from edgeloop.cohorts.events import OpenRound
from edgeloop.cohorts.roster import FOUGHT_OVER, Roster, Standing
from edgeloop.implausible_uploads import Outlier

MOST_DEVICES = 1000
"""In one answer."""

GRACE_SECONDS = 60.0
"""After a round's opening, for devices to be there: they may just be starting."""

_MOST_NAMED = 5
NONE: Mapping[str, float] = MappingProxyType({})


class DeviceStatus(BaseModel):
    """What is known of a device.

    Attributes:
        name: of the device.
        state: what it is doing, one of `roster.KINDS`.
        round: of which round; None where that is not said.
        seconds: for how long it has done so, as far as is known.
        reason: what it says of it, such as why it refused the contract.
        version: of its edgeloop; empty where it does not say.
        answered: whether the open round has its answer; None where no round is open.
        accuracy: on its own test samples, in the last evaluation since the aggregator's start.
        received: bytes of its answers since the aggregator's start.
        last_answer: when the last one came that was taken, since then.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    state: str
    round: int | None = None
    seconds: float | None = None
    reason: str = ""
    version: str = ""
    answered: bool | None = None
    accuracy: float | None = None
    received: int = 0
    last_answer: datetime | None = None


class OddUpload(BaseModel):
    """A part of an upload that is far from the cohort's.

    Attributes:
        device: whose.
        field: the part's name; empty for all of it.
        times: the cohort's median that it is.
    """

    model_config = ConfigDict(frozen=True)

    device: str
    field: str
    times: float


def outliers(found: Iterable[Outlier]) -> tuple[OddUpload, ...]:
    """Return what was odd in the round that was closed last, as far as one answer tells of it."""
    odd = [OddUpload(device=each.client, field=each.field, times=each.times) for each in found]
    return tuple(odd[:MOST_DEVICES])


def devices(
    roster: Roster,
    open_round: OpenRound | None,
    accuracies: Mapping[str, float] = NONE,
    received: Callable[[str], Received] = lambda device: Received(),
) -> list[DeviceStatus]:
    """Return what is known of all devices; those that an open round waits for come first."""
    answered = None if open_round is None else open_round.answered
    found = [
        _status(roster, each, answered, accuracies.get(each.name), received(each.name))
        for each in roster.all()
    ]
    return sorted(found, key=lambda each: bool(each.answered))


def _status(
    roster: Roster,
    known: Standing,
    answered: frozenset[str] | None,
    accuracy: float | None,
    received: Received,
) -> DeviceStatus:
    said, elapsed = known.presence, roster.seconds_since(known)
    there = said is not None and known.is_there
    return DeviceStatus(
        name=known.name,
        state=known.kind,
        round=said.round if said is not None and there else None,
        seconds=None if elapsed is None else round(elapsed, 1),
        reason=_reason(known),
        version="" if said is None else said.version,
        answered=None if answered is None else known.name in answered,
        accuracy=accuracy,
        received=received.size,
        last_answer=received.last_answer,
    )


def _reason(known: Standing) -> str:
    if known.is_fought_over:
        return FOUGHT_OVER
    said = known.presence if known.is_there else None
    return "" if said is None else said.reason or said.in_use


def shortage(roster: Roster, open_round: OpenRound | None) -> str | None:
    """Return why a round cannot have the answers that it needs; None while it can, or may soon."""
    if open_round is None or open_round.seconds < GRACE_SECONDS:
        return None
    needed = open_round.quorum - len(open_round.answered)
    able = {each.name for each in roster.all() if each.can_answer} & open_round.missing
    if needed <= len(able):
        return None
    unable = _named(roster, open_round.missing - able)
    text = "round {} needs {} more answers, and {} of the {} devices that it waits for can give one"
    sentence = text.format(open_round.number, needed, len(able), len(open_round.missing))
    return f"{sentence}: {unable}"


def _named(roster: Roster, names: Iterable[str]) -> str:
    ordered = sorted(names)
    named = [f"{name} ({roster.describe(name)})" for name in ordered[:_MOST_NAMED]]
    more = len(ordered) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")
