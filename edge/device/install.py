"""`edgeloop agent install` and `uninstall`: have systemd run an agent, and no longer."""

import os
import pwd
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from edge.agent.settings import DeviceSettings
from edge.device import systemd
from edge.device.doctor import Name, read
from edge.device.unit import STATE_ROOT, Service
from edgeloop.cli import console
from edgeloop.errors import ConfigError, InputError
from edgeloop.runtime import atomic_files

_MEMORY = re.compile(
    r"(?P<size>\d{1,20}|\d{1,9}\.\d{1,9}(?=[KMGTPE]))(?P<unit>[KMGTPE]?)", re.ASCII
)
_SHARE = re.compile(r"(?P<percent>\d{1,7}(\.\d{1,2})?)%", re.ASCII)
"""As systemd reads them (systemd.syntax, systemd.resource-control)."""

LEAST_MEMORY, MOST_MEMORY = 2**20, 15 * 2**60
"""Bytes: a smaller limit is a slip, such as 512 for 512M; systemd counts no further than to 16E."""

UNITS = Path("etc/systemd/system")
"""Where an administrator's units are, below the root."""

Config = Annotated[Path, typer.Option(help="The device's TOML file.")]
Root = Annotated[Path, typer.Option(help="Root of the file system, when preparing a disk image.")]


def install(  # noqa: PLR0913 - an option each
    config: Config,
    name: Name = None,
    user: Annotated[
        str,
        typer.Option(
            help="User that the agent runs as. [default: the file's owner; nobody if that is root]"
        ),
    ] = "",
    memory: Annotated[
        str, typer.Option(help="Memory limit, such as 512M.", metavar="SIZE")
    ] = "75%",
    cpu: Annotated[
        str,
        typer.Option(
            help="CPU limit, in percent of one core. [default: 90% of all cores]", metavar="PERCENT"
        ),
    ] = "",
    root: Root = Path("/"),
    print_only: Annotated[
        bool, typer.Option("--print", help="Print the unit without installing it.")
    ] = False,
) -> None:
    """Have systemd run the agent, from now on and at each start of the machine."""
    device = read(config, name)
    percent = f"{cpu}%" if cpu.replace(".", "", 1).isdecimal() else cpu
    service = describe(device, config.resolve(), user, memory, percent)
    service = replace(service, name=name)
    if print_only:
        console.say(service.text().rstrip())
        return
    if root == Path("/") and not systemd.is_running():
        remedy = "--print shows the unit; or give --root DIR"
        raise InputError("systemd", "does not run this machine", remedy)
    place = root / UNITS / service.unit
    with atomic_files.writing(place.parent):
        place.parent.mkdir(parents=True, exist_ok=True)
        atomic_files.write(place, service.text().encode(), 0o644)
    console.say(f"wrote {place}")
    if root == Path("/"):
        _start(service)


def _start(service: Service) -> None:
    """Make the folders that the unit names, and start it."""
    for folder in service.writable:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if service.user and folder.owner() != service.user:
            shutil.chown(folder, service.user)
    systemd.ask("systemctl", "daemon-reload")
    systemd.ask("systemctl", "enable", "--now", service.unit)
    console.say(f"{service.unit} runs; see edgeloop agent status {service.options}")


def describe(
    device: DeviceSettings, config: Path, user: str = "", memory: str = "75%", cpu: str = ""
) -> Service:
    """Return a device's agent as systemd is to run it.

    Raises:
        ConfigError: if nobody of that name is here, systemd's own user could not write the device's
            folder, or a limit is none, which systemd would ignore.
    """
    _check_limits(memory, cpu)
    who = user or _owner(config)
    base = config.parent
    writable = [base / device.folder]
    if device.enrolment is not None:
        writable.append(base / device.enrolment)
    if not who:
        _check_state(device.name, writable)
    places = tuple(Path(os.path.normpath(each)) for each in writable)
    return Service(
        device.name,
        device.task,
        Path(sys.argv[0]).absolute() if Path(sys.argv[0]).name == "edgeloop" else _command(),
        config,
        places,
        who,
        memory,
        cpu or f"{90 * (os.cpu_count() or 1)}%",
        device.training.device != "cpu" or device.data.source.startswith("/dev/"),
    )


def _check_limits(memory: str, cpu: str) -> None:
    remedy = "write it like 512M, 1.5G or 75%"
    if memory != "infinity" and not 0 < _percent(memory) <= 100:
        bytes_ = _bytes(memory)
        if not 0 < bytes_ <= MOST_MEMORY:
            raise ConfigError("--memory", f"{memory!r} is no limit that systemd knows", remedy)
        if bytes_ < LEAST_MEMORY:
            raise ConfigError("--memory", f"{memory!r} is less than 1 MiB", remedy)
    if cpu and not _percent(cpu) > 0:
        remedy = "write it like 50%, half of one core, or 150%"
        raise ConfigError("--cpu", f"{cpu!r} is no limit that systemd knows", remedy)


def _percent(limit: str) -> float:
    """Return what a share says; 0 if it is none."""
    found = _SHARE.fullmatch(limit)
    return 0.0 if found is None else float(found["percent"])


def _bytes(limit: str) -> float:
    """Return what a size says; 0 if it is none."""
    found = _MEMORY.fullmatch(limit)
    if found is None:
        return 0.0
    return float(found["size"]) * float(1024 ** " KMGTPE".index(found["unit"] or " "))


def _command() -> Path:
    return Path(sys.executable).with_name("edgeloop")


def _owner(config: Path) -> str:
    """Return who owns a file; empty for root, which no agent needs to be."""
    try:
        number = config.stat().st_uid
        return "" if number == 0 else pwd.getpwuid(number).pw_name
    except (OSError, KeyError) as error:
        problem = f"{config}: nobody knows whose it is ({error})"
        raise ConfigError("--user", problem, "give --user") from error


def _check_state(device: str, folders: list[Path]) -> None:
    state = STATE_ROOT / device
    for folder in folders:
        if state != folder and state not in folder.parents:
            problem = f"{folder} could not be written by the user that systemd makes"
            remedy = f'give --user, or let it be below "{state}"'
            raise ConfigError("folder", problem, remedy)


def uninstall(config: Config, name: Name = None, root: Root = Path("/")) -> None:
    """Have systemd run the agent no longer; its folder stays as it is."""
    device = read(config, name)
    unit = f"edgeloop-agent-{device.name}.service"
    place = root / UNITS / unit
    if not place.exists():
        raise InputError(str(place), "is not there", "nothing is to be done")
    if root == Path("/") and systemd.is_running():
        systemd.ask("systemctl", "disable", "--now", unit)
    place.unlink()
    if root == Path("/") and systemd.is_running():
        systemd.ask("systemctl", "daemon-reload")
    console.say(f"{unit} is gone; {device.folder} stays: remove it if its model is not wanted")
