"""`edgeloop agent init`: looks at the data, asks what is not known, and writes a device's file."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.agent import architectures
from edge.agent.settings import DeviceSettings
from edge.device.describing import are_recordings, describe, describe_windows
from edge.device.recordings import Asked, look
from edgeloop.cli import console
from edgeloop.data.sensor_windows import KINDS
from edgeloop.errors import ConfigError, RunError
from edgeloop.runtime import atomic_files
from edgeloop.runtime import config as config_files

FILE = Path("device.toml")
_PATHS = ("folder", "enrolment", "ca_file", "password_file")

HEAD = """\
# A device of edgeloop, as `edgeloop agent init` wrote it. Every key: docs/configuration.md.
# Look whether all is well: edgeloop agent doctor --config {file}
# Take part:                 edgeloop agent --config {file}
"""

COMMENTS = {
    "name": "this device, unique in its task",
    "task": "name of the task to join",
    "folder": "for the device's state, model.onnx and summary.json",
    "stay": "true: after a run wait for the task's next run",
    "enrolment": "folder that edgeloop enroll wrote: the broker's address and the certificates",
    "broker.host": "host of the MQTT 5 broker",
    "broker.port": "1883 is usual without TLS, 8883 with it",
    "broker.username": "user name at the broker",
    "broker.password_file": "file whose first line is the password",
    "broker.ca_file": "authority that signed the broker's certificate; with it, TLS",
    "data.source": "a folder of photos, one subfolder for each class; or as in docs/data.md",
    "data.image_size": "side length in pixels; the task's own if not given",
    "data.windows.columns": "columns of the recordings: the input's channels, in this order",
    "data.windows.rate": "steps per second",
    "data.windows.window": "seconds of a window; the same for all devices of a task",
    "data.windows.stride": "seconds from the start of one window to the start of the next",
    "data.windows.label": "column of the labels; the name of the file's folder if not given",
    "training.architecture": "edgeloop models lists them",
    "training.device": "torch device to train on",
    "training.threads": "number of threads, or auto for a short measurement",
}
"""What is said behind a key."""


def init(  # noqa: PLR0913 - an option each
    name: Annotated[str | None, typer.Option(help="Name of the device.")] = None,
    task: Annotated[str | None, typer.Option(help="Name of the task to join.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Folder or file with the device's samples.")
    ] = None,
    enrolment: Annotated[
        Path | None, typer.Option(help="Folder that edgeloop enroll wrote.")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address of the broker, for a device that does not enrol.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port of the broker. [default: 1883, or 8883 with TLS]")
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(help="Certificate of the authority that signed the broker's, PEM."),
    ] = None,
    username: Annotated[str | None, typer.Option(help="User name at the broker.")] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="File whose first line is the broker's password.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Folder for the device's state. [default: NAME]")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Columns of the sensors, with commas between them.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Steps per second of the recordings.")
    ] = None,
    window: Annotated[
        float | None, typer.Option(min=0.001, help="Seconds of a window of a recording.")
    ] = None,
    stride: Annotated[
        float | None, typer.Option(min=0.001, help="Seconds from one window to the next.")
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(help="Column with the labels of a recording's steps.")
    ] = None,
    architecture: Annotated[str, typer.Option(help="Architecture of the device's model.")] = "",
    group: Annotated[
        str,
        typer.Option(
            help="Model group of the task; the largest model that trains in time is chosen."
        ),
    ] = "",
    seconds_a_round: Annotated[
        float,
        typer.Option(min=0.001, help="Seconds that training may take in a round, for --group."),
    ] = 60.0,
    config: Annotated[Path, typer.Option(help="Path of the file to write.")] = FILE,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Inspect the data, ask for what is missing, and write the device's file."""
    if config.exists() and not force:
        raise RunError(str(config), "is there already", "name another --config, or give --force")
    if architecture:
        architectures.check(architecture)
    told = _enrolled(enrolment)
    wanted = {
        "task": _given("--task", task or told.get("task"), "The task to join"),
        "name": _given("--name", name or told.get("name"), "Name of this device"),
    }
    source = _given("--data", data, "Where its samples are (a folder or a file)")
    names = None if columns is None else tuple(each.strip() for each in columns.split(","))
    windows = _windows(source, Asked(names, rate, window, stride, label_column))
    brought = describe_windows(source, windows) if windows else describe(source)
    for line in brought.lines:
        console.say(line)
    broker: dict[str, Any] = {}
    if enrolment is None:
        address = _given("--host", host, "The broker's host, or --enrolment FOLDER")
        known = {"username": username, "password_file": password_file, "ca_file": ca_file}
        broker = _broker(address, port, known)
    model = architecture or brought.choose(group, seconds_a_round)
    table: dict[str, Any] = {
        **wanted,
        "folder": str(folder or Path(wanted["name"])),
        "stay": True,
        **({} if enrolment is None else {"enrolment": str(enrolment)}),
        **({"broker": broker} if broker else {}),
        "data": {"source": source, **({"windows": windows} if windows else {})},
        "training": {"architecture": model, "device": "cpu", "threads": "auto"},
    }
    _write(config, _placed(table, config))
    console.say(
        f"wrote {config}; look whether all is well: edgeloop agent doctor --config {config}"
    )


def _windows(source: str, asked: Asked) -> dict[str, Any]:
    """Return the `[data.windows]` table of recordings, saying what they are; empty for others."""
    if not (asked.is_any or are_recordings(source)):
        return {}
    found = look(Path(source), asked)
    if found is None:
        remedy = f"name a folder with {', '.join(KINDS)} files, or leave out the window options"
        raise ConfigError("--data", f"{source} has no recording", remedy)
    for line in found.lines:
        console.say(line)
    given = None if found.rate is None else f"{found.rate:.6g}"
    text = _given("--rate", given, "Steps per second of the recordings")
    try:
        rate = float(text)
    except ValueError as error:
        raise ConfigError("--rate", f"{text!r} is no number", "give steps per second") from error
    return found.windows(rate, asked)


def _broker(host: str, port: int | None, known: Mapping[str, object]) -> dict[str, Any]:
    """Return the `[broker]` table: its usual port, where none is given, and what else is known."""
    usual = 1883 if known["ca_file"] is None else 8883
    given = {key: str(value) for key, value in known.items() if value is not None}
    return {"host": host, "port": usual if port is None else port, **given}


def _enrolled(folder: Path | None) -> Mapping[str, str]:
    """Return the task and the name that a device has enrolled for."""
    if folder is None:
        return {}
    from edge.agent import enrolment

    facts = enrolment.read(folder)
    return {"task": facts.task, "name": facts.name}


def _given(option: str, value: str | None, question: str) -> str:
    """Return an option's value; asked for on a terminal, where it is not given.

    Raises:
        ConfigError: naming the option, where there is nobody to ask.
    """
    if value:
        return value
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError(option, "is missing, and there is no terminal to ask on", "give it")
    return str(typer.prompt(question))


def _placed(table: Mapping[str, Any], config: Path) -> dict[str, Any]:
    """Return a table for a file that is not where the command runs: its paths are whole.

    A service runs where its file is, and a person may run it anywhere.
    """
    if config.resolve().parent == Path.cwd().resolve():
        return dict(table)
    placed: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            placed[key] = _placed(value, config)
        elif key in _PATHS or (key == "source" and Path(value).exists()):
            placed[key] = str(Path(value).absolute())
        else:
            placed[key] = value
    return placed


def _write(path: Path, table: Mapping[str, Any]) -> None:
    """Check a device's table, and write it with comments.

    Raises:
        ConfigError: if a value is wrong.
        RunError: if the file cannot be written.
    """
    config_files.parse(dict(table), DeviceSettings, str(path))
    text = HEAD.format(file=path) + "\n" + "\n".join(_lines(table)) + "\n"
    try:
        content = text.encode()
    except UnicodeEncodeError as error:
        name = text[error.start - 1 : error.end].strip()
        problem = f"a name is no text in UTF-8 ({name!r}), as a TOML file has to be"
        raise ConfigError(str(path), problem, "rename the file or folder") from error
    with atomic_files.writing(path.absolute().parent):
        atomic_files.write(path, content, 0o644)
    config_files.read(path, DeviceSettings)


def _lines(table: Mapping[str, Any], within: str = "") -> list[str]:
    lines = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines += ["", f"[{within}{key}]", *_lines(value, f"{within}{key}.")]
        else:
            comment = COMMENTS.get(within + key)
            lines.append(
                f"{key} = {_toml(value)}".ljust(34) + (f"  # {comment}" if comment else "")
            )
    return lines


def _toml(value: str | float | bool | list[str]) -> str:
    """Return a value as TOML has it: JSON's, but for one character that TOML wants escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
