"""How a Device is: plain functions from what was seen to its status."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from cloud.operator.conditions import Condition, merge_conditions
from cloud.operator.spec import Device

Phase = Literal["Known", "Invited", "Admitted", "Suspended"]
Status = dict[str, Any]

NO_AUTHORITY = "this operator knows no authority that devices enrol at: who signs them admits them"


@dataclass(frozen=True)
class Observation:
    """What was seen of a Device at one look.

    Attributes:
        evicted: names of the FederatedTasks that go on without it.
        admitted: what the tasks are called that it is admitted to.
        revoked: those that it was admitted to until its Device said otherwise.
        invitations: tokens that wait for it: `task`, `id`, `until`.
        has_authority: whether there is one to ask.
        problem: what is wrong; empty if nothing is.
        done: what has just been done, for a person; empty for nothing.
    """

    evicted: Collection[str] = ()
    admitted: Collection[str] = ()
    revoked: Collection[str] = ()
    invitations: Collection[dict[str, str]] = ()
    has_authority: bool = True
    problem: str = ""
    done: str = ""


def unanswered(device: Device, evicted: Collection[str], problem: str) -> Observation:
    """Return what is known of a device while its authority does not answer: as before."""
    before = device.status
    return Observation(
        evicted,
        before.get("admitted", ()),
        before.get("revoked", ()),
        before.get("invitations", ()),
        problem=problem,
    )


def build_status(device: Device, seen: Observation, now: str) -> Status:
    """Return a Device's new status.

    Args:
        device: with the status from before.
        seen: of it just now.
        now: the time, as Kubernetes writes it.
    """
    generation = device.metadata.generation
    conditions = [
        Condition("Accepted", True, "Valid", "", generation),
        _admitted(device, seen, generation),
        _evicted(seen, generation),
    ]
    return {
        "observedGeneration": generation,
        "phase": phase_of(device, seen),
        "admitted": sorted(seen.admitted),
        "revoked": sorted(seen.revoked),
        "evicted": sorted(seen.evicted),
        "invitations": list(seen.invitations),
        "lastError": seen.problem,
        "conditions": merge_conditions(device.status.get("conditions", []), conditions, now),
    }


def phase_of(device: Device, seen: Observation) -> Phase:
    """Return the phase that a device is in now."""
    if device.spec.suspended:
        return "Suspended"
    if seen.invitations:
        return "Invited"
    return "Admitted" if seen.admitted else "Known"


def _admitted(device: Device, seen: Observation, generation: int) -> Condition:
    if not seen.has_authority:
        return Condition("Admitted", False, "NoAuthority", NO_AUTHORITY, generation)
    holds = bool(seen.admitted)
    if seen.problem:
        return Condition("Admitted", holds, "NotAnswering", seen.problem, generation)
    if holds:
        return Condition("Admitted", True, "Enrolled", ", ".join(sorted(seen.admitted)), generation)
    if device.spec.suspended:
        return Condition("Admitted", False, "Suspended", "spec.suspended is true", generation)
    said = "its token is in a secret" if seen.invitations else "it has not enrolled"
    return Condition("Admitted", False, "NotEnrolled", said, generation)


def _evicted(seen: Observation, generation: int) -> Condition:
    text = ", ".join(sorted(seen.evicted))
    reason = "SentAway" if text else "None"
    return Condition("Evicted", bool(text), reason, text, generation)
