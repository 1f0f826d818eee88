"""Divides a data set among clients and writes a folder with each one's samples."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from edgeloop import data as library
from edgeloop.cli import console, options
from edgeloop.data import Federation
from edgeloop.errors import ConfigError
from edgeloop.runtime.config import Option
from simulations.settings import DataSettings


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop partition` with these arguments."""
    return console.run(partition_command, "partition", arguments)


@options.of(
    DataSettings,
    "partition",
    omit=("only_client", "shots"),
    changes={"partition": Option(required=True)},
)
def partition_command(
    settings: DataSettings,
    out: Annotated[Path, typer.Option(help="Output folder, new or empty.")],
) -> None:
    """Write each client's training and test samples to a folder that other commands read."""
    if not out.parent.is_dir():
        raise ConfigError("out", f"there is no folder {out.parent}", "make it first")
    federation = settings.federation()
    library.write(federation, out)
    columns = ("client", "train", "test", *federation.class_names)
    console.table(f"{len(federation)} clients of {settings.data}", columns, rows(federation))
    console.say(f"written: {out}")


def rows(federation: Federation) -> list[list[int]]:
    """Return a row a client: its number, its train and test samples, and its samples by class."""
    counts = federation.label_counts().tolist()
    pairs = zip(federation.sizes(), counts, strict=True)
    return [[client, *sizes, *labels] for client, (sizes, labels) in enumerate(pairs)]
