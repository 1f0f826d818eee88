"""Writes the report of a demo's folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from edgeloop import files, screen
from edgeloop.errors import RunError
from simulations.report.page import render
from simulations.report.reading import read_demo


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop report` with these arguments."""
    return screen.run(command, "report", arguments)


def command(
    folder: Annotated[Path, typer.Argument(help="That `edgeloop demo` wrote.")],
    out: Annotated[Path | None, typer.Option(help="FOLDER/report.html if not given.")] = None,
) -> None:
    """Write a report of a finished demo: one HTML file, for any browser, without a network."""
    screen.say(f"report: {write(folder, out)}")


def write(folder: Path, out: Path | None = None) -> Path:
    """Write the report of a demo's folder; return where it is.

    Args:
        folder: the demo's.
        out: the file; report.html in the folder if not given.

    Raises:
        RunError: if the folder is no finished demo's, a file in it is damaged, or the report cannot
            be written.
    """
    path = out or folder / "report.html"
    page = render(read_demo(folder))
    try:
        files.write(path, page.encode())
    except OSError as error:
        problem = f"cannot be written ({error.strerror})"
        raise RunError(str(path), problem, "name another file with --out") from error
    return path
