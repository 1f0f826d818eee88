"""Divides a data set among clients and writes a folder with each one's samples."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from edgeloop import data as library
from edgeloop.cli import console
from edgeloop.data import Federation
from edgeloop.errors import ConfigError
from edgeloop.runtime import config
from simulations.settings import DataSettings


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop partition` with these arguments."""
    return console.run(partition_command, "partition", arguments)


def partition_command(  # noqa: PLR0913 - an option each
    data: Annotated[
        str, typer.Option(help="Data set: a folder, a parquet file, or fashion-sample.")
    ],
    partition: Annotated[
        str, typer.Option(help="Partition: iid, pathological, dirichlet, exdir, or natural.")
    ],
    out: Annotated[Path, typer.Option(help="Output folder, new or empty.")],
    layout: Annotated[
        str, typer.Option(help="Layout: files, or signal to undo interleaving.")
    ] = "files",
    alpha: Annotated[
        float, typer.Option(help="Concentration of dirichlet and exdir: smaller is more skewed.")
    ] = 0.1,
    classes_per_client: Annotated[
        int, typer.Option(help="Classes of each client, for pathological and exdir.")
    ] = 2,
    balanced: Annotated[
        bool, typer.Option("--balanced", help="Equal shares of a class, for iid and pathological.")
    ] = False,
    clients: Annotated[
        int | None,
        typer.Option(help="Number of clients. [default: 20, or the source's for natural]"),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(help="Number of samples to divide, drawn at random. [default: all]"),
    ] = None,
    partition_seed: Annotated[int, typer.Option(help="Seed of the data partition.")] = 1,
    image_size: Annotated[
        int | None, typer.Option(help="Side length, in pixels, to resize image files to.")
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(help="Column of the labels in a table. [default: by its name]")
    ] = None,
    image_column: Annotated[
        str | None, typer.Option(help="Column of the images or of their files, likewise.")
    ] = None,
    client_column: Annotated[
        str | None, typer.Option(help="Column of the natural clients, likewise.")
    ] = None,
) -> None:
    """Write each client's training and test samples to a folder that other commands read."""
    table = {name: value for name, value in locals().items() if name != "out"}
    if not out.parent.is_dir():
        raise ConfigError("out", f"there is no folder {out.parent}", "make it first")
    federation = config.parse(table, DataSettings, "partition").federation()
    library.write(federation, out)
    columns = ("client", "train", "test", *federation.class_names)
    console.table(f"{len(federation)} clients of {data}", columns, rows(federation))
    console.say(f"written: {out}")


def rows(federation: Federation) -> list[list[int]]:
    """Return a row a client: its number, its train and test samples, and its samples by class."""
    counts = federation.label_counts().tolist()
    pairs = zip(federation.sizes(), counts, strict=True)
    return [[client, *sizes, *labels] for client, (sizes, labels) in enumerate(pairs)]
