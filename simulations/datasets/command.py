"""Lists the data sets of the papers, fetches them, and shows what a folder holds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from edgeloop import data as library
from edgeloop.cli import console, options
from edgeloop.data import catalogue, layouts
from edgeloop.errors import ConfigError, EdgeloopError
from edgeloop.runtime.config import Option
from edgeloop.runtime.plugins import SOURCES
from simulations.datasets import fetching, showing
from simulations.settings import DataSettings


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop data` with these arguments."""
    return console.run_many(
        {"list": list_data_sets, "layouts": list_layouts, "fetch": fetch, "show": show},
        "data",
        arguments,
        __doc__,
    )


def list_data_sets(
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Write Markdown: the table of docs/data.md.")
    ] = False,
) -> None:
    """List the data sets of the papers."""
    if as_markdown:
        console.say(showing.markdown(catalogue.CATALOGUE))
    else:
        rows = [showing.cells(entry) for entry in catalogue.CATALOGUE]
        console.table("data sets", showing.COLUMNS, rows)


def list_layouts() -> None:
    """List the layouts that data are read in, and the packages that read them."""
    rows = []
    for name, origin in layouts.origins().items():
        try:
            if name in SOURCES.names():
                layouts.of_others(name)
            rows.append((name, origin, ""))
        except EdgeloopError as error:
            rows.append((name, origin, str(error)))
    console.table("layouts", ("layout", "from", "problem"), rows)


def fetch(
    name: Annotated[str, typer.Argument(help="A name that `edgeloop data list` shows.")],
    into: Annotated[
        Path | None, typer.Option(help="Output folder, new or empty. [default: NAME]")
    ] = None,
) -> None:
    """Download a data set into a folder, for use with --data."""
    entry = catalogue.find(name)
    folder = fetching.fetch(entry, into or Path(entry.name), console.note)
    console.say(f"fetched: {folder}")
    console.say(f"look at it: edgeloop data show {folder}")


@options.of(
    DataSettings,
    "data show",
    omit=("only_client", "shots"),
    changes={"data": Option(positional=True, help="Data set: a folder or a file, as for --data.")},
)
def show(
    settings: DataSettings,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show what a data set holds, whole or divided; nothing is written."""
    source = settings.data
    if settings.partition is None and not library.is_divided(source):
        _check_undivided(settings)
        pool = library.read(source, settings.image_size, columns=settings.columns)
        layout = library.layout_of(source, settings.columns).layout
        showing.show_pool(source, layout, pool, as_json=as_json)
    else:
        showing.show_federation(source, settings.federation(), as_json=as_json)


def _check_undivided(settings: DataSettings) -> None:
    """Refuse what only a divided data set has."""
    for field in ("clients", "samples"):
        if getattr(settings, field) is not None:
            problem = "is of a partition, and none is asked for"
            raise ConfigError(field, problem, "give a --partition, or leave it out")
    if settings.layout != "files":
        problem = "'signal', but this source has no config.json with one file per client"
        raise ConfigError("layout", problem, "leave it out")
