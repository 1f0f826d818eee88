"""What looking after Generators and Bases has in common: both are served, and tasks use them."""

from collections.abc import Callable
from typing import TypeVar

from pydantic import ValidationError

from cloud.operator import generator_status
from cloud.operator.cluster import Cluster
from cloud.operator.generator_status import Observation
from cloud.operator.spec import Base, Generator, Task
from cloud.operator.status import OVER
from cloud.operator.tasks import ReconcileResult

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
    except ValidationError:
        return None
    told = generator_status.build_status(read, observe(read), now)
    if {key: each for key, each in told.items() if each is not None} != read.status:
        cluster.write_status(kind.__name__, namespace, name, told)
    turned = told["phase"] != read.status.get("phase")
    return ReconcileResult(told["phase"], told["lastError"], turned)


def users(cluster: Cluster, kind: type[Generator] | type[Base], namespace: str, name: str) -> str:
    """Return the tasks that are not over and ask for one, as a person reads a list."""
    found = cluster.list_labelled("FederatedTask", namespace)
    tasks = [Task.model_validate(each) for each in found]
    return ", ".join(
        task.metadata.name
        for task in tasks
        if (asked := getattr(task.spec, kind.__name__.lower())) is not None
        and asked.name == name
        and task.status.get("phase") not in OVER
        and task.metadata.deletion_timestamp is None
    )
