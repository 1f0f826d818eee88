"""How a Generator or a Base is: plain functions from what was seen to its status."""

from dataclasses import dataclass
from typing import Any, Literal

from cloud.operator.conditions import Condition, merge_conditions
from cloud.operator.spec import Base, Generator

Phase = Literal["Pending", "Loading", "Ready", "Unloaded", "Stopped", "Failed"]
Status = dict[str, Any]

_SHORT = 12


@dataclass(frozen=True)
class Observation:
    """What was seen of a Generator or a Base at one look.

    Attributes:
        phase: that it is in.
        served: versions with their identities; None while the server does not answer.
        problem: what is wrong; None if nothing is.
    """

    phase: Phase
    served: dict[int, str] | None = None
    problem: str | None = None


def build_status(generator: Generator | Base, seen: Observation, now: str) -> Status:
    """Return a Generator's or a Base's new status.

    Args:
        generator: with the status from before.
        seen: of it just now.
        now: the time, as Kubernetes writes it.
    """
    generation = generator.metadata.generation
    ready = Condition("Ready", seen.phase == "Ready", seen.phase, seen.problem or "", generation)
    known = {} if seen.served is None else _served(generator, seen.served)
    before = generator.status.get("conditions", [])
    return {
        **generator.status,
        **known,
        "observedGeneration": generation,
        "phase": seen.phase,
        "lastError": seen.problem or "",
        "conditions": merge_conditions(before, [ready], now),
    }


def _served(generator: Generator | Base, served: dict[int, str]) -> Status:
    spec = generator.spec
    stable = served.get(spec.version)
    canary = None if spec.canary is None else served.get(spec.canary.version)
    return {
        "version": None if stable is None else spec.version,
        "identity": stable,
        "shortIdentity": None if stable is None else stable[:_SHORT],
        "canaryVersion": None if spec.canary is None or canary is None else spec.canary.version,
        "canaryIdentity": canary,
    }
