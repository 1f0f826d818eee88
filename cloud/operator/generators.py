"""Looks after Generators: has their files written, has Triton serve them, takes them down."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from cloud.operator import jobs, pods, served
from cloud.operator.cluster import Cluster
from cloud.operator.generator_status import Observation
from cloud.operator.objects import Manifest
from cloud.operator.results import ReconcileResult
from cloud.operator.settings import OperatorSettings
from cloud.operator.spec import Generator, Meta
from cloud.operator.tasks import utc
from cloud.operator.triton import Triton, UnavailableError

KIND = "Generator"
NO_SERVER = "this operator knows no Triton server, or no volume claim of its model repository"


@dataclass(frozen=True)
class Generators:
    """Looks after Generators; every look begins with what the cluster and the server hold.

    Attributes:
        cluster: where they are.
        settings: the operator's.
        triton: the server; None if there is none, or nobody can write into its repository.
        now: the clock.
    """

    cluster: Cluster
    settings: OperatorSettings
    triton: Triton | None
    now: Callable[[], str] = utc

    def reconcile(self, namespace: str, name: str) -> ReconcileResult | None:
        """Look after a Generator once; see `served.reconcile`."""
        return served.reconcile(self.cluster, Generator, namespace, name, self._observe, self.now())

    def remove(self, namespace: str, name: str) -> str | None:
        """Take a Generator down one step; return what is waited for, None once it is down.

        Raises:
            UnavailableError: if Triton does not answer.
        """
        found = self.cluster.read_now(KIND, namespace, name)
        if found is None or self.triton is None:
            return None
        meta = Meta.model_validate(found["metadata"])
        if users := served.users(self.cluster, Generator, namespace, name):
            return f"used by {users}"
        if self.triton.served(name):
            self.triton.unload(name)
        remover = jobs.remover(meta, self.settings)
        self._delete_finished_jobs(meta, [remover])
        state = self._run_job(remover)
        return None if state in ("Complete", "Failed") else "the removal of its files"

    def _observe(self, generator: Generator) -> Observation:
        if self.triton is None:
            return Observation("Failed", problem=NO_SERVER)
        name = generator.metadata.name
        try:
            served = self.triton.served(name)
            if generator.spec.state == "Unloaded":
                return self._unloaded(self.triton, name, served)
            return self._loaded(self.triton, generator, served)
        except UnavailableError as error:
            return Observation("Loading", problem=str(error))

    def _unloaded(self, triton: Triton, name: str, served: Mapping[int, str]) -> Observation:
        if served:
            triton.unload(name)
        return Observation("Unloaded", {})

    def _loaded(self, triton: Triton, generator: Generator, served: dict[int, str]) -> Observation:
        """Bring the versions up one after the other: two writers would share one file."""
        wanted = {
            version: jobs.writer(generator, version, self.settings)
            for version in jobs.versions(generator.spec)
        }
        self._delete_finished_jobs(generator.metadata, wanted.values())
        for version, job in wanted.items():
            state = self._run_job(job)
            if state == "Failed":
                return Observation("Failed", served, self._why(job))
            if state != "Complete":
                return Observation("Pending", served)
            if version.number not in served:
                triton.load(generator.metadata.name)
                return Observation("Loading", served)
        return Observation("Ready", served)

    def _run_job(self, wanted: Manifest) -> str:
        """Make a job if it is not there; return how it ended, "" while it has not."""
        metadata = wanted["metadata"]
        held = self.cluster.read("Job", metadata["namespace"], metadata["name"])
        if held is None:
            self.cluster.apply(wanted)
            return ""
        return jobs.job_outcome(held)

    def _delete_finished_jobs(self, generator: Meta, wanted: Iterable[Manifest]) -> None:
        """Delete the jobs that are wanted no more."""
        names = {job["metadata"]["name"] for job in wanted}
        namespace = generator.namespace
        for job in self.cluster.list_labelled("Job", namespace, jobs.labels(generator)):
            if job["metadata"]["name"] not in names:
                self.cluster.delete("Job", namespace, job["metadata"]["name"])

    def _why(self, job: Manifest) -> str:
        name = job["metadata"]["name"]
        found = self.cluster.list_labelled("Pod", job["metadata"]["namespace"], {"job-name": name})
        pod = pods.observe_pods(found)
        said = pod.problem if pod is not None and pod.problem else "see its pod's log"
        return f"job {name} failed: {said}; fix the spec, or delete the job to try again"
