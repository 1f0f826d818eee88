"""`edgeloop agent doctor`: looks for what keeps a device from taking part, and says what to do."""

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from edge.agent.authority_client import Place
from edge.agent.folder import LOCK, device_settings
from edge.agent.settings import DeviceSettings
from edge.device import looking, machine
from edge.device.clock import look_at_authoritys_clock
from edge.device.findings import Finding, exit_code, note, of_error
from edgeloop.cli import console
from edgeloop.data import DeviceData
from edgeloop.errors import ConfigError, EdgeloopError
from edgeloop.runtime import config as config_files
from edgeloop.runtime import modules

Name = Annotated[
    str | None, typer.Option(help="Name of the device, if the agent was started with it.")
]
"""One of many devices that share a file; each has a folder of its own."""


def doctor(
    config: Annotated[Path, typer.Option(help="The device's TOML file.")],
    name: Name = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the findings as one JSON object.")
    ] = False,
) -> None:
    """Look for what keeps a device from taking part; each finding has its remedy."""
    logging.disable(logging.CRITICAL)  # what is wrong is said once, as a finding
    try:
        found = list(examine(config, name))
    finally:
        logging.disable(logging.NOTSET)
    code = exit_code(found)
    if as_json:
        console.say(json.dumps({"exit_code": code, "findings": [each.facts() for each in found]}))
    else:
        for each in found:
            console.say(each.line())
    if code:
        raise typer.Exit(code)


def examine(config: Path, name: str | None = None) -> Iterator[Finding]:
    """Yield all that is found; what depends on something that is wrong is not looked at."""
    try:
        device = read(config, name)
        check_place(device, config)
    except EdgeloopError as problem:
        yield of_error("settings", problem)
        return
    yield from _machine(device)
    data_found, data = looking.look_at_data(device)
    yield data_found
    model = looking.look_at_architecture(device)
    if model.status == "error":
        yield model
    try:
        device = enrolled(device)
    except EdgeloopError as problem:
        yield of_error("enrolment", problem)
        return
    yield from _authoritys_clock(device)
    yield from looking.look_at_certificates(device)
    yield from _task(device, data, model)


def read(config: Path, name: str | None) -> DeviceSettings:
    """Return a device's settings, by the name that one of many is given.

    Raises:
        ConfigError: if the file cannot be used.
    """
    device = config_files.read(config, DeviceSettings)
    if name is None:
        return device
    table = {**device.model_dump(), "name": name}
    return device_settings(config_files.parse(table, DeviceSettings, "--name"), name)


def check_place(device: DeviceSettings, config: Path) -> None:
    """Refuse to look for a device's folder here, where it is beside its file: a service's is.

    Raises:
        ConfigError: naming where the command is to run, or as whom, if it may not look there.
    """
    beside, folder = config.absolute().parent, device.folder
    try:
        is_here = folder.exists()
        is_beside = not is_here and (beside / folder).is_dir()
        (folder / LOCK).exists()  # a look into it
    except OSError as error:
        remedy = "name a folder that can be read"
        if isinstance(error, PermissionError):
            remedy = "run it as root or as the service's user"
        problem = f"{folder} cannot be looked into ({error.strerror})"
        raise ConfigError("folder", problem, remedy) from error
    if is_beside:
        problem = f"{folder} is not in {Path.cwd()}, and is in {beside}"
        remedy = f"run the command there, as the service does, or write whole paths into {config}"
        raise ConfigError("folder", problem, remedy)


def enrolled(device: DeviceSettings) -> DeviceSettings:
    """Return a device's settings with what its enrolment's folder says.

    Raises:
        ConfigError: if that is another device's, or no such folder.
    """
    if device.enrolment is None:
        return device
    from edge.agent import enrolment  # needs cryptography, which other devices do without

    return enrolment.completed(device, device.enrolment)


def _authoritys_clock(device: DeviceSettings) -> Iterator[Finding]:
    if device.enrolment is None:
        return
    from edge.agent import enrolment  # needs cryptography, which other devices do without

    with suppress(EdgeloopError):  # what is wrong with its folder is said elsewhere
        yield look_at_authoritys_clock(Place.of(enrolment.read(device.enrolment).server))


def _machine(device: DeviceSettings) -> Iterator[Finding]:
    yield machine.look_at_clock()
    yield machine.look_at_memory()
    yield machine.look_at_torch(device.training.device)
    yield from machine.look_at_folder(device)


def _task(device: DeviceSettings, data: DeviceData | None, model: Finding) -> Iterator[Finding]:
    """Look at the broker and the task, unless an agent is connected in the device's name."""
    if machine.is_at_work(device.folder):
        found = "not looked at: an agent is at work, and a second connection would end its own"
        yield note("broker", found, "see edgeloop agent status, or stop it and look again")
        return
    found_at_broker, seen = looking.look_at_broker(device)
    yield from found_at_broker
    if any(each.status == "error" for each in found_at_broker):
        return
    of_task = list(looking.look_at_task(device, seen.contract, data))
    yield from of_task
    fine = all(each.status != "error" for each in (*of_task, model))
    if fine and seen.contract is not None and data is not None and modules.find("torch"):
        yield _measured(device, seen, data)


def _measured(device: DeviceSettings, seen: looking.TaskSeen, data: DeviceData) -> Finding:
    from edge.device.measuring import look_at_model  # needs torch

    contract = seen.contract
    assert contract is not None  # noqa: S101 - asked for by the caller
    samples = data.samples_for(contract.class_names, contract.shape).data.train
    threads = device.training.threads
    number = None if threads == "auto" else threads
    name = device.training.architecture
    return look_at_model(name, contract, seen.opening, len(samples), number)
