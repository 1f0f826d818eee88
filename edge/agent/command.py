"""Takes part in a task as one device: trains on its own data, ends with an ONNX classifier."""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from edge.agent import leaving, settings_from_afar
from edge.agent.folder import device_settings, hold_folder
from edge.agent.reloading import Reloading
from edge.agent.service import Agent, subscriptions
from edge.agent.settings import DeviceSettings
from edge.agent.supervised import Supervised
from edge.agent.task_session import load_context
from edgeloop.cli import console
from edgeloop.errors import EXIT_UNAVAILABLE
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.mqtt.leaving import ANSWER_SECONDS
from edgeloop.protocol.task import client_id, presence_topic
from edgeloop.protocol.wire import OWN_NOTES
from edgeloop.runtime import config as config_files
from edgeloop.runtime import logs, tracing

log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop agent` with these arguments, or a subcommand that they begin with."""
    if arguments and not arguments[0].startswith("-"):
        from edge.device import command  # what a running agent needs nothing of

        return command.main(arguments)
    return console.run(agent, "agent", arguments)


def agent(
    config: Annotated[
        Path, typer.Option(help="Path of the device's TOML file; see docs/configuration.md.")
    ],
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the device, instead of the file's; many devices can share a file."
        ),
    ] = None,
    leave: Annotated[
        bool,
        typer.Option(
            "--leave",
            help="Leave the task, and have everything that this device contributed removed.",
        ),
    ] = False,
    wait: Annotated[
        float,
        typer.Option(min=0, max=86_400, help="Seconds to wait for the aggregator, with --leave."),
    ] = ANSWER_SECONDS,
    log_format: console.LogFormat = "plain",
) -> None:
    """Take part in a task until its last round; a restart continues where it stopped.

    Subcommands: init writes the file, doctor finds what is wrong, install and uninstall set it up
    as a systemd service, status and logs show what it does, rollback restores the classifier that
    was in use before.
    """
    logs.configure(log_format)
    device = _read(config, name)
    logs.add_context(task=device.task, device=device.name)
    with hold_folder(device.folder):
        if leave:
            _leave(device, wait)
        else:
            leaving.check(device)
            _take_part(device, partial(_read, config, name))


def _read(config: Path, name: str | None) -> DeviceSettings:
    """Return a device's settings, by the name that one of many is given, and its enrolment."""
    device = config_files.read(config, DeviceSettings)
    if name is not None:
        table = {**device.model_dump(exclude_unset=True), "name": name}
        device = device_settings(config_files.parse(table, DeviceSettings, "--name"), name)
    return settings_from_afar.applied(_enrolled(device))


def _leave(device: DeviceSettings, wait: float) -> None:
    if leaving.leave(device, wait):
        console.say(f"{device.name} is taken out of {device.task}, and takes part no more")
        return
    text = "%s takes part no more; it is taken out of %s when its aggregator is there again"
    log.error(text, device.name, device.task)
    raise typer.Exit(EXIT_UNAVAILABLE)


def _take_part(device: DeviceSettings, read: Callable[[], DeviceSettings]) -> None:
    mine = load_context(device)
    reloading = Reloading(mine, read)
    connection = MqttConnection(
        device.broker,
        client_id(device.task, device.name),
        subscriptions(device.task),
        presence_topic(device.task, device.name),
        presence_notes=OWN_NOTES,
        retry_forever=True,
        persistent=False,  # what it missed while it was away the newest opening replaces
    )
    facts = {"task": device.task, "device": device.name}
    with (
        tracing.tracing_session(device.trace, "edgeloop-agent", **facts) as tracer,
        reloading.on_hangup(),
        Supervised(device.folder) as supervised,
        _renewal(device, connection),
        connection,
    ):
        participant = Agent(mine, connection, tracer, supervised, reloading)
        log.info("finished; see %s", participant.run())
        while mine.settings.stay:
            log.info("finished; see %s", participant.run())


def _enrolled(device: DeviceSettings) -> DeviceSettings:
    """Return a device's settings with what it was told when it enrolled, if it has."""
    if device.enrolment is None:
        return device
    from edge.agent import enrolment  # needs cryptography, which other devices do without

    return enrolment.completed(device, device.enrolment)


def _renewal(device: DeviceSettings, connection: MqttConnection) -> AbstractContextManager[object]:
    """Return what renews a device's certificate while it runs, if it has enrolled."""
    if device.enrolment is None:
        return nullcontext()
    from edge.agent.renewal import Renewal

    return Renewal(device.enrolment, connection.redial)
