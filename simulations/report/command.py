"""Writes the report of simulated runs, or of a demo's folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from edgeloop.cli import console, options
from edgeloop.errors import ConfigError, RunError
from edgeloop.runtime import atomic_files
from edgeloop.runtime.config import Option, Settings, first_line
from simulations.report import aggregated, served, simulated
from simulations.report.page import render
from simulations.report.reading import read_demo
from simulations.results import groups, runs

NAME = "report.html"


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop report` with these arguments."""
    return console.run(command, "report", arguments)


class ReportSettings(Settings):
    """What a report is of, and where it goes."""

    places: Annotated[
        tuple[str, ...], Option(positional=True, name="PLACE", several=True, required=True)
    ]
    """Folders of finished runs, of a demo or of an aggregator; or the URL of an edgeloop server, or
    of one task's page there."""
    out: Path | None = None
    """Path of the report. [default: report.html in the folder, or here if there are several]"""
    beside: Path | None = None
    """Folder of a finished run of Local on the same data, to show beside an aggregator's task."""
    token_file: Annotated[Path | None, Option(environment="EDGELOOP_TOKEN_FILE")] = None
    """File whose first line is the server's token."""
    ca_file: Annotated[str | None, Option(environment="EDGELOOP_CA_FILE")] = None
    """Certificate of the authority that signed the server's, PEM."""


@options.of(ReportSettings, "report")
def command(settings: ReportSettings) -> None:
    """Write a report of finished runs or of a task: one HTML file that needs no network.

    Runs of the same settings with different seeds are one curve, with their spread.
    """
    places, out = settings.places, settings.out
    if served.is_url(places[0]) and len(places) == 1:
        file = settings.token_file
        token = None if file is None else first_line(file, "--token-file").strip()
        page = render(served.read_server(places[0], token, settings.ca_file))
        console.say(f"report: {_written(out or Path(NAME), page)}")
        return
    if any(map(served.is_url, places)):
        problem = "has a server's URL among others, and a report is of one server or task"
        raise ConfigError("PLACE", problem, "give that URL alone")
    folders = [Path(each) for each in places]
    if len(folders) == 1 and aggregated.is_one(folders[0]):
        page = render(aggregated.read_aggregator(folders[0], settings.beside))
        console.say(f"report: {_written(out or folders[0] / NAME, page)}")
        return
    if settings.beside is not None:
        raise ConfigError("--beside", "is for an aggregator's folder", "leave it out")
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
