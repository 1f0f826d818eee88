"""Runs a table of a paper again, cell by cell, and writes ours next to it."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer

from edgeloop.cli import console, options
from edgeloop.errors import ConfigError, choose
from edgeloop.runtime import config
from edgeloop.runtime.config import Option
from simulations.engine.batch import Job, run_all
from simulations.reproduce import counting, ready, run_dedup, writing
from simulations.reproduce import scenario as scenarios
from simulations.reproduce.run_dedup import RunDedup
from simulations.reproduce.scenario import Cell, Plan, Scale, Scenario, Trial
from simulations.reproduce.table import Runs
from simulations.results.measurements import in_words
from simulations.settings import ComputeSettings, RunSettings

DATA = "EDGELOOP_DATA"
"""The environment's folder of data sets."""


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop reproduce` with these arguments."""
    return console.run(reproduce, "reproduce", arguments)


@options.of(
    ComputeSettings,
    "reproduce",
    changes={"workers": Option(help="Number of parallel runs, or auto for one per core.")},
)
def reproduce(  # noqa: PLR0913 - an option each
    where: ComputeSettings,
    scenario: Annotated[
        str | None, typer.Argument(help="Scenario: a name shown by --list, or a TOML file.")
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(help="Scale: cpu (smaller) or paper. [default: cpu where there is one]"),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Filter: row=FedTGP, column=..., algorithm=fedtgp. May be repeated."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Number of trials. [default: the scenario's]")
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(min=1, help="Number of rounds instead of the scenario's, for a first look."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help=f"The folder of the data sets. [default: ${DATA}]")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Ray cluster: host:port, auto, or local to start one here.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Output folder. [default: runs/reproduce/SCENARIO-SCALE]")
    ] = None,
    show_list: Annotated[bool, typer.Option("--list", help="List the scenarios.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the cells, run none.")] = False,
    share: Annotated[
        bool, typer.Option(help="Reuse identical runs of finished tables in the same folder.")
    ] = True,
) -> None:
    """Run a table of a paper again, cell by cell; the same command continues after a stop."""
    if show_list or scenario is None:
        _list()
        return
    loaded = scenarios.load(scenario)
    kind = _scale(scale, loaded)
    plan = loaded.plan(kind).only(_pairs(only or []))
    plan = plan._replace(seeds=seeds or plan.seeds)
    changes = {"device": where.device, **({"rounds": rounds} if rounds else {})}
    runs = {cell: {**table, **changes} for cell, table in plan.cells().items()}
    folder = out or Path("runs") / "reproduce" / f"{Path(scenario).stem}-{kind}"
    place = data or _environment()
    jobs = jobs_of(plan, runs, place, folder)
    wanted = None if where.workers == "auto" else where.workers
    ready.check_finished(jobs.values())
    shared = run_dedup.find_duplicates(jobs, folder.parent if share else None)
    if dry_run:
        _show_cells(plan, runs)
        console.say(_outlook(plan, kind, jobs, shared, wanted))
        return
    ready.check_data((str(table["data"]) for table in runs.values()), place)
    ready.check_generators(job.settings.generator for job in jobs.values())
    found = _run(scenario, plan, jobs, shared, wanted, cluster)
    writing.write(plan, kind, found, jobs, folder)


def _scale(word: str | None, scenario: Scenario) -> Scale:
    for known in get_args(Scale):
        if word == known:
            return cast(Scale, known)
    if word is not None:
        raise ConfigError("scale", f"there is no {word!r}", choose(word, ("cpu", "paper")))
    return scenarios.smallest(scenario)


def jobs_of(
    plan: Plan, runs: Mapping[Cell, Mapping[str, Any]], data: Path | None, folder: Path
) -> dict[Trial, Job]:
    """Return every trial's job, all cells' first trials first.

    Args:
        plan: whose trials.
        runs: each cell's settings.
        data: the folder of the data sets.
        folder: of the scenario's results.

    Raises:
        ConfigError: if a setting is wrong, or two cells' names are too much alike for two folders.
    """
    jobs: dict[Trial, Job] = {}
    for number in range(plan.seeds):
        for cell, table in runs.items():
            place = ready.data_path(str(table["data"]), data)
            filled = {**plan.trial(table, number), "data": place}
            settings = config.parse(filled, RunSettings, f"{cell.row}, {cell.column}")
            others = tuple(each for each in settings.beside if each != settings.algorithm)
            settings = settings.model_copy(update={"beside": others})  # no cell is beside itself
            settings.check()
            name = "-".join(_slug(part) for part in (*cell, plan.name_of(settings)) if part)
            jobs[cell, number] = Job(settings, folder / "runs" / name)
    owners = {job.folder: cell for (cell, _), job in jobs.items()}
    for (cell, _), job in jobs.items():
        if (other := owners[job.folder]) != cell:
            problem = f"{tuple(cell)} and {tuple(other)} have one folder, {job.folder.name}"
            raise ConfigError("rows and columns", problem, "name one of them otherwise")
    return jobs


def _outlook(
    plan: Plan,
    scale: Scale,
    jobs: Mapping[Trial, Job],
    shared: RunDedup[Trial],
    workers: int | None,
) -> str:
    done = list(ready.finished_summaries(jobs).values())
    known = plan.scenario.seconds if scale == scenarios.smallest(plan.scenario) else None
    runs = len(set(shared.leaders.values()))
    words = ready.outlook(runs, done, workers or os.cpu_count() or 1, known)
    taken = f", {len(shared.finished)} taken from finished tables"
    return words + (taken if shared.finished else "")


def _environment() -> Path | None:
    folder = os.environ.get(DATA)
    return Path(folder) if folder else None


def _pairs(words: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for word in words:
        key, equals, value = (part.strip() for part in word.partition("="))
        if not key or not equals:
            raise ConfigError("only", f"{word!r} is no key=value", "write --only row=FedTGP")
        pairs[key] = value
    return pairs


def _run(
    name: str,
    plan: Plan,
    jobs: Mapping[Trial, Job],
    shared: RunDedup[Trial],
    workers: int | None,
    cluster: str | None,
) -> Runs:
    with console.progress(name, len(jobs)) as report:
        summaries: dict[Trial, Mapping[str, Any]] = {}

        def tell(key: Trial, summary: Mapping[str, Any]) -> None:
            summaries[key] = summary
            trial = plan.name_of(jobs[key].settings)
            label = ", ".join(part for part in (*key[0], trial) if part)
            report(len(summaries), f"{label}: {in_words(summary['best_accuracy'], '{:.2%}')}")

        def done(key: Trial, summary: Mapping[str, Any]) -> None:
            tell(key, summary)
            for other in run_dedup.followers(shared, key):
                tell(other, run_dedup.reuse_run(jobs[key].folder, jobs[other]))

        for key, source in shared.finished.items():
            tell(key, run_dedup.reuse_run(source, jobs[key]))
        own = {key: job for key, job in jobs.items() if shared.leaders.get(key) == key}
        run_all(own, workers, done, cluster)
    found: dict[Cell, list[Mapping[str, Any]]] = {}
    for (cell, number), job in jobs.items():
        carried = counting.carried(job.folder)
        found.setdefault(cell, []).append({**summaries[cell, number], **carried})
    return found


def _list() -> None:
    rows = []
    for name in scenarios.names():
        found = scenarios.load(name)
        scales: Sequence[Scale] = ("cpu", "paper") if found.cpu else ("paper",)
        counts = [
            f"{scale}: {len(plan.rows)} x {len(plan.columns)} cells, {plan.seeds} trials"
            for scale in scales
            for plan in [found.plan(scale)]
        ]
        counts += [ready.duration(found.seconds) + " a run"] if found.seconds else []
        rows.append([name, found.title, found.question, "\n".join(counts)])
    console.table("scenarios", ("name", "table", "question", "runs"), rows)


def _show_cells(plan: Plan, runs: Mapping[Cell, Mapping[str, Any]]) -> None:
    shown = ("data", "models", "algorithm", "rounds", "clients", "samples", "options")
    rows = [
        [cell.row, cell.column, *(str(table.get(key, "")) for key in shown)]
        for cell, table in runs.items()
    ]
    console.table(f"{plan.seeds} trials of each", ("row", "column", *shown), rows)


def _slug(text: str) -> str:
    return re.sub(r"[^\w.]+", "-", text.lower()).strip("-")
