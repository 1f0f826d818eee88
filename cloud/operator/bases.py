"""Looks after Bases: has each served by a server of its own, and takes it down."""

from collections.abc import Callable
from dataclasses import dataclass

from cloud.operator import aggregators, base_manifests, jobs, pods, served
from cloud.operator.cluster import Cluster
from cloud.operator.generator_status import Observation
from cloud.operator.results import ReconcileResult
from cloud.operator.settings import OperatorSettings
from cloud.operator.spec import Base, Meta
from cloud.operator.tasks import utc

KIND = "Base"
NO_IMAGE = "this operator knows no image of the generator service; give it --generator-image"


@dataclass(frozen=True)
class ServerAnswer:
    """What a Base's server tells.

    Attributes:
        served: versions with their identities.
        problems: why others are not served.
    """

    served: dict[int, str]
    problems: dict[int, str]


@dataclass(frozen=True)
class Bases:
    """Looks after Bases; every look begins with what the cluster and the servers hold.

    Attributes:
        cluster: where they are.
        settings: the operator's.
        now: the clock.
    """

    cluster: Cluster
    settings: OperatorSettings
    now: Callable[[], str] = utc

    def reconcile(self, namespace: str, name: str) -> ReconcileResult | None:
        """Look after a Base once; see `served.reconcile`."""
        return served.reconcile(self.cluster, Base, namespace, name, self._observe, self.now())

    def remove(self, namespace: str, name: str) -> str | None:
        """Take a Base down one step; return what is waited for, None once it is down.

        Its volume and its Service are its own: the cluster deletes them with it.

        Raises:
            ApiException: if the cluster refuses something, or is away.
        """
        found = self.cluster.read_now(KIND, namespace, name)
        if found is None:
            return None
        meta = Meta.model_validate(found["metadata"])
        if users := served.users(self.cluster, Base, namespace, name):
            return f"used by {users}"
        self.cluster.delete("StatefulSet", namespace, base_manifests.name_of(meta))
        running = self.cluster.list_now("Pod", namespace, base_manifests.labels(meta))
        return "its server to stop" if running else None

    def _observe(self, base: Base) -> Observation:
        if not self.settings.generator_image:
            return Observation("Failed", problem=NO_IMAGE)
        self.cluster.ensure(base_manifests.of(base, self.settings))
        if base.spec.state == "Stopped":
            return Observation("Stopped", {})
        meta = base.metadata
        url = self.settings.base_url.format(
            name=base_manifests.name_of(meta), namespace=meta.namespace
        )
        told = ask(url, meta.name, self.settings.answer_seconds)
        if told is None:
            pod = pods.observe_pods(
                self.cluster.list_labelled("Pod", meta.namespace, base_manifests.labels(meta))
            )
            return Observation("Pending", problem=None if pod is None else pod.problem)
        return seen(base, told)


def seen(base: Base, told: ServerAnswer) -> Observation:
    """Return how a Base is whose server answers."""
    wanted = [each.number for each in jobs.versions(base.spec)]
    missing = [each for each in wanted if each not in told.served]
    for version in missing:
        if problem := told.problems.get(version):
            remedy = "fix what is wrong, and it is tried again; or give another source"
            return Observation("Failed", told.served, f"version {version}: {problem}. {remedy}")
    return Observation("Pending" if missing else "Ready", told.served)


def ask(url: str, name: str, seconds: float) -> ServerAnswer | None:
    """Return what a server tells of a base; None while it does not answer as one does.

    Args:
        url: of the server.
        name: of the base.
        seconds: that its answer may take.
    """
    answer = aggregators.fetched(f"{url}/index.json", seconds)
    try:
        if answer is None:
            return None
        versions, problems = (answer.get(key, {}).get(name, {}) for key in ("bases", "problems"))
        return ServerAnswer(
            {int(version): str(each) for version, each in versions.items()},
            {int(version): str(each) for version, each in problems.items()},
        )
    except (ValueError, AttributeError, TypeError):
        return None  # somebody else listens there
