"""What kopf calls: each handler only passes on which object it is about."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import kopf
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from cloud.operator import cluster
from cloud.operator.bases import Bases
from cloud.operator.generators import Generators
from cloud.operator.monitor import Monitor
from cloud.operator.removals import LeftBehindError, Removals
from cloud.operator.spec import GROUP, VERSION
from cloud.operator.tasks import ReconcileResult, Tasks
from cloud.operator.triton import UnavailableError

log = logging.getLogger(__name__)

Reconcile = Callable[[str, str], ReconcileResult | None]

FINALIZER = f"{GROUP}/operator"
LAST_SECONDS = 300.0
"""For which a Generator that is deleted waits for a server that does not answer."""


_WARNED = ("Failed", "Refused")
_LONGEST_DELAY = 60.0


def registry(
    tasks: Tasks,
    removals: Removals,
    generators: Generators,
    bases: Bases,
    monitor: Monitor,
    interval: float,
) -> kopf.OperatorRegistry:
    """Return the handlers of every kind; their ids become the names of annotations.

    Args:
        tasks: what looks after FederatedTasks.
        removals: what takes them down.
        generators: what looks after Generators.
        bases: what looks after Bases.
        monitor: told what happens.
        interval: seconds between two looks at an object.
    """
    made = kopf.OperatorRegistry()
    kopf.on.login(registry=made)(kopf.login_via_client)
    learn = tasks.cluster.learn
    _watch(
        made,
        WatchedKind("FederatedTask", "federatedtasks", tasks.reconcile, monitor, learn),
        interval,
    )
    _watch(
        made, WatchedKind("Generator", "generators", generators.reconcile, monitor, learn), interval
    )
    _watch(made, WatchedKind("Base", "bases", bases.reconcile, monitor, learn), interval)
    _take_down_tasks(made, removals, monitor)
    _take_down_generators(made, generators, monitor)
    _take_down_bases(made, bases, monitor)
    return made


def settings(made: kopf.OperatorSettings, interval: float) -> kopf.OperatorSettings:
    """Have kopf keep what it must remember under our own name, and ask for few rights."""
    made.persistence.finalizer = FINALIZER
    made.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    made.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
    made.scanning.disabled = True  # the CRDs are there, or the operator has not started
    made.posting.level = logging.WARNING
    made.watching.server_timeout = 300
    made.watching.client_timeout = 330
    made.networking.request_timeout = 30
    made.background.cancellation_polling = interval
    made.process.ultimate_exiting_timeout = 20
    return made


@dataclass(frozen=True)
class WatchedKind:
    """A kind of resource, and what looks after it."""

    kind: str
    plural: str
    reconcile: Reconcile
    monitor: Monitor
    learn: Callable[[str, dict[str, Any]], None] = lambda kind, held: None

    def reconcile_once(self, namespace: str, name: str, retry: int) -> tuple[str, str] | None:
        """Look at a resource; return its phase and what is wrong, if the phase is a new one."""
        try:
            about = f"{self.kind} {namespace}/{name}"
            result = _retrying(about, lambda: self.reconcile(namespace, name), retry)
        except kopf.TemporaryError:
            self.monitor.reconciled(self.kind, done=False)
            raise
        self.monitor.reconciled(self.kind, done=True)
        if result is None:
            return None
        self.monitor.found(self.kind, namespace, name, result.phase)
        if not result.phase_changed and not result.newly_refused:
            return None
        facts = {"kind": self.kind, "namespace": namespace, "resource": name}
        words = (self.kind, namespace, name, result.phase, result.problem)
        log.info("%s %s/%s: %s %s", *words, extra=facts)
        return "Refused" if result.newly_refused else result.phase, result.problem


def _watch(made: kopf.OperatorRegistry, watched: WatchedKind, interval: float) -> None:
    """Look at an object when it is new, has changed, or was not looked at for a while."""

    def look(
        *, namespace: str | None, name: str, body: kopf.Body, memo: Any, retry: int = 0, **_: Any
    ) -> None:
        watched.learn(watched.kind, dict(body))
        with memo.setdefault("turn", threading.Lock()):
            turned = watched.reconcile_once(str(namespace), name, retry)
        if turned is not None:
            kind = "Warning" if turned[0] in _WARNED else "Normal"
            kopf.event(body, type=kind, reason=turned[0], message=turned[1] or f"is {turned[0]}")

    kind = (GROUP, VERSION, watched.plural)
    kopf.on.create(*kind, id="create", registry=made)(look)
    kopf.on.update(*kind, id="update", field="spec", registry=made)(look)
    kopf.timer(*kind, id="look", interval=interval, registry=made)(look)


def _take_down_tasks(made: kopf.OperatorRegistry, removals: Removals, monitor: Monitor) -> None:
    def remove_task(
        *,
        namespace: str | None,
        name: str,
        body: kopf.Body,
        retry: int,
        runtime: timedelta,
        **_: Any,
    ) -> None:
        seconds, about = runtime.total_seconds(), f"FederatedTask {namespace}/{name}"
        try:
            waits = _retrying(about, lambda: removals.remove(str(namespace), name, seconds), retry)
        except LeftBehindError as error:
            waits = None
            log.warning("%s: %s", about, error)
            monitor.left_behind()
            kopf.event(body, type="Warning", reason="LeftBehind", message=str(error))
        if waits is not None:
            raise kopf.TemporaryError(f"{about}: waits for {waits}", delay=_delay(retry))
        monitor.gone("FederatedTask", str(namespace), name)

    kopf.on.delete(GROUP, VERSION, "federatedtasks", id="remove", registry=made)(remove_task)


def _take_down_generators(
    made: kopf.OperatorRegistry, generators: Generators, monitor: Monitor
) -> None:
    def remove_generator(
        *, namespace: str | None, name: str, retry: int, runtime: timedelta, **_: Any
    ) -> None:
        about = f"Generator {namespace}/{name}"
        try:
            waits = _retrying(about, lambda: generators.remove(str(namespace), name), retry)
        except UnavailableError as error:
            waits = str(error) if runtime.total_seconds() < LAST_SECONDS else None
        if waits is not None:
            raise kopf.TemporaryError(f"{about}: waits: {waits}", delay=_delay(retry))
        monitor.gone("Generator", str(namespace), name)

    kopf.on.delete(GROUP, VERSION, "generators", id="remove", registry=made)(remove_generator)


def _take_down_bases(made: kopf.OperatorRegistry, bases: Bases, monitor: Monitor) -> None:
    def remove_base(*, namespace: str | None, name: str, retry: int, **_: Any) -> None:
        about = f"Base {namespace}/{name}"
        waits = _retrying(about, lambda: bases.remove(str(namespace), name), retry)
        if waits is not None:
            raise kopf.TemporaryError(f"{about}: waits: {waits}", delay=_delay(retry))
        monitor.gone("Base", str(namespace), name)

    kopf.on.delete(GROUP, VERSION, "bases", id="remove", registry=made)(remove_base)


def _retrying(about: str, ask: Callable[[], Any], retry: int) -> Any:
    """Try again later, and later each time, what the cluster refuses or does not answer."""
    try:
        return ask()
    except ApiException as error:
        problem = f"{about}: {cluster.error_message(error)}"
        raise kopf.TemporaryError(problem, delay=_delay(retry)) from error
    except HTTPError as error:
        problem = f"{about}: the cluster does not answer ({error})"
        raise kopf.TemporaryError(problem, delay=_delay(retry)) from error


def _delay(retry: int) -> float:
    return float(min(0.5 * 2.0**retry, _LONGEST_DELAY))
