"""`edgeloop agent status` and `logs`: what the device says of itself, and what systemd says."""

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.agent import state as state_file
from edge.agent.deployment import Deployment, named
from edge.agent.settings import DeviceSettings
from edge.agent.state import DamagedError
from edge.agent.store import STATE, SUMMARY
from edge.agent.supervised import STATUS
from edge.device import machine, systemd
from edge.device.doctor import Name, check_place, read
from edgeloop.cli import console
from edgeloop.errors import InputError
from edgeloop.mixing.wording import accuracy_in_use, in_use
from edgeloop.mqtt import tls
from edgeloop.runtime import atomic_files

Config = Annotated[Path, typer.Option(help="The device's TOML file.")]


def status(
    config: Config,
    name: Name = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of text.")
    ] = False,
) -> None:
    """Show what the agent is doing, its results, and when its certificate is renewed."""
    device = read(config, name)
    check_place(device, config)
    found = facts(device)
    if as_json:
        console.say(json.dumps(found))
        return
    for key, value in found.items():
        if value is not None:
            console.say(f"{key.replace('_', ' '):<20}{value}")


def facts(device: DeviceSettings) -> dict[str, Any]:
    """Return what is known of an agent: JSON values, None for what is not."""
    said = _said(device.folder)
    working = machine.is_at_work(device.folder)
    return {
        "device": device.name,
        "task": device.task,
        "unit": _unit(device.name),
        "running": working,
        "state": said.get("state") if working else "stopped",
        "reason": (said.get("reason") or None) if working else None,
        "round": said.get("round"),
        "seconds": round(time.time() - said["since"]) if working and "since" in said else None,
        "version": said.get("version"),
        **_remembered(device.folder),
        **_model(device.folder),
        "renewal": _renewal(device),
    }


def _said(folder: Path) -> Mapping[str, Any]:
    with suppress(OSError, ValueError):
        return atomic_files.read_json(folder / STATUS)
    return {}


def _unit(name: str) -> str | None:
    if not systemd.is_running():
        return None
    try:
        asked = ("show", "--property=ActiveState", "--value", f"edgeloop-agent-{name}.service")
        return systemd.ask("systemctl", *asked).strip()
    except InputError as error:
        return error.problem


def _remembered(folder: Path) -> dict[str, Any]:
    """Return the last round that was answered, when, and its accuracy."""
    last: dict[str, Any] = {"answered_round": None, "answered": None, "accuracy": None}
    path = folder / STATE
    with suppress(OSError, ValueError, LookupError, DamagedError):
        about, _ = state_file.read(path)
        number = int(about["round"])
        last["answered_round"], last["answered"] = number, _time(path.stat().st_mtime)
        last["accuracy"] = about["accuracies"].get(str(number))
    return last


def _model(folder: Path) -> dict[str, Any]:
    """Return the model that is in place, and when it was made."""
    path = folder / "model.onnx"
    model: dict[str, Any] = {"model": None, "model_written": None}
    with suppress(OSError):
        model["model_written"], model["model"] = _time(path.stat().st_mtime), str(path)
    record = Deployment(folder).record()
    last = record.get("events", [])[-1:]
    return {
        **model,
        **_worth(folder, record),
        "model_of": named(record["in_use"]) if record.get("in_use") else None,
        "model_decision": _decision(last[0]) if last else None,
    }


def _worth(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the model of the last run's end is worth, if that is the one in use."""
    found: dict[str, Any] = {"model_accuracy": None, "model_choice": None}
    with suppress(OSError, ValueError, LookupError):
        summary = atomic_files.read_json(folder / SUMMARY)
        if record.get("in_use", {}).get("sha256") == summary["onnx_sha256"]:
            found["model_choice"] = in_use(summary) or None
            found["model_accuracy"] = accuracy_in_use(summary)
    return found


def _decision(event: Mapping[str, Any]) -> str:
    """Return what was decided last of the classifier in use."""
    why = f": {event['why']}" if event.get("why") else ""
    return f"{_time(event['at'])} {event['did']} {named(event)}{why}"


def _renewal(device: DeviceSettings) -> str | None:
    """Return when the certificate is renewed next: at half of its life."""
    if device.enrolment is None:
        return None
    with suppress(OSError):
        pem = (device.enrolment / "device.crt").read_text(encoding="ascii", errors="replace")
        dates = tls.validity(pem)
        return dates and tls.written(dates[0] + (dates[1] - dates[0]) / 2)
    return None


def _time(seconds: float) -> str:
    return tls.written(datetime.fromtimestamp(seconds, UTC))


def logs(
    config: Config,
    name: Name = None,
    lines: Annotated[int, typer.Option(min=1, help="Number of lines to show, the latest.")] = 100,
    follow: Annotated[
        bool, typer.Option("--follow", help="Keep showing new lines as they are logged.")
    ] = False,
) -> None:
    """Show the agent's log from the system journal."""
    device = read(config, name)
    if not systemd.is_running():
        problem = "does not run this machine, and keeps no journal"
        raise InputError("systemd", problem, "see where your supervisor writes standard error")
    words = ["--unit", f"edgeloop-agent-{device.name}.service", "--lines", str(lines)]
    if follow:
        os.execlp("journalctl", "journalctl", *words, "--follow")  # noqa: S606, S607 - becomes it
    console.say(systemd.ask("journalctl", *words, "--no-pager").rstrip())
