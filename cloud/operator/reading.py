"""Our own objects, as the operator reads them; what other CRDs have let in it may not be able to.

An object that cannot be read is not followed: a look at it tells so in its status and in the log.
"""

import logging
from typing import TypeVar

from pydantic import ValidationError

from cloud.operator.cluster import Cluster, Object
from cloud.operator.spec import Base, Device, Generator, Task
from edgeloop.runtime import wording

log = logging.getLogger(__name__)

Read = TypeVar("Read", Task, Generator, Base, Device)

REMEDY = "apply the CRDs of this operator's version"

_KINDS: dict[type, str] = {
    Task: "FederatedTask",
    Generator: "Generator",
    Base: "Base",
    Device: "Device",
}


def live(cluster: Cluster, of: type[Read], namespace: str, name: str) -> Read | None:
    """Return an object that is there to stay; None if it is not, or cannot be read.

    Raises:
        ApiException: if the cluster refuses something, or is away.
    """
    held = cluster.read(_KINDS[of], namespace, name)
    if held is None or held["metadata"].get("deletionTimestamp"):
        return None
    try:
        return of.model_validate(held)
    except ValidationError as error:
        _tell(cluster, _KINDS[of], held, f"{first_problem(error)}; {REMEDY}")
        return None


def named(cluster: Cluster, of: type[Read], namespace: str, name: str) -> Read | None:
    """Return an object that another one names; None if there is none, or it cannot be read."""
    held = cluster.read(_KINDS[of], namespace, name)
    return next(iter(_readable(of, [] if held is None else [held])), None)


def listed(cluster: Cluster, of: type[Read], namespace: str) -> list[Read]:
    """Return a namespace's objects, as far as they can be read."""
    return _readable(of, cluster.list_labelled(_KINDS[of], namespace))


def first_problem(error: ValidationError) -> str:
    """Return the first thing that is wrong with an object, and where."""
    return wording.first_problem(error.errors())


def _readable(of: type[Read], held: list[Object]) -> list[Read]:
    readable = []
    for each in held:
        try:
            readable.append(of.model_validate(each))
        except ValidationError:  # its own look tells so
            continue
    return readable


def _tell(cluster: Cluster, kind: str, held: Object, problem: str) -> None:
    if (held.get("status") or {}).get("lastError") == problem:
        return
    namespace, name = held["metadata"]["namespace"], held["metadata"]["name"]
    log.warning("%s %s/%s is not followed: %s", kind, namespace, name, problem)
    cluster.write_status(kind, namespace, name, {"lastError": problem})
