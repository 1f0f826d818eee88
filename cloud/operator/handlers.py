"""What kopf calls: each handler only passes on which object it is about."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import kopf
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from cloud.operator import cluster
from cloud.operator.bases import Bases
from cloud.operator.devices import Devices
from cloud.operator.generators import Generators
from cloud.operator.monitor import Monitor
from cloud.operator.outcomes import GivenUpError, ReconcileResult, RemovalStep
from cloud.operator.removals import LeftBehindError, Removals
from cloud.operator.spec import GROUP, VERSION
from cloud.operator.tasks import Tasks

log = logging.getLogger(__name__)

Reconcile = Callable[[str, str], ReconcileResult | None]
Remove = Callable[[str, str, float], RemovalStep]
Answer = TypeVar("Answer")

FINALIZER = f"{GROUP}/operator"

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
    learn = carers.tasks.cluster.learn
    for kind, reconcile, remove, often in (
        ("FederatedTask", carers.tasks.reconcile, carers.removals.remove, 1),
        ("Generator", carers.generators.reconcile, carers.generators.remove, 1),
        ("Base", carers.bases.reconcile, carers.bases.remove, 1),
        ("Device", carers.devices.reconcile, carers.devices.remove, _DEVICES_LESS_OFTEN),
    ):
        watched = WatchedKind(kind, reconcile, remove, monitor, learn)
        _watch(made, watched, interval * often)
        _take_down(made, watched)
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
    """A kind of resource, and what looks after it.

    Attributes:
        kind: its name.
        reconcile: looks at one, by namespace and name.
        remove: takes a step of a deleted one's removal, also by the seconds since that began.
        monitor: told what came of it.
        learn: takes over an object as kopf has just seen it.
    """

    kind: str
    reconcile: Reconcile
    remove: Remove
    monitor: Monitor
    learn: Callable[[str, dict[str, Any]], None]

    @property
    def place(self) -> tuple[str, str, str]:
        """Where kopf finds it: group, version, plural."""
        return GROUP, VERSION, f"{self.kind.lower()}s"

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
        which = (self.kind, namespace, name)
        if result.newly_refused:
            log.warning("%s %s/%s is not followed: %s", *which, result.problem, extra=facts)
            return "Refused", result.problem
        log.info("%s %s/%s: %s %s", *which, result.phase, result.problem, extra=facts)
        return result.phase, result.problem


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

    kopf.on.create(*watched.place, id="create", registry=made)(look)
    kopf.on.update(*watched.place, id="update", field="spec", registry=made)(look)
    kopf.timer(*watched.place, id="look", interval=interval, registry=made)(look)


def _take_down(made: kopf.OperatorRegistry, watched: WatchedKind) -> None:
    """Take a deleted object's next step; its finalizer stays while something is waited for."""

    def remove(
        *, namespace: str | None, name: str, body: kopf.Body, retry: int, runtime: Any, **_: Any
    ) -> None:
        about = f"{watched.kind} {namespace}/{name}"
        seconds = runtime.total_seconds()
        try:
            step = _retrying(about, lambda: watched.remove(str(namespace), name, seconds), retry)
        except GivenUpError as error:
            step = RemovalStep()
            log.warning("%s: %s", about, error)
            if isinstance(error, LeftBehindError):
                watched.monitor.left_behind()
            kopf.event(body, type="Warning", reason=error.reason, message=str(error))
        if step.revoked:
            log.info("%s: %s", about, step.revoked)
            kopf.event(body, type="Normal", reason="Revoked", message=step.revoked)
        if step.waits_for is not None:
            raise kopf.TemporaryError(f"{about}: waits for {step.waits_for}", delay=_delay(retry))
        watched.monitor.gone(watched.kind, str(namespace), name)

    kopf.on.delete(*watched.place, id="remove", registry=made)(remove)


def _retrying(about: str, ask: Callable[[], Answer], retry: int) -> Answer:
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
