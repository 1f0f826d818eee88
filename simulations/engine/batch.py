"""Many runs, some at a time, each in a process of its own; a run that is done is not run again."""

from collections.abc import Callable, Hashable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from edgeloop.errors import EdgeloopError, RunError
from edgeloop.runtime import atomic_files
from simulations.engine import cluster as clusters
from simulations.engine import companion, pool
from simulations.engine.run import simulate
from simulations.results.folder import SUMMARY
from simulations.settings import RunSettings

Key = TypeVar("Key", bound=Hashable)
Summary = Mapping[str, Any]


class Job(NamedTuple):
    """A run and its folder; it should have one worker, since others run beside it."""

    settings: RunSettings
    folder: Path


def run_all(
    jobs: Mapping[Key, Job],
    workers: int | None,
    done: Callable[[Key, Summary], None],
    cluster: str | None = None,
) -> dict[Key, Summary]:
    """Run what is missing, or continue with it; return every run's summary, in the jobs' order.

    Args:
        jobs: by any name.
        workers: runs at a time, each in a process; None for one a core; 0 for one after another in
            this process.
        done: called with each finished run, those that were there before included.
        cluster: the address of a Ray cluster that runs them, whose machines all see the folders
            and the data at the same paths; "local" for one of this machine; None for none.

    Raises:
        ConfigError: if there is no such cluster.
        InputError: as `simulate`, of the first run that fails, by its folder's name. Nothing else
            begins then, and what is under way is stopped; it continues from its checkpoint next
            time.
    """
    found: dict[Key, Summary] = {}

    def note(key: Key, summary: Summary) -> None:
        found[key] = summary
        done(key, summary)

    for key, job in jobs.items():
        if is_done(job):
            note(key, atomic_files.read_json(job.folder / SUMMARY))
    missing = {key: job for key, job in jobs.items() if key not in found}
    if cluster is None and workers == 0:
        for key, job in missing.items():
            note(key, _run_job(job))
    elif cluster is None:
        pool.run_tasks({key: partial(_run_job, job) for key, job in missing.items()}, workers, note)
    elif missing:
        clusters.run_tasks(_tasks(missing), cluster, workers, note)
    return {key: found[key] for key in jobs}


def _tasks(jobs: Mapping[Key, Job]) -> dict[Key, Callable[[], dict[str, Any]]]:
    """Return the jobs as a cluster's workers run them, whose current folder is another one."""
    tasks: dict[Key, Callable[[], dict[str, Any]]] = {}
    for key, job in jobs.items():
        job.folder.parent.mkdir(parents=True, exist_ok=True)
        tasks[key] = partial(_shared, Job(job.settings, job.folder.absolute()))
    return tasks


def _shared(job: Job) -> dict[str, Any]:
    """Run a job where the one who asked for it must see its folder."""
    if not job.folder.parent.is_dir():
        problem = f"{job.folder.parent} is not there on a worker's machine"
        raise RunError("cluster", problem, "give an --out that all machines share, at one path")
    return _run_job(job)


def _run_job(job: Job) -> dict[str, Any]:
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        return simulate(job.settings, job.folder, lambda done, accuracy: None)
    except EdgeloopError as error:
        raise error.within(job.folder.name) from error


def is_done(job: Job) -> bool:
    """Return whether a job's run is finished, and all that is asked for beside it."""
    return (job.folder / SUMMARY).exists() and not companion.missing_parts(job.settings, job.folder)
