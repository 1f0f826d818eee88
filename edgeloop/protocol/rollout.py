"""What the cloud ships to a device, and what the device makes of it: orders, outcomes, topics.

edgeloop/v1/{task}/desired/{device}/{kind}    retained: the newest order of a kind, JSON
edgeloop/v1/{task}/shipped/{sha256}/{chunk}   retained: a file that orders name, in chunks
edgeloop/v1/{task}/applied/{device}/{kind}    retained: what became of an order, JSON

An order is named by its serial number: the millisecond in which it was given. A device that has
carried it out says so again, whenever it comes again; an older one it ignores.
"""

from typing import Annotated, Literal, get_args

from pydantic import Field

from edgeloop.protocol import wire
from edgeloop.protocol.growing import Growing
from edgeloop.protocol.task import ROOT, Name, Size

Kind = Literal["model", "base", "settings"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Action = Literal["apply", "roll back"]
OutcomeState = Literal["fetching", "applied", "failed", "rolled back"]

DESIRED, SHIPPED, APPLIED = "desired", "shipped", "applied"
"""Kinds of topics."""

LONGEST_REASON = 300  # characters
Serial = Annotated[int, Field(ge=1, lt=2**53)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Order(Growing):
    """What a device is to have.

    Attributes:
        rollout: whose order it is.
        serial: a later one has a larger number.
        kind: of what: the classifier in use, a base, settings.
        action: to have it, or to go back to what was before.
        sha256: of the file.
        size: of the file, in bytes.
    """

    rollout: Name
    serial: Serial
    kind: Kind
    action: Action
    sha256: Digest
    size: Size

    def text(self) -> bytes:
        """Return the order as JSON."""
        return self.to_json(grown=True).encode()


class Outcome(Growing):
    """What became of an order.

    Attributes:
        rollout: the order's.
        serial: the order's.
        kind: the order's.
        state: "fetching" is not the end; "rolled back" also of what the device itself has taken
            out of use, with the reason.
        reason: why, for a person; may be empty.
    """

    rollout: Name
    serial: Serial
    kind: Kind
    state: OutcomeState
    reason: Annotated[str, Field(max_length=LONGEST_REASON)] = ""

    def text(self) -> bytes:
        """Return the outcome as JSON."""
        return self.to_json(grown=True).encode()


def outcome(order: Order, state: OutcomeState, reason: str = "") -> Outcome:
    """Return what became of an order; a long reason is cut."""
    words = reason[:LONGEST_REASON].encode(errors="replace").decode()
    return Outcome(
        rollout=order.rollout, serial=order.serial, kind=order.kind, state=state, reason=words
    )


def desired_topic(task: str, device: str, kind: str) -> str:
    """Return where a device hears what it is to have of a kind; "+" for all kinds."""
    return f"{ROOT}/{task}/{DESIRED}/{device}/{kind}"


def shipped_topic(task: str, sha256: int | str) -> str:
    """Return above which the chunks of a file are; "+" for every file."""
    return f"{ROOT}/{task}/{SHIPPED}/{sha256}"


def applied_topic(task: str, device: str, kind: str) -> str:
    """Return where a device says what it has made of an order; "+" for every one."""
    return f"{ROOT}/{task}/{APPLIED}/{device}/{kind}"


def device_of(task: str, topic: str) -> str:
    """Return whose topic above it is; empty if it is none of those."""
    head, _, rest = topic.removeprefix(f"{ROOT}/{task}/").partition("/")
    device, _, kind = rest.partition("/")
    known = head in (DESIRED, APPLIED) and topic.startswith(f"{ROOT}/{task}/") and kind in KINDS
    return device if known else ""


def digest_of(content: bytes) -> str:
    """Return the SHA-256 that an order names a file by."""
    return wire.digest(content)
