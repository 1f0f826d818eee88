"""Many runs, some at a time, each in a process of its own; a run that is done is not run again."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from edgeloop import files
from simulations.folder import SUMMARY
from simulations.run import simulate
from simulations.settings import RunSettings

Key = TypeVar("Key", bound=Hashable)
Summary = Mapping[str, Any]


class Job(NamedTuple):
    """A run and its folder; it should have one worker, since others run beside it."""

    settings: RunSettings
    folder: Path


def run_all(
    jobs: Mapping[Key, Job], workers: int | None, done: Callable[[Key, Summary], None]
) -> dict[Key, Summary]:
    """Run what is missing, or go on with it; return every run's summary, in the jobs' order.

    Args:
        jobs: by any name.
        workers: runs at a time; None for one a core.
        done: told of each finished run, those that were there before included.

    Raises:
        InputError: as `simulate`.
    """
    found = {key: files.read_json(path) for key, job in jobs.items() if (path := _at(job)).exists()}
    for key, summary in found.items():
        done(key, summary)
    context = multiprocessing.get_context("spawn")
    processes = workers or os.cpu_count()
    with ProcessPoolExecutor(processes, context, initializer=_end_with_parent) as pool:
        waiting = {pool.submit(_one, job): key for key, job in jobs.items() if key not in found}
        for future in as_completed(waiting):
            found[waiting[future]] = future.result()
            done(waiting[future], future.result())
    return {key: found[key] for key in jobs}


def _end_with_parent() -> None:
    """Have this process end as soon as its parent is gone, even killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - the pool has made this process

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _one(job: Job) -> dict[str, Any]:
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    return simulate(job.settings, job.folder, lambda done, accuracy: None)


def _at(job: Job) -> Path:
    return job.folder / SUMMARY
