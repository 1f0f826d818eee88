"""Runs one federated task over MQTT: gathers prototypes, sends global ones back."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cloud.aggregator import recording
from cloud.aggregator.forgetting import forget as taken_back
from cloud.aggregator.leaving import evict, leave
from cloud.aggregator.service import serve
from cloud.aggregator.settings import TaskSettings
from cloud.aggregator.trust import completed
from edgeloop.cli import console
from edgeloop.errors import EXIT_UNAVAILABLE
from edgeloop.protocol.gathering import TooFewUploadsError
from edgeloop.runtime import config as config_files
from edgeloop.runtime import logs

log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop aggregator` with these arguments."""
    return console.run(aggregator, "aggregator", arguments)


def aggregator(
    config: Annotated[
        Path, typer.Option(help="Path of the task's TOML file; see docs/configuration.md.")
    ],
    forget: Annotated[
        bool,
        typer.Option(
            "--forget", help="Delete what a stopped task left in the database and at the broker."
        ),
    ] = False,
    forget_device: Annotated[
        str | None,
        typer.Option(
            "--forget-device",
            metavar="NAME",
            help="Remove a device and all that it contributed, as if it had never taken part.",
        ),
    ] = None,
    evict_device: Annotated[
        str | None,
        typer.Option(
            "--evict",
            metavar="NAME",
            help="Exclude a device from now on; what it has contributed stays.",
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Record who took part in each round of a stopped task, for simulate --replay.",
        ),
    ] = None,
    log_format: console.LogFormat = "plain",
) -> None:
    """Run a task to its last round; a restart continues with the round that was open."""
    logs.configure(log_format)
    task = config_files.read(config, TaskSettings)
    logs.add_context(task=task.name)
    if forget:
        gone = taken_back(task)
        console.say(f"forgotten: {gone.runs} runs, {gone.messages} messages of {task.name}")
        return
    if forget_device is not None:
        _take_out(task, forget_device)
        return
    if evict_device is not None:
        _evict(task, evict_device)
        return
    if record is not None:
        console.say(f"{record}: {len(recording.export(task, record).rounds)} rounds of {task.name}")
        return
    try:
        serve(task)
    except TooFewUploadsError as error:
        log.critical("%s; started again, the task goes on with this round", error)
        raise typer.Exit(EXIT_UNAVAILABLE) from error


def _take_out(task: TaskSettings, device: str) -> None:
    if leave(completed(task), device):
        console.say(f"{device} is taken out of {task.name}")
        return
    log.error("%s will be taken out of %s when its aggregator can", device, task.name)
    raise typer.Exit(EXIT_UNAVAILABLE)


def _evict(task: TaskSettings, device: str) -> None:
    if evict(completed(task), device):
        console.say(f"{device} is evicted from {task.name}")
        return
    log.error("%s will be evicted from %s when its aggregator can", device, task.name)
    raise typer.Exit(EXIT_UNAVAILABLE)
