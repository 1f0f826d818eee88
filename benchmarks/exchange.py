"""When exchange pays: FedKTL with two generators, FedTGP and FedProto beside training alone.

By data (HAR, CIFAR-10), its size, the mix of models, and rounds. Runs are kept under runs/exchange:
the same command goes on after a stop.

Shape suffixes: S seeds, T rounds.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import facts
from edgeloop import files, screen
from edgeloop.errors import ConfigError
from simulations.batch import Job, Summary, run_all
from simulations.reproduce.picture import curves
from simulations.settings import RunSettings

ALONE = "Local"
ENTRIES: Mapping[str, Mapping[str, Any]] = {
    ALONE: {"algorithm": "local"},
    "FedProto": {"algorithm": "fedproto"},
    "FedTGP": {"algorithm": "fedtgp"},
    "ETF only": {"algorithm": "fedktl", "options": {"transfer": 0.0}},
    "FedKTL, digits": {"algorithm": "fedktl", "generator": "digits"},
    "FedKTL, gan-face": {"algorithm": "fedktl", "generator": "gan-face"},
}
"""What is compared: the algorithm, and the generator that it asks.

"ETF only" is FedKTL's client without exchange: its fixed classifier and margin loss.
"""


@dataclass(frozen=True)
class World:
    """Clients and their data.

    Attributes:
        title: for people.
        data: the folder's name.
        options: of the run.
        reference: what the reference implementation reached in one trial on data of the same kind
            and size, by algorithm: a round, and the accuracy there.
        seeds: at most; None for as many as asked for.
    """

    title: str
    data: str
    options: Mapping[str, Any]
    reference: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    seeds: int | None = None


_DIRICHLET = {"partition": "dirichlet", "clients": 20, "alpha": 0.1, "rounds": 30}
WORLDS: Mapping[str, World] = {
    "har": World(
        "HAR, 30 persons, HtFE-sen-2",
        "har",
        {"rounds": 30},
        {"Local": (10, 0.4752), "FedProto": (10, 0.6026), "FedTGP": (10, 0.6327)},
    ),
    "cifar10-3000": World(
        "CIFAR-10, 3,000 images, Dirichlet 0.1, 20 clients, one architecture",
        "cifar10",
        {**_DIRICHLET, "samples": 3_000},
    ),
    "cifar10-3000-mixed": World(
        "CIFAR-10, 3,000 images, Dirichlet 0.1, 20 clients, four architectures",
        "cifar10",
        {**_DIRICHLET, "samples": 3_000, "models": "small-4"},
    ),
    "cifar10-12000": World(
        "CIFAR-10, 12,000 images, Dirichlet 0.1, 20 clients, one architecture",
        "cifar10",
        {**_DIRICHLET, "samples": 12_000},
        {"Local": (30, 0.786), "FedTGP": (30, 0.757), "FedKTL, gan-face": (30, 0.757)},
        seeds=1,
    ),
}
DOCUMENT = facts.ROOT / "docs" / "exchange.md"
MILESTONES = (1, 5, 10, 20, 30)
Runs = Mapping[str, Sequence[Summary]]
"""An entry's runs, a seed each."""


def main(
    data: Annotated[
        Path | None, typer.Option(help="The folder of har and cifar10; else $EDGELOOP_DATA.")
    ] = None,
    worlds: Annotated[str, typer.Option(help="Of those in this file.")] = ",".join(WORLDS),
    seeds: Annotated[int, typer.Option(min=1, help="How many: 0, 1, ...")] = 3,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time. [default: one a core]")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("runs/exchange"),
) -> None:
    """Run what is missing, then write benchmarks/results/exchange.md and the docs' table."""
    names = worlds.split(",")
    for name in names:
        if name not in WORLDS:
            raise ConfigError("worlds", f"there is no {name!r}", f"use {', '.join(WORLDS)}")
    source = data or facts.data()
    found = {name: runs_of(name, source, seeds, workers, out) for name in names}
    text = "\n".join(section(WORLDS[name], runs) for name, runs in found.items())
    content = {
        "machine": facts.machine(),
        "seeds": seeds,
        "accuracy_by_round": {
            name: {
                entry: [run["accuracy_by_round"] for run in each] for entry, each in runs.items()
            }
            for name, runs in found.items()
        },
    }
    facts.write("exchange", content, text)
    facts.embed(DOCUMENT, "exchange", text)
    panels = {WORLDS[name].title: _accuracies(runs) for name, runs in found.items()}
    files.write(facts.ROOT / "docs" / "images" / "exchange.png", curves(panels))


def runs_of(
    name: str, source: Path, seeds: int, workers: int | None, out: Path
) -> dict[str, list[Summary]]:
    """Return the summaries of a world's runs by entry, a seed each."""
    seeds = min(seeds, WORLDS[name].seeds or seeds)
    jobs = {
        (entry, seed): Job(settings(name, entry, seed, source), out / name / slug(entry, seed))
        for seed in range(seeds)
        for entry in ENTRIES
    }
    with screen.progress(name, len(jobs)) as report:
        finished: list[Any] = []

        def done(key: tuple[str, int], summary: Summary) -> None:
            finished.append(key)
            report(len(finished), f"{key[0]}, seed {key[1]}: {summary['final_accuracy']:.4f}")

        found = run_all(jobs, workers, done)
    return {entry: [found[entry, seed] for seed in range(seeds)] for entry in ENTRIES}


def settings(name: str, entry: str, seed: int, source: Path) -> RunSettings:
    """Return one run's settings."""
    world = WORLDS[name]
    return RunSettings.model_validate(
        {
            "data": str(source / world.data),
            "seed": seed,
            "workers": 1,
            **world.options,
            **ENTRIES[entry],
        }
    )


def slug(entry: str, seed: int) -> str:
    """Return the name of a run's folder."""
    return f"{entry.lower().replace(', ', '-').replace(' ', '-')}-{seed}"


def section(world: World, runs: Runs) -> str:
    """Return a world's table in Markdown."""
    accuracies = _accuracies(runs)
    rounds = len(accuracies[ALONE][0]) - 1
    shown = [number for number in MILESTONES if number <= rounds]
    columns = [
        "algorithm",
        *(f"r{number}" for number in shown),
        "best",
        "last - Local",
        "ahead of Local in rounds",
        "reference",
    ]
    rows = [_row(entry, accuracies, shown, world) for entry in accuracies]
    seeds = len(accuracies[ALONE])
    trials = "one seed" if seeds == 1 else f"mean ± population std of {seeds} seeds"
    title = f"**{world.title}**, {rounds} rounds, {trials}"
    return f"{title}\n\n{facts.markdown(columns, rows)}"


def _accuracies(runs: Runs) -> dict[str, list[list[float]]]:
    return {entry: [run["accuracy_by_round"] for run in each] for entry, each in runs.items()}


def _row(
    entry: str, accuracies: Mapping[str, list[list[float]]], shown: Sequence[int], world: World
) -> list[str]:
    own_ST, alone_ST = accuracies[entry], accuracies[ALONE]
    gains_S = [own[-1] - alone[-1] for own, alone in zip(own_ST, alone_ST, strict=True)]
    reference = world.reference.get(entry)
    return [
        entry,
        *(_spread([own[number] for own in own_ST]) for number in shown),
        _spread([max(own) for own in own_ST]),
        "" if entry == ALONE else _spread(gains_S, "+.3f"),
        "" if entry == ALONE else spans(ahead(own_ST, alone_ST)),
        "" if reference is None else f"r{reference[0]} {reference[1]:.3f}",
    ]


def ahead(own_ST: Sequence[Sequence[float]], alone_ST: Sequence[Sequence[float]]) -> list[int]:
    """Return the rounds after training in which the seeds' mean is above Local's."""
    own_T, alone_T = (
        [statistics.fmean(each) for each in zip(*runs, strict=True)] for runs in (own_ST, alone_ST)
    )
    return [number for number in range(1, len(own_T)) if own_T[number] > alone_T[number]]


def spans(numbers: Sequence[int]) -> str:
    """Return ascending numbers with runs of neighbours written as first-last."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    words = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in found]
    return ", ".join(words) or "none"


def _spread(values_S: Sequence[float], form: str = ".3f") -> str:
    mean = format(statistics.fmean(values_S), form)
    return mean if len(values_S) == 1 else f"{mean} ± {statistics.pstdev(values_S):.3f}"


if __name__ == "__main__":
    raise SystemExit(facts.run(main, "exchange"))
