"""Takes deleted FederatedTasks down: the aggregator, then what it has left, then all the rest."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tomli_w
from kubernetes.client.exceptions import ApiException
from pydantic import ValidationError

from cloud.operator import cluster, config, forgetting, jobs, manifests, objects, pods, reading
from cloud.operator.cluster import Cluster, Object
from cloud.operator.manifests import ResolvedTask
from cloud.operator.outcomes import GivenUpError, RemovalStep
from cloud.operator.references import NotReadyError
from cloud.operator.settings import OperatorSettings
from cloud.operator.spec import Meta, Store, Task
from cloud.operator.task_certificates import TaskCertificates
from cloud.operator.tasks import KIND, WAITING, initial_config, utc

_TERMINATING = "it is being terminated"
"""What the cluster says of a namespace in which nothing can be made any more."""


class LeftBehindError(GivenUpError):
    """What a task has left could not be taken back, and is not waited for any longer."""

    reason = "LeftBehind"

    def __init__(self, why: str) -> None:
        place = "what it left at the broker and in its database is still there"
        super().__init__(
            f"{why}; {place}: create the task again, Paused, and delete it, to try once more"
        )


@dataclass(frozen=True)
class Removals:
    """Takes tasks down; every step begins with what the cluster holds.

    Attributes:
        cluster: where they are.
        settings: the operator's.
        certificates: of their aggregators, which the job shows to the broker.
        now: the clock.
    """

    cluster: Cluster
    settings: OperatorSettings
    certificates: TaskCertificates
    now: Callable[[], str] = utc

    def remove(self, namespace: str, name: str, seconds: float) -> RemovalStep:
        """Take a task down one step.

        Its volume must not go before its aggregator: the owner's reference would delete both at
        once.

        Args:
            namespace: where the task is.
            name: of the task.
            seconds: since its removal began.

        Raises:
            ApiException: if the cluster refuses something, or is away.
            LeftBehindError: if what it leaves is not waited for any longer.
        """
        found = self.cluster.read_now(KIND, namespace, name)
        if found is None:
            return RemovalStep()
        meta = Meta.model_validate(found["metadata"])
        self.cluster.delete("StatefulSet", namespace, manifests.name_of(meta))
        if reading.asked(found, "ingest", "replicas"):
            self.cluster.delete("Deployment", namespace, manifests.ingest_name(meta))
        for labels in (manifests.labels(meta), manifests.ingest_labels(meta)):
            if self.cluster.list_now("Pod", namespace, labels):
                return RemovalStep("the aggregator to stop")
        try:
            return RemovalStep(self._clean_up(found, meta))
        except ValidationError as error:
            problem = f"its spec cannot be read ({reading.first_problem(error)})"
            raise LeftBehindError(problem) from error
        except ApiException as error:
            why = cluster.error_message(error)
            late = seconds > self.settings.forget_seconds or _TERMINATING in why
            if error.status in WAITING and late:
                raise LeftBehindError(why) from error
            raise

    def _clean_up(self, found: Object, meta: Meta) -> str | None:
        """Have a job take back what a task has left; return what is waited for."""
        task = Task.model_validate(found)
        held = initial_config(self.cluster, task)
        if held is None or task.spec.storage.retain:
            return None
        store = config.store(task, self.settings, held)
        wanted = forgetting.cleanup_job(task, self.settings, store)
        name = wanted["metadata"]["name"]
        job = self.cluster.read_now("Job", meta.namespace, name)
        if job is None:
            self._sign(task.called(held["name"]))
            self.cluster.ensure([self._file(task, held, store)])
            self.cluster.apply(wanted)
        elif (end := jobs.job_outcome(job)) == "Complete":
            return None
        elif end == "Failed" or self._overdue(job):
            raise LeftBehindError(self._why(meta.namespace, name))
        return f"job {name}"

    def _sign(self, task: Task) -> None:
        """See that the job has the certificate that its aggregator had."""
        try:
            if (foreign := self.certificates.foreign(task)) is not None:
                raise LeftBehindError(foreign)
            self.certificates.ensure(task, self.now())
        except NotReadyError as error:
            raise LeftBehindError(str(error)) from error

    def _file(self, task: Task, held: dict[str, Any], store: Store | None) -> Object:
        """Return the object with the aggregator's file, which somebody may have changed."""
        known = tuple(held["cohort"]["devices"])
        task = task.inviting(known).called(held["name"])
        choice = ResolvedTask(held.get("generator"), store, 0, held.get("base"))
        text = tomli_w.dumps(choice.table(task, self.settings))
        return objects.with_digest(manifests.config_map(task, text))

    def _overdue(self, job: Object) -> bool:
        made = job["metadata"]["creationTimestamp"]
        return forgetting.overdue(made, self.now(), self.settings.forget_seconds)

    def _why(self, namespace: str, job: str) -> str:
        pod = pods.observe_pods(self.cluster.list_now("Pod", namespace, {"job-name": job}))
        said = pod.problem if pod is not None and pod.problem else "it did not end in time"
        return f"job {job}: {said}"
