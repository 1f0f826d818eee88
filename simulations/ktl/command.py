"""Compares one client alone with the same client and the cloud's generator, few samples a class."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from edgeloop.cli import console
from edgeloop.errors import ConfigError, choose
from edgeloop.runtime import atomic_files
from simulations.ktl.picture import picture
from simulations.ktl.rows import PAPER, ROWS
from simulations.ktl.study import CLIENTS, Study, run
from simulations.settings import parse_options, parse_workers

CLASSES = 100
"""Of the paper's data, CIFAR-100: its numbers are shown beside no other's."""


def ktl(  # noqa: PLR0913 - an option each
    data: Annotated[
        str, typer.Option(help="Data set: a parquet file, an image folder, or fashion-sample.")
    ],
    shots: Annotated[int, typer.Option(min=1, help="Training samples per class, on average.")] = 2,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of runs of each baseline. [default: 10, or as the data allows]",
        ),
    ] = None,
    client: Annotated[
        int | None,
        typer.Option(
            min=0, help="Number of the client in every run. [default: a different one in each]"
        ),
    ] = None,
    test_samples: Annotated[
        int | None,
        typer.Option(min=1, help="Test samples of all clients together. [default: 2000, or all]"),
    ] = None,
    own_test_samples: Annotated[
        bool,
        typer.Option(
            "--own-test-samples", help="Test on the client's own samples only, as the paper does."
        ),
    ] = False,
    baselines: Annotated[
        str, typer.Option(help="Baselines: local, etf-only, ktl, computed-base.")
    ] = "local,etf-only,ktl,computed-base",
    rounds: Annotated[int, typer.Option(min=1, help="Largest number of rounds.")] = 200,
    patience: Annotated[
        int, typer.Option(min=1, help="Early stopping: rounds without a new best accuracy.")
    ] = 80,
    model: Annotated[str, typer.Option(help="The client's architecture.")] = "cnn",
    generator: Annotated[
        str | None, typer.Option(help="Generator; see `edgeloop generator list`. [default: digits]")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A hyperparameter of fedktl: key=value.")
    ] = None,
    workers: Annotated[
        str, typer.Option(help="Number of parallel runs, or auto for one per core.")
    ] = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Output folder of the study. [default: runs/ktl-SHOTS-shot]")
    ] = None,
) -> None:
    """Run a single client alone, with the ETF classifier only, and with knowledge transfer."""
    names = tuple(name.strip() for name in baselines.split(","))
    for name in names:
        if name not in ROWS:
            raise ConfigError("baselines", f"there is no {name!r}", choose(name, ROWS))
    folder = out or Path("runs") / f"ktl-{shots}-shot"
    options = parse_options(set_ or [])
    study = Study(
        data=data,
        shots=shots,
        seeds=seeds,
        client=client,
        test_samples=_tested(test_samples, own_test_samples),
        baselines=names,
        rounds=rounds,
        patience=patience,
        model=model,
        generator=generator,
        options=options,
        folder=folder,
    )
    with console.progress("runs", (seeds or CLIENTS) * len(names)) as report:
        finished: list[str] = []

        def done(title: str, summary: Mapping[str, Any]) -> None:
            finished.append(title)
            report(len(finished), f"{title}: best {summary['best_accuracy']:.4f}")

        wanted = parse_workers(workers)
        summary = run(study, None if wanted == "auto" else wanted, done)
    paper = PAPER.get(shots, {}) if summary["classes"] == CLASSES else {}
    atomic_files.write(folder / "accuracy.png", picture(summary, paper))
    _show(summary, paper, folder)


def _tested(samples: int | None, own: bool) -> int | Literal["own"] | None:
    """Return which test samples are asked for.

    Raises:
        ConfigError: if two kinds are.
    """
    if own and samples is not None:
        problem = "asks for all clients' where --own-test-samples asks for one's"
        raise ConfigError("test-samples", problem, "leave one of them out")
    return "own" if own else samples


def _show(
    summary: Mapping[str, Any], paper: Mapping[str, tuple[float, float]], folder: Path
) -> None:
    samples = summary["samples"]
    title = f"{summary['shots']}-shot: {samples['train']} training, {samples['test']} test samples"
    title += f", {summary['seeds']} seeds"
    rows = [
        [name, _words(found), _words(summary["last_round"][name]), _published(paper.get(name))]
        for name, found in summary["baselines"].items()
    ]
    rows += [[name, _words(found), "", ""] for name, found in summary["differences"].items()]
    columns = ("baseline", "best round, % ± 95 %", "last round, % ± 95 %", "paper, % ± std")
    console.table(title, columns, rows)
    for note in summary["notes"]:
        console.say(note)
    console.say(f"results: {folder}")


def _words(found: Mapping[str, Any]) -> str:
    mean = f"{100 * found['mean']:.2f}"
    return mean if found["ci95"] is None else f"{mean} ± {100 * found['ci95']:.2f}"


def _published(numbers: tuple[float, float] | None) -> str:
    return "" if numbers is None else f"{numbers[0]:.2f} ± {numbers[1]:.2f}"
