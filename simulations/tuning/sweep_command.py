"""Runs every setting of a grid, or those that a search asks for, and ranks them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from edgeloop.cli import console
from edgeloop.runtime import config
from simulations.results.seed_statistics import describe_values
from simulations.tuning.search import run_search
from simulations.tuning.sweep import Sweep, Tried, run_grid

SHOWN = 20
"""Settings on the screen; the files have all."""


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop sweep` with these arguments."""
    return console.run(command, "sweep", arguments)


def command(
    file: Annotated[Path, typer.Argument(help="TOML file with tables run, and grid or search.")],
    out: Annotated[
        Path | None, typer.Option(help="Output folder of the sweep. [default: runs/sweep-FILE]")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster that the runs are on: host:port, auto, or local to start one here."
        ),
    ] = None,
) -> None:
    """Sweep over settings of a run; run the same command again to continue after a stop."""
    sweep = config.read(file, Sweep)
    folder = out or Path("runs") / f"sweep-{file.stem}"
    count = len(sweep.candidates) if sweep.grid else sweep.trials
    with console.progress(f"sweep {file.stem}", count * sweep.seeds) as report:
        finished: list[str] = []

        def done(name: str, score: float) -> None:
            finished.append(name)
            report(len(finished), f"{name}: {score:.4f}")

        found = (run_grid if sweep.grid else run_search)(sweep, folder, done, cluster)
    _show(sweep, found, folder)


def _show(sweep: Sweep, found: Sequence[Tried], folder: Path) -> None:
    keys = [*sweep.grid, *sweep.search]
    rows = []
    for each in found[:SHOWN]:
        scores = describe_values(each.scores)
        spread = "" if scores["std"] is None else f"{scores['std']:.4f}"
        changes = (str(each.changes.get(key, "")) for key in keys)
        rows.append((*changes, f"{scores['mean']:.4f}", spread))
    samples = "test samples" if sweep.share is None else "held-out training samples"
    console.table(f"{len(found)} settings, on {samples}", (*keys, "accuracy", "std"), rows)
    if sweep.share is None:
        console.say(
            "the best of several on test samples is optimistic: held_out compares on others"
        )
    console.say(f"results: {folder}")
