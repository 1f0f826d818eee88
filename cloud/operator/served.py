"""What looking after Generators and Bases has in common: both are served, and tasks use them."""

from collections.abc import Callable
from typing import TypeVar

from cloud.operator import generator_status, reading
from cloud.operator.cluster import Cluster
from cloud.operator.generator_status import Observation
from cloud.operator.outcomes import ReconcileResult, RemovalStep
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
    read = reading.live(cluster, kind, namespace, name, now)
    if read is None or isinstance(read, ReconcileResult):
        return read
    told = generator_status.build_status(read, observe(read), now)
    if {key: each for key, each in told.items() if each is not None} != read.status:
        cluster.write_status(kind.__name__, namespace, name, told)
    turned = told["phase"] != read.status.get("phase")
    return ReconcileResult(told["phase"], told["lastError"], turned)


def in_use(
    cluster: Cluster, kind: type[Generator] | type[Base], namespace: str, name: str
) -> RemovalStep | None:
    """Return that one that is deleted waits for tasks which are not over; None if none asks for it.

    Tasks count that cannot be read, too.
    """
    users = [
        each["metadata"]["name"]
        for each in cluster.list_labelled("FederatedTask", namespace)
        if reading.asked(each, kind.__name__.lower(), "name") == name
        and (each.get("status") or {}).get("phase") not in OVER
        and not each["metadata"].get("deletionTimestamp")
    ]
    return RemovalStep(f"the tasks that use it: {', '.join(users)}") if users else None
