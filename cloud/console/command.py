"""Serves one API and one page on all tasks: of a stack, of a cluster, of other aggregators."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cloud.console.service import serving
from cloud.console.settings import ServerSettings
from edgeloop.cli import console
from edgeloop.runtime import config as config_files
from edgeloop.runtime import logs


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop server` with these arguments."""
    return console.run(serve, "server", arguments)


def serve(
    config: Annotated[Path, typer.Option(help="The server's TOML file: see docs/console.md.")],
    log_format: console.LogFormat = "plain",
) -> None:
    """Serve the API and the page until it is stopped."""
    logs.configure(log_format)
    with console.serving(), serving(config_files.read(config, ServerSettings)):
        while True:
            time.sleep(3600.0)
