"""Our own objects, as the operator reads them; what other CRDs have let in it may not be able to.

An object that cannot be read is not followed: a look at it tells so. What runs is left alone,
others go on without it, and a deleted one goes like any other.
"""

from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import ValidationError

from cloud.operator.cluster import Cluster, Object
from cloud.operator.conditions import Condition, merge_conditions
from cloud.operator.outcomes import ReconcileResult
from cloud.operator.references import NotReadyError
from cloud.operator.spec import Base, Device, Generator, Task
from cloud.operator.status import OVER
from edgeloop.runtime import wording

Read = TypeVar("Read", Task, Generator, Base, Device)
Named = TypeVar("Named", Generator, Base)

REASON = "Unreadable"
REMEDY = "apply the CRDs of this operator's version"

_KINDS: dict[type, str] = {
    Task: "FederatedTask",
    Generator: "Generator",
    Base: "Base",
    Device: "Device",
}
_CONDITIONS: dict[type, str] = {
    Task: "Accepted",
    Generator: "Ready",
    Base: "Ready",
    Device: "Accepted",
}


def live(
    cluster: Cluster, of: type[Read], namespace: str, name: str, now: str
) -> Read | ReconcileResult | None:
    """Return an object that is there to stay; None if it is not.

    If it cannot be read, its status says so, and a look at it has come to what is returned instead.

    Args:
        cluster: where it is.
        of: what it is.
        namespace: of it.
        name: of it.
        now: the time, as Kubernetes writes it.

    Raises:
        ApiException: if the cluster refuses something, or is away.
    """
    held = cluster.read(_KINDS[of], namespace, name)
    if held is None or held["metadata"].get("deletionTimestamp"):
        return None
    try:
        return of.model_validate(held)
    except ValidationError as error:
        return _tell(cluster, of, held, f"{first_problem(error)}; {REMEDY}", now)


def named(
    cluster: Cluster, of: type[Named], namespace: str, name: str, held: str | None
) -> Named | None:
    """Return an object that a task names; None if there is none.

    One that cannot be read is none, too, for a run that holds its reference.

    Args:
        cluster: where it is.
        of: what it is.
        namespace: of it.
        name: of it.
        held: the reference that the task's run began with; None before.

    Raises:
        NotReadyError: if it cannot be read, and the run has not begun.
    """
    found = cluster.read(_KINDS[of], namespace, name)
    if found is None:
        return None
    try:
        return of.model_validate(found)
    except ValidationError as error:
        if held is not None:
            return None
        problem = f"{_KINDS[of].lower()} {name}: it cannot be read: {first_problem(error)}"
        raise NotReadyError(f"{problem}; {REMEDY}", REASON if of is Base else "") from error


def tasks(cluster: Cluster, namespace: str) -> tuple[list[Task], list[Object]]:
    """Return a namespace's tasks, and, as they are, those that cannot be read."""
    return _parted(Task, cluster.list_labelled(_KINDS[Task], namespace))


def devices(cluster: Cluster, namespace: str) -> list[Device]:
    """Return a namespace's Devices that can be read or, being deleted, have a name that can."""
    found = cluster.list_labelled(_KINDS[Device], namespace)
    going = [each for each in found if each["metadata"].get("deletionTimestamp")]
    staying = [each for each in found if not each["metadata"].get("deletionTimestamp")]
    return _parted(Device, staying)[0] + _parted(Device, map(_by_name, going))[0]


def unreadable_devices(cluster: Cluster, namespace: str) -> list[Device]:
    """Return by name, without their specs, the Devices that cannot be read and are there to stay.

    Each speaks for its device, whatever it says: nobody is sent away whom it might keep.
    """
    found = cluster.list_labelled(_KINDS[Device], namespace)
    staying = [each for each in found if not each["metadata"].get("deletionTimestamp")]
    return _parted(Device, map(_by_name, _parted(Device, staying)[1]))[0]


def deleted_device(held: Object) -> Device:
    """Return a deleted Device with its name and its status, whatever else its spec says.

    Raises:
        ValidationError: if its name cannot be read.
    """
    return Device.model_validate(_by_name(held))


def asked(held: Object, part: str, key: str) -> Any:
    """Return a value of a part of a spec as it is, also where the rest cannot be read.

    None if there is none.
    """
    found = (held.get("spec") or {}).get(part)
    return found.get(key) if isinstance(found, dict) else None


def first_problem(error: ValidationError) -> str:
    """Return the first thing that is wrong with an object, and where."""
    return wording.first_problem(error.errors())


def _by_name(device: Object) -> Object:
    spec = device.get("spec") or {}
    kept = {key: each for key, each in spec.items() if key == "deviceName"}
    return {**device, "spec": kept}


def _parted(of: type[Read], held: Iterable[Object]) -> tuple[list[Read], list[Object]]:
    """Return the objects that can be read, and the others: their own looks tell so."""
    readable, others = [], []
    for each in held:
        try:
            readable.append(of.model_validate(each))
        except ValidationError:
            others.append(each)
    return readable, others


def _tell(cluster: Cluster, of: type, held: Object, problem: str, now: str) -> ReconcileResult:
    """Write into a status that its object cannot be read; all else of it stays.

    So does `lastError` of a task that is over: it is why that has failed.
    """
    meta, status = held["metadata"], held.get("status") or {}
    before = status.get("conditions", [])
    told = Condition(_CONDITIONS[of], False, REASON, problem, meta.get("generation", 1))
    others = [each for each in before if each["type"] != told.type]
    wanted: Object = {"conditions": others + merge_conditions(before, [told], now)}
    if of is not Task or status.get("phase") not in OVER:
        wanted["lastError"] = problem
    is_new = any(status.get(key) != value for key, value in wanted.items())
    if is_new:
        cluster.write_status(_KINDS[of], meta["namespace"], meta["name"], wanted)
    return ReconcileResult(status.get("phase", ""), problem, False, newly_refused=is_new)
