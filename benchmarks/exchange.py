"""When exchange pays: the map of ways to exchange, beside devices alone, in docs/exchange.md.

Runs are kept, and a run that is done is not run again: the same command continues after a stop.
What is run is in `benchmarks.grid`, what is made of it in `benchmarks.judging`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import environment, gains, grid, judging
from benchmarks.grid import ALONE, EMBEDDED, SETTINGS, Setting
from benchmarks.judging import Seen
from edgeloop.cli import console
from edgeloop.errors import ConfigError
from edgeloop.runtime import atomic_files
from edgeloop.statistics.paired import Paired
from simulations.engine.batch import Job, Summary, run_all
from simulations.results.folder import SUMMARY
from simulations.results.runs import FinishedRun

DOCUMENT = environment.ROOT / "docs" / "exchange.md"
PICTURE = environment.ROOT / "docs" / "images" / "exchange.png"
MILESTONES = (1, 2, 5, 10, 20)
Key = tuple[str, str, int, bool]
"""A run: its setting, its way, its seed, and whether its devices mix at the end."""


def main(
    data: Annotated[
        Path | None, typer.Option(help="The folder of cifar10, cifar100, har; or $EDGELOOP_DATA.")
    ] = None,
    settings: Annotated[str, typer.Option(help="Of those in benchmarks/grid.py.")] = "",
    seeds: Annotated[int, typer.Option(min=1, help="At most: 0, 1, ...")] = 3,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time. [default: one a core]")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("runs/exchange"),
    ready: Annotated[
        bool, typer.Option("--ready", help="Tell of finished runs; run none.")
    ] = False,
) -> None:
    """Run what is missing, then write benchmarks/results/exchange.md and the docs' tables."""
    source = data or environment.folder()
    chosen = asked(settings, source)
    jobs = jobs_of(chosen, seeds, source, out)
    if not ready:
        run(jobs, workers)
    every = gather(jobs)
    if not every:
        raise ConfigError("out", f"holds no finished runs in {out}", "leave --ready out")
    text = promise_table(chosen, every, jobs)
    content = {"machine": environment.machine(), "seen": [as_json(each) for each in every]}
    environment.write("exchange", content, text)
    environment.embed(DOCUMENT, "exchange", text)
    atomic_files.write(PICTURE, gains.picture(chosen, every))


def asked(names: str, source: Path) -> dict[str, Setting]:
    """Return the settings to run: those named, or all whose data is there.

    Args:
        names: with commas; empty for all.
        source: the data folder, which need not be there.

    Raises:
        ConfigError: if there is no such setting, or one's data is not there.
    """
    if names:
        wanted = [name.strip() for name in names.split(",")]
        for name in wanted:
            if name not in SETTINGS:
                raise ConfigError("settings", f"there is no {name!r}", f"use {', '.join(SETTINGS)}")
            if not has_data(SETTINGS[name], source):
                problem = f"{name} needs {source / SETTINGS[name].data}, which is not there"
                raise ConfigError("data", problem, "give --data PATH, or set EDGELOOP_DATA")
        return {name: SETTINGS[name] for name in wanted}
    there = {name: each for name, each in SETTINGS.items() if has_data(each, source)}
    lacking = sorted({each.data for name, each in SETTINGS.items() if name not in there})
    if lacking:
        console.note(f"left out, for want of their data in {source}: {', '.join(lacking)}")
    return there


def has_data(setting: Setting, source: Path) -> bool:
    """Return whether a setting's data is there."""
    return setting.data == EMBEDDED or (source / setting.data).is_dir()


def jobs_of(settings: Mapping[str, Setting], seeds: int, source: Path, out: Path) -> dict[Key, Job]:
    """Return all runs, so that the map is whole before what takes longer.

    First the first seed of every setting; then those again whose devices mix, for which each trains
    several more networks; then other seeds.
    """
    keys = [
        (name, way, seed, mix)
        for seed in range(seeds)
        for mix in (False, True)
        for name, setting in settings.items()
        if seed < setting.seeds
        for way in grid.ways(setting)
        if grid.mixes(way) or not mix
    ]
    return {
        key: Job(
            grid.settings_of(settings[name], way, seed, mix, source),
            out / name / slug(way, seed, mix),
        )
        for key in keys
        for name, way, seed, mix in [key]
    }


def slug(way: str, seed: int, mix: bool) -> str:
    """Return the name of a run's folder."""
    return f"{way.lower().replace(', ', '-').replace(' ', '-')}-{seed}{'-auto' if mix else ''}"


def run(jobs: Mapping[Key, Job], workers: int | None) -> None:
    """Run what is missing, and show how far it is."""
    finished: list[Key] = []
    with console.progress("exchange", len(jobs)) as report:

        def done(key: Key, summary: Summary) -> None:
            finished.append(key)
            setting, way, seed, mix = key
            what = f"{setting}, {way}, seed {seed}{', auto' if mix else ''}"
            word = f"{what}: {summary['final_accuracy']:.4f}"
            report(len(finished), word)

        run_all(jobs, workers, done)


def gather(jobs: Mapping[Key, Job]) -> list[Seen]:
    """Return what finished runs tell, of ways whose devices have finished alone too."""
    runs = {key: found for key, job in jobs.items() if (found := judging.finished(job.folder))}
    every = []
    for name, way in dict.fromkeys((name, way) for name, way, *_ in runs):
        alone = _by_seed(runs, name, ALONE)
        own = {seed: each for seed, each in _by_seed(runs, name, way).items() if seed in alone}
        if own:
            every.append(judging.seen(name, way, own, alone))
    return every


def _by_seed(runs: Mapping[Key, FinishedRun], name: str, way: str) -> dict[int, FinishedRun]:
    """Return a way's runs by seed: those with a mixture at their end, where there are both."""
    mine = {key[2:]: run for key, run in runs.items() if key[:2] == (name, way)}
    return {seed: mine[seed, mix] for seed, mix in sorted(mine)}


def as_json(seen: Seen) -> dict[str, Any]:
    """Return all but the devices' rows as JSON values."""
    found = asdict(seen)
    for each in ("run", "mix", "kept", "added"):
        if found[each] is not None:
            del found[each]["rows"]
    return found


def promise_table(
    settings: Mapping[str, Setting], every: Sequence[Seen], jobs: Mapping[Key, Job]
) -> str:
    """Return all tables in Markdown: the promise, rounds, then a factor each."""
    runs = sum((job.folder / SUMMARY).exists() for job in jobs.values())
    known = {each.setting for each in every}
    factors = dict.fromkeys(each.factor for name, each in settings.items() if name in known)
    lacking = [name for name in settings if name not in known]
    parts = [
        f"Finished when this was written: {runs} of {len(jobs)} runs"
        + (f"; none of {', '.join(lacking)}." if lacking else "."),
        promise([each for each in every if each.way != ALONE and each.mix is not None]),
        rounds(settings, every),
        added(settings, every),
        *(section(settings, every, factor) for factor in factors),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def promise(every: Sequence[Seen]) -> str:
    """Return whether `auto` keeps its promise, as a table, and where it does not."""
    verdicts = judging.judged(every)
    said = {None: "nothing to say", True: "holds", False: "**does not hold**"}
    rows = [(each.asked, each.found, said[each.holds]) for each in verdicts]
    table = environment.markdown(("promised of `auto`", "found", "verdict"), rows)
    where = [f"- {each.asked}, but: {'; '.join(each.where)}." for each in verdicts if each.where]
    title = f"**Whether `mix = auto` keeps its promise**, {len(every)} rows of the tables below"
    return f"{title}\n\n{table}\n" + "\n".join(where)


def rounds(settings: Mapping[str, Setting], every: Sequence[Seen]) -> str:
    """Return a table of the runs less devices alone at the same round, in the bases' settings."""
    shown = [each for each in every if settings[each.setting].is_base]
    alone = {each.setting: each.by_round for each in shown if each.way == ALONE}
    columns = ("setting", "way", *(f"r{number}" for number in MILESTONES))
    table = [
        (
            grid.title(settings[each.setting]),
            each.way,
            *(_ahead(each.by_round, alone[each.setting], n) for n in MILESTONES),
        )
        for each in shown
        if each.way != ALONE
    ]
    title = "**By rounds**: the runs less devices alone after as many rounds, points, without `mix`"
    return f"{title}\n\n{environment.markdown(columns, table)}"


def added(settings: Mapping[str, Setting], every: Sequence[Seen]) -> str:
    """Return a table of how much of class statistics' gain is the exchange, not the base."""
    columns = ("setting", "gain over alone", "of it, the exchange's", "devices")
    table = [
        (
            grid.title(settings[each.setting]),
            *(judging.points(each.run), judging.points(each.added), each.added.devices),
        )
        for each in every
        if each.added is not None
    ]
    title = "**Class statistics**: the gain, and what of it a device's own classifier has not"
    return f"{title}\n\n{environment.markdown(columns, table)}"


def _ahead(own: Mapping[int, float], alone: Mapping[int, float], number: int) -> str:
    if number not in alone:
        return ""
    return f"{100 * (own[min(number, max(own))] - alone[number]):+.1f}"


COLUMNS = (
    *("setting", "way", "accuracy", "run - alone", "better, worse"),
    *("`auto` - alone", "better, worse", "KB up", "KB down", "seconds"),
)


def section(settings: Mapping[str, Setting], every: Sequence[Seen], factor: str) -> str:
    """Return a factor's table: its base, if that stands elsewhere, and the settings that vary."""
    rows = [_row(settings[each.setting], each) for each in every if _under(settings, each, factor)]
    return f"**{factor}**\n\n{environment.markdown(COLUMNS, rows)}"


def _under(settings: Mapping[str, Setting], seen: Seen, factor: str) -> bool:
    return settings[seen.setting].factor == factor


def _row(setting: Setting, seen: Seen) -> tuple[str, ...]:
    alone = seen.way == ALONE
    name = f"{setting.value}; {_devices(seen)}" if alone else ""
    return (
        name,
        seen.way,
        f"{seen.accuracy:.3f}",
        *(("", "") if alone else _compared(seen.run)),
        *(("", "") if alone else _compared(seen.mix)),
        *(f"{count / 1000:,.0f}" for count in (seen.up, seen.down)),
        f"{seen.seconds:.0f}",
    )


def _devices(seen: Seen) -> str:
    seeds = "one seed" if seen.seeds == 1 else f"{seen.seeds} seeds"
    return f"{seen.run.devices} devices, {seen.run.test_samples:,} test samples, {seeds}"


def _compared(found: Paired | None) -> tuple[str, str]:
    if found is None:
        return "", ""
    return judging.points(found), f"{found.devices_better}, {found.devices_worse}"


if __name__ == "__main__":
    raise SystemExit(environment.run(main, "exchange"))
