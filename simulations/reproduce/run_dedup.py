"""A run that several cells or tables ask for is run once, and stands in all of their folders."""

import dataclasses
import json
import os
import shutil
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from edgeloop import algorithms
from edgeloop.runtime import atomic_files
from simulations.engine import run_config
from simulations.engine.batch import Job, is_done
from simulations.results.folder import BESIDE, FREE_SETTINGS, IDENTITY, SUMMARY
from simulations.settings import CLIENTS, RunSettings

Key = TypeVar("Key", bound=Hashable)

OPTIONS = "options"
"""How hyperparameters were asked for: the same run may have been asked for otherwise."""


class RunDedup(NamedTuple, Generic[Key]):
    """Who runs what.

    Attributes:
        finished: jobs that another table has finished, and where.
        leaders: every other job's, which is itself or one that is the same run.
    """

    finished: Mapping[Key, Path]
    leaders: Mapping[Key, Key]


def find_duplicates(jobs: Mapping[Key, Job], place: Path | None) -> RunDedup[Key]:
    """Find the runs that need not be made, because they are there or another job makes them.

    A job whose folder is there already is left alone.

    Args:
        jobs: of one table.
        place: the folder of the tables' folders; None to look at none.
    """
    open_ = {key: job for key, job in jobs.items() if not job.folder.exists()}
    known = _finished(place) if open_ and place is not None else {}
    same = {key: _same(job.settings) for key, job in jobs.items()}
    elsewhere = {key: known[same[key]] for key in open_ if same[key] in known}
    first: dict[str, Key] = {}
    for key in sorted(jobs, key=open_.__contains__):
        first.setdefault(same[key], key)
    leaders = {key: first[same[key]] if key in open_ else key for key in jobs}
    return RunDedup(elsewhere, {k: v for k, v in leaders.items() if k not in elsewhere})


def followers(shared: RunDedup[Key], leader: Key) -> list[Key]:
    """Return the jobs that another one's run is good for."""
    return [key for key, its in shared.leaders.items() if its == leader != key]


def reuse_run(source: Path, job: Job) -> Mapping[str, Any]:
    """Have a job's folder be what its run would have written, from a folder of the same run.

    The files are the source's own (hard links) where the disk can do that, else copies.

    Args:
        source: a finished run's folder.
        job: whose folder is not there yet.

    Returns:
        its summary.
    """
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    building = job.folder.with_name(f".{job.folder.name}.new")
    shutil.rmtree(building, ignore_errors=True)  # a crash's
    shutil.copytree(source, building, copy_function=_link)
    asked = job.settings.model_dump(mode="json")[OPTIONS]
    config = atomic_files.read_json(building / IDENTITY)
    atomic_files.write_json(building / IDENTITY, {**config, OPTIONS: asked})
    summary = atomic_files.read_json(building / SUMMARY)
    summary["config"] = {**summary["config"], OPTIONS: asked}
    atomic_files.write_json(building / SUMMARY, summary)
    building.rename(job.folder)
    atomic_files.sync(job.folder.parent)
    return summary


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copy2(source, target)


def _same(settings: RunSettings) -> str:
    """Return what two settings have in common if, and only if, they lead to the same results."""
    asked = settings.model_dump(mode="json", exclude={*FREE_SETTINGS, OPTIONS})
    if settings.partition is not None:
        asked["clients"] = settings.clients or CLIENTS
    config = algorithms.config(settings.algorithm, **settings.algorithm_options(classes=2))
    asked |= {"hyperparameters": dataclasses.asdict(config)}
    asked |= {"history": settings.history, BESIDE: settings.beside}
    return json.dumps(asked, sort_keys=True, default=str)


def _finished(place: Path) -> dict[str, Path]:
    """Return the finished runs of all tables, of these very versions, by what is the same."""
    folders = (folder for folder in sorted(place.glob("*/runs/*")) if folder.suffix != ".new")
    held = ((_held(folder), folder) for folder in folders if (folder / SUMMARY).exists())
    return {same: folder for same, folder in held if same is not None}


def _held(folder: Path) -> str | None:
    try:
        config = atomic_files.read_json(folder / IDENTITY)
        known = {key: config[key] for key in RunSettings.model_fields if key in config}
        held = {"robust": "none", **known}  # as before there was any
        ours = config["versions"] == run_config.versions()
        settings = RunSettings.model_validate(held)
        done = is_done(Job(settings, folder))
        return _same(settings) if ours and done else None
    except (OSError, ValueError, KeyError):
        return None  # of another release, or damaged: no run to take
