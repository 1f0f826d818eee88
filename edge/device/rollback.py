"""`edgeloop agent rollback`: has the device go back to the classifier that it had in use before."""

import time
from pathlib import Path
from typing import Annotated

import typer

from edge.agent.deployment import ASKED, Deployment, named
from edge.agent.folder import hold_folder
from edge.agent.settings import DeviceSettings
from edge.device.doctor import Name, check_place, read
from edgeloop.cli import console
from edgeloop.errors import ConfigError, TakenError
from edgeloop.runtime import atomic_files

BY_HAND = "`edgeloop agent rollback`"
LOOK_SECONDS = 0.2


def rollback(
    config: Annotated[Path, typer.Option(help="The device's TOML file.")],
    name: Name = None,
    wait: Annotated[
        float, typer.Option(min=0, max=86_400, help="Seconds to wait for a running agent.")
    ] = 15.0,
) -> None:
    """Restore the classifier that was in use before, also while the agent runs."""
    device = read(config, name)
    check_place(device, config)
    deployment = Deployment(device.folder)
    if deployment.usable_before() is None:
        problem = "has no classifier to go back to"
        raise ConfigError(f"folder {device.folder}", problem, "see `edgeloop agent status`")
    try:
        with hold_folder(device.folder), atomic_files.writing(device.folder):
            deployment.settle()
            deployment.roll_back(BY_HAND)
    except TakenError:
        if not _asked(device, wait):
            console.say("asked; the agent does it when it has finished what it is doing")
            return
    console.say(f"{named(deployment.record()['in_use'])} is in use")


def _asked(device: DeviceSettings, wait: float) -> bool:
    """Ask the agent at work, and tell whether it has done it in time."""
    asked = device.folder / ASKED
    with atomic_files.writing(device.folder):
        atomic_files.write(asked, b"")
    end = time.monotonic() + wait
    while asked.exists() and time.monotonic() < end:
        time.sleep(LOOK_SECONDS)
    return not asked.exists()
