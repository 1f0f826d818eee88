"""The workers of a run on a Ray cluster: started, replaced where one is lost, and ended."""

import logging
from typing import Any

from edgeloop.errors import ConfigError, UnavailableError
from simulations.engine import run_config
from simulations.engine.client_factory import ClientFactory
from simulations.engine.cluster import PATIENCE_SECONDS, RETRIES
from simulations.engine.cluster_worker import ClusterWorker
from simulations.settings.parts import Placement

log = logging.getLogger(__name__)


def worker_count(ray: Any, placement: Placement, most: int) -> int:
    """Return how many workers a run has on a cluster: one a core, or a GPU, unless it says.

    Args:
        ray: the module, joined to the cluster.
        placement: of the run.
        most: that have something to do.

    Raises:
        ConfigError: if the cluster has fewer than are asked for, or none.
    """
    kind, name = ("GPU", "GPUs") if placement.device == "cuda" else ("CPU", "cores")
    there, wanted = int(ray.cluster_resources().get(kind, 0)), placement.workers
    if there < (1 if wanted == "auto" else min(wanted, most)):
        needs = "needs one at least" if wanted == "auto" else f"{wanted} workers are asked for"
        remedy = "add machines to the cluster, or ask for fewer --workers"
        raise ConfigError("cluster", f"has {there} {name}, and {needs}", remedy)
    return min(there if wanted == "auto" else wanted, most)


class Team:
    """The actors that compute; each does one thing at a time.

    Args:
        ray: the module, joined to the cluster.
        clients: makes the run's clients.
        stacked: the architectures whose clients train together.
        workers: how many.

    Attributes:
        idle: the actors that have nothing to do.
        starting: those that are not there yet, by the reference that tells.
    """

    def __init__(
        self, ray: Any, clients: ClientFactory, stacked: frozenset[str], workers: int
    ) -> None:
        self._ray = ray
        self._arguments = ray.put(clients), stacked
        needs = {"num_cpus": 1, "num_gpus": int(clients.training.compute.device == "cuda")}
        self._kind = ray.remote(ClusterWorker).options(**needs, scheduling_strategy="SPREAD")
        self._all: list[Any] = []
        self._failed = 0
        self.idle: list[Any] = []
        self.starting: dict[Any, Any] = {}
        try:
            for _ in range(workers):
                self._start()
            self._wait_for_all()
        except BaseException:
            self.close()
            raise

    def _wait_for_all(self) -> None:
        """Have all of them there: samples and rounds are then dealt out evenly."""
        while self.starting:
            ready, late = self._ray.wait(list(self.starting), timeout=PATIENCE_SECONDS)
            for reference in ready:
                self.arrived(reference)
            if not ready:
                log.info("waiting for %d workers of the cluster: its cores may be busy", len(late))

    def _start(self) -> None:
        actor = self._kind.remote(*self._arguments)
        self._all.append(actor)
        self.starting[actor.versions.remote()] = actor

    def arrived(self, reference: Any) -> None:
        """Take one in that was starting, and is there now.

        Raises:
            ConfigError: if its machine has other versions of what computes.
            UnavailableError: if one after another ends at its start.
        """
        actor = self.starting.pop(reference)
        try:
            versions = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._failed += 1
            if self._failed > RETRIES:
                raise _unavailable("no worker of it starts", error) from error
            self.lost(actor)
            return
        self._failed = 0
        ours = run_config.versions()
        differing = [f"{key} {versions.get(key)}" for key in ours if versions.get(key) != ours[key]]
        if differing:
            problem = f"a machine of it has {', '.join(differing)}"
            wanted = ", ".join(f"{key} {value}" for key, value in ours.items())
            raise ConfigError("cluster", problem, f"install what is here: {wanted}")
        self.idle.append(actor)

    def lost(self, actor: Any) -> None:
        """Put another one in the place of one that has ended."""
        log.warning("the cluster has lost a worker; another one takes its place")
        self._all.remove(actor)
        self._start()

    def close(self) -> None:
        """End them all; what they compute now, nobody waits for."""
        for actor in self._all:
            self._ray.kill(actor)


def _unavailable(what: str, error: Exception) -> UnavailableError:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return UnavailableError("cluster", f"{what} ({reason})", "see Ray's logs, and run it again")
