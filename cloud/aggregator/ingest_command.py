"""Takes a task's uploads for its aggregator, as one of several processes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cloud.aggregator.ingest import ingest
from cloud.aggregator.settings import TaskSettings
from edgeloop.cli import console
from edgeloop.runtime import config as config_files
from edgeloop.runtime import logs


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop ingest` with these arguments."""
    return console.run(take, "ingest", arguments)


def take(
    config: Annotated[
        Path, typer.Option(help="The task's TOML file, with shared in its [ingest] table.")
    ],
    log_format: console.LogFormat = "plain",
) -> None:
    """Receive a task's uploads for its aggregator until the run is finished."""
    logs.configure(log_format)
    task = config_files.read(config, TaskSettings)
    logs.add_context(task=task.name)
    ingest(task)
