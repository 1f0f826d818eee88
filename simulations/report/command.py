"""Writes the report of simulated runs, or of a demo's folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from edgeloop.cli import console
from edgeloop.errors import ConfigError, RunError
from edgeloop.runtime import atomic_files
from simulations.report import simulated
from simulations.report.page import render
from simulations.report.reading import read_demo
from simulations.results import groups, runs

NAME = "report.html"


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop report` with these arguments."""
    return console.run(command, "report", arguments)


def command(
    folders: Annotated[
        list[Path],
        typer.Argument(help="Finished runs, folders that hold some, or one that a demo wrote."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help=f"File of the report. [default: {NAME} in the folder, or here if several]"
        ),
    ] = None,
) -> None:
    """Write a report of finished runs: one HTML file, for any browser, without a network.

    Runs of the same settings with different seeds are one curve, with their spread.
    """
    console.say(f"report: {_report(folders, out)}")


def _report(folders: Sequence[Path], out: Path | None) -> Path:
    demos = [folder for folder in folders if (folder / "aggregator").is_dir()]
    if not demos:
        return write_runs(folders, out)
    if len(folders) > 1:
        problem = f"{demos[0]} is a demo's, and a demo has a report of its own"
        raise ConfigError("folders", problem, "give it alone")
    return write(folders[0], out)


def write(folder: Path, out: Path | None = None) -> Path:
    """Write the report of a demo's folder; return where it is.

    Args:
        folder: the demo's.
        out: the file; report.html in the folder if not given.

    Raises:
        RunError: if the folder is no finished demo's, a file in it is damaged, or the report cannot
            be written.
    """
    return _written(out or folder / NAME, render(read_demo(folder)))


def write_runs(folders: Sequence[Path], out: Path | None = None) -> Path:
    """Write the report of simulated runs; return where it is.

    Args:
        folders: of runs, or holding some.
        out: the file; if not given, report.html in the only folder, or in the working folder.

    Raises:
        ConfigError: if two runs have the same settings and seed.
        RunError: if a folder holds no finished run, a file in it is damaged, or the report cannot
            be written.
    """
    page = simulated.render(groups.group_runs(runs.with_companions(runs.find(folders))))
    return _written(out or (folders[0] / NAME if len(folders) == 1 else Path(NAME)), page)


def _written(path: Path, page: str) -> Path:
    try:
        atomic_files.write(path, page.encode())
    except OSError as error:
        problem = f"cannot be written ({error.strerror})"
        raise RunError(str(path), problem, "name another file with --out") from error
    return path
