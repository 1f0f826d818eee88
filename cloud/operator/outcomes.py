"""What a look at one of our own objects, or a step of its removal, came to."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ReconcileResult:
    """What a look at a resource came to.

    Attributes:
        phase: that it is in; empty if it never was in one.
        problem: what is wrong; empty if nothing is.
        phase_changed: whether the phase is a new one.
        newly_refused: whether its spec is not followed, and was before.
    """

    phase: str
    problem: str
    phase_changed: bool
    newly_refused: bool = False


@dataclass(frozen=True)
class RemovalStep:
    """What a step of a deleted resource's removal came to.

    Attributes:
        waits_for: what must come before the next step; None once the resource may go.
        revoked: what it is just no more admitted to, for a person; empty for nothing.
    """

    waits_for: str | None = None
    revoked: str = ""


class GivenUpError(Exception):
    """A deleted resource goes although not all is done, and somebody has to know.

    Attributes:
        reason: of the event that tells so.
    """

    reason = "GivenUp"
