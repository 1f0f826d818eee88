"""What a look at a resource came to."""

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
