"""The clients of a simulation: in this process, in workers, or on a cluster; alone or stacked."""

import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from edgeloop.cohorts.local import LocalCohort
from edgeloop.cohorts.workers import WorkerCohort
from edgeloop.data import Federation
from edgeloop.data.pfllib import FolderFederation
from simulations.engine.cluster import join_cluster
from simulations.engine.cluster_cohort import ClusterCohort
from simulations.engine.cohort_factory import CohortFactory, NpzStore
from simulations.engine.run_plan import Plan

SimulatedCohort = LocalCohort[Any, Any] | WorkerCohort[Any, Any] | ClusterCohort[Any, Any]

STORE_BYTES = 500_000_000
"""Of a local cluster's shared memory for samples and models; what is more lies on the disk."""


@contextmanager
def open_cohort(
    plan: Plan, federation: Federation, stacked: Collection[str] = frozenset()
) -> Iterator[SimulatedCohort]:
    """Open the run's cohort.

    It is on a cluster, if the settings name one; else in this process for one worker or a GPU, and
    otherwise in workers. Each gives the same answers to the bit, unless clients are stacked.

    Args:
        plan: of the run.
        federation: its data.
        stacked: the architectures whose clients train together.

    Raises:
        ConfigError: if there is no such cluster, or it is too small.
    """
    torch.set_num_threads(1)
    with ExitStack() as stack:
        cohort = _make_cohort(stack, plan, federation, frozenset(stacked))
        stack.callback(cohort.close)
        yield cohort


def _make_cohort(
    stack: ExitStack, plan: Plan, federation: Federation, stacked: frozenset[str]
) -> SimulatedCohort:
    clients, placement = plan.clients, plan.placement
    if placement.cluster is not None:
        count = None if placement.workers == "auto" else placement.workers
        ray = stack.enter_context(join_cluster(placement.cluster, count, STORE_BYTES))
        return ClusterCohort(ray, plan, federation, stacked)
    if plan.workers == 1:
        return CohortFactory(clients, federation, stacked)(list(clients.models))
    if isinstance(federation, FolderFederation):
        factory = CohortFactory(clients, federation, stacked)
        return WorkerCohort(factory, plan.costs, plan.workers)
    with tempfile.TemporaryDirectory(prefix="edgeloop-") as folder:
        factory = CohortFactory(clients, NpzStore.write(federation, Path(folder)), stacked)
        return WorkerCohort(factory, plan.costs, plan.workers)
