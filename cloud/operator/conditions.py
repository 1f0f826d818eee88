"""Conditions of a resource: what is true of it, why, and since when."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Condition:
    """One thing that is true of a resource, or is not.

    Attributes:
        type: what.
        holds: whether it is.
        reason: why, one word.
        message: why, for a person.
        generation: of the spec that this was said of.
    """

    type: str
    holds: bool
    reason: str
    message: str
    generation: int = 0


def merge_conditions(
    before: Iterable[Mapping[str, Any]], conditions: Iterable[Condition], now: str
) -> list[dict[str, Any]]:
    """Return conditions as a status holds them; the time of one that has not turned stays.

    Args:
        before: as the status held them.
        conditions: as they are now.
        now: the time, as Kubernetes writes it.
    """
    known = {each["type"]: each for each in before}
    return [_written(each, known.get(each.type, {}), now) for each in conditions]


def _written(condition: Condition, before: Mapping[str, Any], now: str) -> dict[str, Any]:
    status = str(condition.holds)
    same = before.get("status") == status
    return {
        "type": condition.type,
        "status": status,
        "observedGeneration": condition.generation,
        "lastTransitionTime": before["lastTransitionTime"] if same else now,
        "reason": condition.reason,
        "message": condition.message,
    }
