"""Resources that the operator cannot read: their CRD is of another version than the operator.

The owner is told in the resource's status and by an event. What runs is left alone, other resources
go on without it, and a deleted one goes like any other.
"""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from pydantic import ValidationError

from cloud.operator.cluster import Cluster, Object
from cloud.operator.conditions import Condition, merge_conditions
from cloud.operator.results import ReconcileResult
from cloud.operator.spec import Base, Device, DeviceSpec, Generator, Meta, Task
from edgeloop.runtime import wording

REMEDY = "apply the CRDs of this operator's version"
REASON = "Unreadable"
_CONDITIONS = {
    "FederatedTask": "Accepted",
    "Generator": "Ready",
    "Base": "Ready",
    "Device": "Accepted",
}

Resource = TypeVar("Resource", Task, Generator, Base, Device)


def first_problem(error: ValidationError) -> str:
    """Return the first thing that is wrong with an object, and where."""
    return wording.first_problem(error.errors())


def tell(
    cluster: Cluster, kind: str, found: Object, error: ValidationError, now: str
) -> ReconcileResult:
    """Write into a resource's status that it cannot be read; all else of its status stays.

    Args:
        cluster: where it is.
        kind: what it is.
        found: the resource.
        error: what is wrong with it.
        now: the time, as Kubernetes writes it.

    Raises:
        ApiException: if the cluster refuses it, or is away.
    """
    said = f"{first_problem(error)}; {REMEDY}"
    meta, status = found["metadata"], found.get("status") or {}
    before = status.get("conditions", [])
    told = Condition(_CONDITIONS[kind], False, REASON, said, meta.get("generation", 1))
    others = [each for each in before if each["type"] != told.type]
    wanted = {"lastError": said, "conditions": [*others, *merge_conditions(before, [told], now)]}
    is_new = any(status.get(key) != value for key, value in wanted.items())
    if is_new:
        cluster.write_status(kind, meta["namespace"], meta["name"], wanted)
    return ReconcileResult(status.get("phase", ""), said, False, newly_refused=is_new)


def readable(kind: type[Resource], found: Iterable[Object]) -> Iterator[Resource]:
    """Yield the resources that can be read; of each other one its own look tells."""
    for each in found:
        try:
            yield kind.model_validate(each)
        except ValidationError:
            continue


def devices(found: Iterable[Object]) -> Iterator[Device]:
    """Yield the Devices that can be read, and of the others those that are being deleted."""
    for each in found:
        if each["metadata"].get("deletionTimestamp"):
            yield named(each)
        else:
            yield from readable(Device, [each])


def named(found: Object) -> Device:
    """Return a Device with its name alone, whatever else its spec says."""
    name = (found.get("spec") or {}).get("deviceName")
    return Device(
        metadata=Meta.model_validate(found["metadata"]),
        spec=DeviceSpec(device_name=name if isinstance(name, str) else None),
        status=found.get("status") or {},
    )
