"""What looking after Generators and Bases has in common: both are served, and tasks use them."""

from collections.abc import Callable
from typing import TypeVar

from pydantic import ValidationError

from cloud.operator import generator_status, unreadable
from cloud.operator.cluster import Cluster, Object
from cloud.operator.generator_status import Observation
from cloud.operator.results import ReconcileResult
from cloud.operator.spec import Base, Generator
from cloud.operator.status import OVER

Served = TypeVar("Served", Generator, Base)


def reconcile(
    cluster: Cluster,
    kind: type[Served],
    namespace: str,
    name: str,
    observe: Callable[[Served], Observation],
    now: str,
) -> ReconcileResult | None:
    """Look after one once; return what that came to, None if it is none any more.

    Args:
        cluster: where it is.
        kind: what it is.
        namespace: of it.
        name: of it.
        observe: brings up what is missing, and returns what is seen.
        now: the time, for its status.

    Raises:
        ApiException: if the cluster refuses something, or is away.
    """
    found = cluster.read(kind.__name__, namespace, name)
    if found is None or found["metadata"].get("deletionTimestamp"):
        return None
    try:
        read = kind.model_validate(found)
    except ValidationError as error:
        return unreadable.tell(cluster, kind.__name__, found, error, now)
    told = generator_status.build_status(read, observe(read), now)
    if {key: each for key, each in told.items() if each is not None} != read.status:
        cluster.write_status(kind.__name__, namespace, name, told)
    turned = told["phase"] != read.status.get("phase")
    return ReconcileResult(told["phase"], told["lastError"], turned)


def users(cluster: Cluster, kind: type[Generator] | type[Base], namespace: str, name: str) -> str:
    """Return the tasks that are not over and ask for one, as a person reads a list."""
    found = cluster.list_labelled("FederatedTask", namespace)
    return ", ".join(
        task["metadata"]["name"]
        for task in found
        if _asks(task, kind.__name__.lower(), name)
        and (task.get("status") or {}).get("phase") not in OVER
        and not task["metadata"].get("deletionTimestamp")
    )


def _asks(task: Object, key: str, name: str) -> bool:
    """Return whether a task asks for one; read as it is, also where the rest cannot be."""
    asked = (task.get("spec") or {}).get(key)
    return isinstance(asked, dict) and asked.get("name") == name
