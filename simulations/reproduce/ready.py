"""What is known before the first run: what is missing here, what is done, and how long it takes."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeloop import generators
from edgeloop.data import catalogue
from edgeloop.errors import ConfigError, GeneratorError, RunError
from edgeloop.runtime import atomic_files
from simulations.engine.batch import Job, is_done
from simulations.reproduce.scenario import EMBEDDED
from simulations.results.folder import IDENTITY, SUMMARY, differences

OWN = ("data", "clients", "workers", "history", "beside")
"""Settings that a finished run may have otherwise: a moved folder, and what changes no result."""


def data_path(name: str, data: Path | None) -> str:
    """Return where a data set is: absolute, so that another machine's process finds it too."""
    return (
        name if name == EMBEDDED else str((Path(name) if data is None else data / name).absolute())
    )


def check_data(names: Iterable[str], data: Path | None) -> None:
    """See that data sets are here.

    Args:
        names: of data sets, some of them more than once.
        data: the folder that they are in.

    Raises:
        ConfigError: naming all that are not, and the commands that fetch them.
    """
    missing = [
        name
        for name in dict.fromkeys(names)
        if name != EMBEDDED and not Path(data_path(name, data)).exists()
    ]
    if missing:
        where = f"below {data}" if data else "here, and neither --data nor $EDGELOOP_DATA is given"
        ways = ", ".join(map(_way, missing))
        remedy = f"give --data FOLDER with {' and '.join(missing)} in it; {ways}"
        raise ConfigError("data", f"there is no {', '.join(missing)} {where}", remedy)


def _way(name: str) -> str:
    """Return how to get a data set: the command that fetches it, or where it is published."""
    entry = catalogue.recognise(name)
    if entry is None or entry.torchvision:
        return f"`edgeloop data fetch {name}`"
    return f"{name} is at {entry.source}"


def check_generators(references: Iterable[str | None]) -> None:
    """See that generators are here; a served one is asked by its run, since it may come up later.

    Raises:
        GeneratorError: naming the first that is not.
    """
    for reference in dict.fromkeys(filter(None, references)):
        if reference.startswith(generators.DIFFUSERS):
            folder = reference.removeprefix(generators.DIFFUSERS).partition("?")[0]
            if not Path(folder).is_dir():
                remedy = "put a Stable Diffusion folder there: docs/generators.md"
                raise GeneratorError("generator", f"there is no folder {folder}", remedy)
        elif generators.is_of_others(reference):
            generators.load(reference)
        elif not reference.startswith(generators.TRITON):
            _stored(reference)


def _stored(reference: str) -> None:
    try:
        generators.folder_of(reference)
    except GeneratorError as error:
        remedy = (
            f"`edgeloop generator fetch {reference}` if it is in the catalogue,"
            f" or `edgeloop generator import FILE --name {reference}`"
        )
        raise GeneratorError("generator", error.problem, remedy) from error


def check_finished(jobs: Iterable[Job]) -> None:
    """See that runs that are done are those that are asked for.

    Raises:
        RunError: naming a folder with another run, and the settings that differ.
    """
    for job in jobs:
        if not (job.folder / SUMMARY).exists():
            continue
        wanted = job.settings.model_dump(mode="json", exclude=set(OWN))
        held = atomic_files.read_json(job.folder / IDENTITY)
        known = {key: held[key] for key in wanted if key in held}
        if differing := differences(known, {key: wanted[key] for key in known}):
            problem = f"holds another run: {', '.join(differing)}"
            raise RunError(f"out {job.folder}", problem, "name another --out, or remove it")


def finished_summaries(jobs: Mapping[Any, Job]) -> dict[Any, Mapping[str, Any]]:
    """Return the summaries of the runs that are done."""
    done = {key: job.folder / SUMMARY for key, job in jobs.items() if is_done(job)}
    return {key: atomic_files.read_json(path) for key, path in done.items()}


def outlook(runs: int, done: Sequence[Mapping[str, Any]], workers: int, known: float | None) -> str:
    """Say how many runs are left, and how long they take, by those that are done.

    Args:
        runs: in all.
        done: their summaries.
        workers: runs at a time.
        known: seconds of a run, where somebody has measured them.
    """
    seconds = statistics.fmean(run["seconds"]["wall"] for run in done) if done else known
    left = runs - len(done)
    if not left:
        return f"0 of {runs} runs left"
    if seconds is None:
        return f"{left} of {runs} runs left; how long one takes is not known"
    whole = duration(seconds * left / workers)
    return f"{left} of {runs} runs left; {duration(seconds)} each, {whole} with {workers} at a time"


def duration(seconds: float | None) -> str:
    """Return a time as a person says it."""
    if seconds is None:
        return ""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
