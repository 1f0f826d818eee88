"""Looks after FederatedTasks: makes what they need, tells how they are."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from kubernetes.client.exceptions import ApiException

from cloud.operator import (
    aggregators,
    cluster,
    config,
    manifests,
    pods,
    reading,
    references,
    selection,
    status,
)
from cloud.operator.acceptance import Acceptance
from cloud.operator.cluster import Cluster
from cloud.operator.manifests import ResolvedTask
from cloud.operator.outcomes import ReconcileResult
from cloud.operator.selection import Selection
from cloud.operator.settings import OperatorSettings
from cloud.operator.spec import Base, Generator, Meta, Selector, Task
from cloud.operator.status import Observation, PodObservation
from cloud.operator.task_certificates import TaskCertificates

KIND = "FederatedTask"
WAITING = (403, 422)
"""Answers of the cluster that wait for a person."""


def utc() -> str:
    """Return the time now, as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Tasks:
    """Looks after tasks; every look begins with what the cluster holds, so it may be the first.

    Attributes:
        cluster: where they are.
        settings: the operator's.
        certificates: of their aggregators.
        now: the clock.
    """

    cluster: Cluster
    settings: OperatorSettings
    certificates: TaskCertificates
    now: Callable[[], str] = utc

    def reconcile(self, namespace: str, name: str) -> ReconcileResult | None:
        """Look after a task once; return what that came to, None if there is nothing to tell.

        Raises:
            ApiException: if the cluster refuses something, or is away.
        """
        task = reading.live(self.cluster, Task, namespace, name, self.now())
        if not isinstance(task, Task):
            return task
        evicted: tuple[str, ...] = ()
        try:
            devices = reading.devices(self.cluster, namespace)
            unreadable = reading.unreadable_devices(self.cluster, namespace)
            evicted = selection.sent_away(task, devices, unreadable)
            seen = self._observe(task, evicted)
        except ApiException as error:
            if error.status in WAITING:
                said = cluster.error_message(error)
                self._write_status(task, Observation(obstacle=said, evicted=evicted))
            raise
        return self._write_status(task, replace(seen, evicted=evicted))

    def _observe(self, task: Task, evicted: tuple[str, ...]) -> Observation:
        acceptance = Acceptance(self.cluster, self.settings)
        held = initial_config(self.cluster, task)
        task = task if held is None else task.called(held["name"])
        try:
            selected = self._selected(task, task.spec.cohort.selector, held)
            task = task if selected is None else task.inviting(selected.devices)
            task = task.evicting(evicted)
            if held is None and (refused := acceptance.problem(task, begun=False)):
                return Observation(refused=refused, selection=selected)
            choice = self._choice(task, held)
            refused = self._refused(task, held, choice)
            if refused is None:
                self.certificates.ensure(task, self.now())
        except references.NotReadyError as error:
            return Observation(obstacle=str(error), waits=error.reason)
        table = choice.table(task, self.settings)
        if refused is None:
            self.cluster.ensure(manifests.build_manifests(task, self.settings, choice))
        return replace(
            self._running(task),
            refused=refused,
            selection=selected,
            base=choice.base,
            task=table["name"],
            beginning=None if refused else config.beginning(table),
        )

    def _running(self, task: Task) -> Observation:
        """Return what is seen of a task's aggregator and its pod."""
        meta = task.metadata
        url = self.settings.aggregator_url.format(
            name=manifests.name_of(meta), namespace=meta.namespace
        )
        paused = status.replicas(task) == 0
        told = None if paused else aggregators.fetch_status(url, self.settings.answer_seconds)
        found = self.cluster.list_labelled("Pod", meta.namespace, manifests.labels(meta))
        pod = pods.observe_pods(found)
        stuck = not paused and told is None and (pod is None or pod.pending)
        return Observation(told, pod, warning=self._warning(meta, pod) if stuck else None)

    def _warning(self, meta: Meta, pod: PodObservation | None) -> str | None:
        """Return what the cluster warns of, of what was made for a task."""
        made = [
            self.cluster.read(kind, meta.namespace, manifests.name_of(meta))
            for kind in ("StatefulSet", "PersistentVolumeClaim")
        ]
        uids = {each["metadata"]["uid"] for each in made if each is not None}
        uids |= set() if pod is None else {pod.uid}
        return pods.newest_warning(self.cluster.warnings(meta.namespace, uids))

    def _selected(
        self, task: Task, selector: Selector | None, held: dict[str, Any] | None
    ) -> Selection | None:
        """Return the devices that a task's selector stands for; None if it has none."""
        if selector is None:
            return None
        recorded = task.status.get("cohort", {}).get("devices", [])
        known = recorded if held is None else held["cohort"]["devices"]
        if known and status.is_over(task):
            return Selection(tuple(known))
        devices = reading.devices(self.cluster, task.metadata.namespace)
        found = selection.names(each for each in devices if selection.finds(selector, each))
        return (
            selection.compare_selection(known, found)
            if known
            else selection.initial_devices(found, task)
        )

    def _choice(self, task: Task, held: dict[str, Any] | None) -> ResolvedTask:
        """Return what is chosen for a task, and held to once its run has begun."""
        known, spec = held or {}, task.spec
        asked = references.resolve_reference(
            spec.generator, self.settings, known.get("generator"), self._generator(task, known)
        )
        base = references.base_of(
            asked=spec.base,
            settings=self.settings,
            namespace=task.metadata.namespace,
            held=known.get("base"),
            base=self._base(task, known),
        )
        store = config.store(task, self.settings, held)
        return ResolvedTask(asked, store, status.replicas(task), base)

    def _refused(self, task: Task, held: dict[str, Any] | None, choice: ResolvedTask) -> str | None:
        """Return why what a task asks for now is not done; None if it is."""
        if foreign := self.certificates.foreign(task):
            return foreign
        if status.is_over(task):
            return None
        acceptance = Acceptance(self.cluster, self.settings)
        if held is None:
            wanted = manifests.build_manifests(task, self.settings, choice)
            return acceptance.refusal(task, wanted)
        if changed := config.changed_frozen_fields(held, choice.table(task, self.settings)):
            problem = f"{', '.join(changed)} may not change once a run has begun"
            return f"{problem}; put it back, or create another task"
        if short := selection.too_few_problem(task):
            return short
        known = not status.spec_changed(task) and not status.is_refused(task)
        return None if known else acceptance.problem(task, begun=True)

    def _generator(self, task: Task, held: Mapping[str, Any]) -> Generator | None:
        asked = task.spec.generator
        if asked is None or asked.name is None:
            return None
        namespace = task.metadata.namespace
        return reading.named(self.cluster, Generator, namespace, asked.name, held.get("generator"))

    def _base(self, task: Task, held: Mapping[str, Any]) -> Base | None:
        asked = task.spec.base
        if asked is None or asked.name is None:
            return None
        namespace = task.metadata.namespace
        return reading.named(self.cluster, Base, namespace, asked.name, held.get("base"))

    def _write_status(self, task: Task, seen: Observation) -> ReconcileResult:
        told = status.build_status(task, seen, self.now())
        meta = task.metadata
        if {key: each for key, each in told.items() if each is not None} != task.status:
            self.cluster.write_status(KIND, meta.namespace, meta.name, told)
        return ReconcileResult(
            told["phase"],
            told["lastError"],
            told["phase"] != task.status.get("phase"),
            seen.refused is not None and not status.is_refused(task),
        )


def initial_config(where: Cluster, task: Task) -> dict[str, Any] | None:
    """Return what a task's run began with; None before it began.

    Its status says so, which nobody edits by hand. One that an older operator has made has it in
    its ConfigMap only.
    """
    if (beginning := task.status.get("beginning")) is not None:
        return tomllib.loads(beginning)
    meta = task.metadata
    found = where.read("ConfigMap", meta.namespace, manifests.name_of(meta))
    return None if found is None else tomllib.loads(found["data"][manifests.CONFIG_KEY])
