"""What a device is doing: a small message that goes with the "online" of its presence.

It travels as one user property, so that a peer of 0.1, which knows "online" and "offline" only,
understands what it did before.
"""

import enum
import json
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, ValidationError

from edgeloop.protocol import wire
from edgeloop.protocol.growing import Growing
from edgeloop.protocol.task import Name
from edgeloop.protocol.wire import OWN_NOTES
from edgeloop.runtime.logs import one_line

NOTE = "presence"
"""The user property."""

LONGEST_REASON = 300  # characters


class State(enum.StrEnum):
    """What a device of this version can be doing."""

    WAITING = "waiting"  # for a contract
    REFUSED = "refused"  # the contract; it waits for another one
    FETCHING = "fetching"
    TRAINING = "training"
    ANSWERED = "answered"
    EVALUATING = "evaluating"
    FINISHING = "finishing"  # all rounds are answered; it makes its model
    SLEEPING = "sleeping"  # its run is over; it waits for the next one


class Presence(Growing):
    """What a device is doing.

    Attributes:
        state: the value of a `State`; a newer device may have others.
        run: of which run.
        round: of which round.
        settled: the last round of the run of which it has the receipt.
        reason: why it has refused a contract, for a person.
        version: of its edgeloop.
        in_use: which model it has put into use at the run's end, and why, for a person.
        since: when this began, in seconds since 1970 by the device's clock.
    """

    state: Annotated[str, Field(min_length=1, max_length=32)] = State.WAITING.value
    run: Name | None = None
    round: Annotated[int, Field(ge=0, le=wire.MAX_FRAME)] | None = None
    settled: Annotated[int, Field(ge=0, le=wire.MAX_FRAME)] | None = None
    reason: Annotated[str, Field(max_length=LONGEST_REASON)] = ""
    version: Annotated[str, Field(max_length=32)] = ""
    in_use: Annotated[str, Field(max_length=LONGEST_REASON), wire.Since(1)] = ""
    since: Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)] = 0.0

    def text(self) -> str:
        """Return it as JSON in ASCII: brokers refuse control characters in a user property."""
        return json.dumps(json.loads(self.to_brief_json()))


def notes_of(presence: Presence) -> Mapping[str, str]:
    """Return the user properties that go with "online"."""
    return {**OWN_NOTES, NOTE: presence.text()}


def presence_of(notes: Mapping[str, str]) -> Presence | None:
    """Return what a device says it is doing; None if it says nothing that can be read.

    Its control characters are escapes then: it is shown to people, in logs, tables and pages.
    """
    try:
        found = Presence.model_validate_json(notes[NOTE])
    except (KeyError, ValidationError):
        return None
    shown = ("state", "reason", "version", "in_use")
    return found.model_copy(update={name: one_line(getattr(found, name)) for name in shown})
