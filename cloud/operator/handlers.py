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
from cloud.operator.devices import Devices, StillAdmittedError
from cloud.operator.generators import Generators
from cloud.operator.monitor import Monitor
from cloud.operator.removals import LeftBehindError, Removals
from cloud.operator.results import ReconcileResult
from cloud.operator.spec import GROUP, VERSION
from cloud.operator.tasks import Tasks
from cloud.operator.triton import UnavailableError

log = logging.getLogger(__name__)

Reconcile = Callable[[str, str], ReconcileResult | None]

FINALIZER = f"{GROUP}/operator"
LAST_SECONDS = 300.0
"""For which a Generator that is deleted waits for a server that does not answer."""


_DEVICES_LESS_OFTEN = 6
"""Of intervals between two looks at a Device: there may be thousands, and few turn."""

_WARNED = ("Failed", "Refused", "Suspended")
_LONGEST_DELAY = 60.0


@dataclass(frozen=True)
class Carers:
    """What looks after each kind of resource.

    Attributes:
        tasks: after FederatedTasks.
        removals: what takes these down.
        generators: after Generators.
        bases: after Bases.
        devices: after Devices.
    """

    tasks: Tasks
    removals: Removals
    generators: Generators
    bases: Bases
    devices: Devices


def registry(carers: Carers, monitor: Monitor, interval: float) -> kopf.OperatorRegistry:
    """Return the handlers of every kind; their ids become the names of annotations.

    Args:
        carers: what looks after them.
        monitor: told what happens.
        interval: seconds between two looks at an object.
    """
    made = kopf.OperatorRegistry()
    kopf.on.login(registry=made)(kopf.login_via_client)
    for kind, plural, reconcile, often in (
        ("FederatedTask", "federatedtasks", carers.tasks.reconcile, 1),
        ("Generator", "generators", carers.generators.reconcile, 1),
        ("Base", "bases", carers.bases.reconcile, 1),
        ("Device", "devices", carers.devices.reconcile, _DEVICES_LESS_OFTEN),
    ):
        learn = carers.tasks.cluster.learn
        watched = WatchedKind(kind, plural, reconcile, monitor, learn)
        _watch(made, watched, interval * often)
    _take_down_tasks(made, carers.removals, monitor)
    _take_down_generators(made, carers.generators, monitor)
    _take_down_bases(made, carers.bases, monitor)
    _take_down_devices(made, carers.devices, monitor)
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
        reason = "Refused" if result.newly_refused else result.phase
        words = (self.kind, namespace, name, result.phase or reason, result.problem)
        log.info("%s %s/%s: %s %s", *words, extra=facts)
        return reason, result.problem


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


def _take_down_devices(made: kopf.OperatorRegistry, devices: Devices, monitor: Monitor) -> None:
    def remove_device(
        *,
        namespace: str | None,
        name: str,
        body: kopf.Body,
        retry: int,
        runtime: timedelta,
        **_: Any,
    ) -> None:
        seconds, about = runtime.total_seconds(), f"Device {namespace}/{name}"
        try:
            waits, done = _retrying(
                about, lambda: devices.remove(str(namespace), name, seconds), retry
            )
        except StillAdmittedError as error:
            waits, done = None, ""
            log.warning("%s: %s", about, error)
            kopf.event(body, type="Warning", reason="StillAdmitted", message=str(error))
        if done:
            log.info("%s: %s", about, done)
            kopf.event(body, type="Normal", reason="Revoked", message=done)
        if waits is not None:
            raise kopf.TemporaryError(f"{about}: waits for {waits}", delay=_delay(retry))
        monitor.gone("Device", str(namespace), name)

    kopf.on.delete(GROUP, VERSION, "devices", id="remove", registry=made)(remove_device)


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
