"""Runs a broker, a generator, aggregators and agents on this machine, and looks after them."""

import sys
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from cloud.stack import backup, reading
from cloud.stack.added import Newcomers
from cloud.stack.control import Control
from cloud.stack.folder_lock import hold_folder
from cloud.stack.layout import Layout
from cloud.stack.supervisor import STACK, Supervisor
from edgeloop.cli import console
from edgeloop.cli.stopping import STOPPED
from edgeloop.errors import TakenError
from edgeloop.runtime.logs import one_line
from edgeloop.runtime.ports import listens


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop up` with these arguments."""
    return console.run(up, "up", arguments)


def up(
    config: Annotated[
        Path, typer.Option(help="Path of the stack's TOML file; see docs/configuration.md.")
    ],
    check: Annotated[
        bool,
        typer.Option("--check", help="Read the file and list what would run, without starting it."),
    ] = False,
) -> None:
    """Run a stack until its tasks are done, or until Ctrl-C; a restart resumes it."""
    layout = reading.read(config)
    if check:
        for line in _describe(layout):
            console.say(line)
        return
    lines = OutputLines()
    settings = layout.settings
    with hold_folder(settings.folder, lambda text: lines.write(STACK, text)) as parts:
        _check_ports(layout, config)
        own = layout.own_authority()
        supervisor = Supervisor(
            layout.stages(),
            lines.write,
            restart_seconds=settings.restart_seconds,
            start_seconds=settings.start_seconds,
            stop_seconds=settings.stop_seconds,
            held=(parts,),
            control=Control(settings.folder),
            further=Newcomers(layout, own, lambda text: lines.write(STACK, text)).parts,
        )
        with nullcontext() if own is None else own.kept():
            done = supervisor.run()
    if not done:
        console.note(STOPPED)


def back_up(arguments: Sequence[str]) -> int:
    """Run `edgeloop backup` with these arguments."""
    return console.run(backup_command, "backup", arguments)


def backup_command(
    folder: Annotated[
        Path, typer.Argument(help="Folder for the copy; it must not exist.", metavar="FOLDER")
    ],
    config: Annotated[
        Path, typer.Option(help="Path of the stack's TOML file, the same as for `edgeloop up`.")
    ],
) -> None:
    """Copy what a stack must not lose into a new folder, while the stack runs."""
    layout = reading.read(config)
    backup.make(layout, config, folder, console.note)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    console.say(f"{folder}: {size / 1e6:.1f} MB, the devices first and then the ledgers")


class OutputLines:
    """Writes whole lines to standard output, from any thread, each with its part's name."""

    def __init__(self) -> None:
        self._writing = threading.Lock()

    def write(self, name: str, line: str) -> None:
        """Write a line of a part's; a broker's has what clients call themselves."""
        with self._writing:
            sys.stdout.write(f"{name} | {one_line(line)}\n")
            sys.stdout.flush()


def _describe(layout: Layout) -> list[str]:
    broker = layout.broker
    lines = [f"broker: {broker.run}, {broker.address}"]
    if layout.generator is not None:
        lines.append(f"generator: {layout.generator.source} as {layout.generator.reference}")
    lines += [
        f"aggregator: {service.name}, {service.checked.algorithm}" for service in layout.aggregators
    ]
    return lines + [f"agent: {service.name}" for service in layout.agents]


def _check_ports(layout: Layout, config: Path) -> None:
    """Refuse a port that somebody listens on: their answers would pass for our parts'."""
    for key, host, port in layout.ports():
        if listens(port, host):
            remedy = "stop what listens there, or choose another one"
            raise TakenError(f"{config}: {key}", f"{port} is in use", remedy)
