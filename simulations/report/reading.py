"""Reads a demo's folder: what its aggregator, its devices and its run without others left there."""

import csv
import json
import math
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from edgeloop.errors import RunError
from edgeloop.mixing.wording import accuracy_in_use
from edgeloop.runtime import wording
from edgeloop.showing.rounds import damaged, read_round
from simulations.report.losses import TRAIN_LOSS
from simulations.report.report_data import Device, ReportData, Timing, Traffic

ByRound = list[float | None] | dict[int, float | None]
PHASES = {
    "training": "devices' training",
    "evaluating": "devices' evaluation",
    "aggregating": "server's aggregation",
    "wall": "whole run",
}


class _Written(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


class _FederatedRun(_Written):
    """What the aggregator's summary.json must hold; other plain values become facts."""

    task: str
    algorithm: str
    rounds: int
    accuracy_by_round: ByRound
    accuracy_by_device: dict[str, float | None] = Field(default_factory=dict)
    seconds_by_round: ByRound = Field(default_factory=list)
    train_loss_by_round: ByRound = Field(default_factory=list)
    measures_by_round: dict[str, ByRound] = Field(default_factory=dict)


class _Bytes(BaseModel):
    up: NonNegativeInt
    down: NonNegativeInt


class _Mix(_Written):
    mixed: float | None = None


class _Gate(_Written):
    keeps: str = ""


class _Device(_Written):
    architecture: str | None = None
    train_samples: int | None = None
    test_samples: int | None = None
    accuracy_by_round: ByRound = Field(default_factory=list)
    bytes_by_round: dict[int, _Bytes] = Field(default_factory=dict)
    onnx: str | None = ""
    mix: _Mix | None = None
    gate: _Gate | None = None


class _LocalRun(_Written):
    accuracy_by_round: ByRound = Field(default_factory=list)
    accuracy_by_client: dict[str, float] = Field(default_factory=dict)
    seconds: dict[str, float] = Field(default_factory=dict)
    config: dict[str, Any] = Field(default_factory=dict)


class _Task(_Written):
    class_names: tuple[str, ...] = ()
    shape: tuple[PositiveInt, ...] = ()


W = TypeVar("W", bound=_Written)


def read_demo(folder: Path, beside: Path | None = None) -> ReportData:
    """Read what a finished demo wrote; only the aggregator's summary must be there.

    Args:
        folder: the demo's, or that of one of its tasks.
        beside: the folder of the run alone; None for the one in `folder`.

    Clients of the run alone are the devices in the order of their names, as the demo makes them.

    Raises:
        RunError: if the folder is no finished demo's, or one of its files is damaged.
    """
    summary = folder / "aggregator" / "summary.json"
    if not summary.is_file():
        remedy = "give the folder that `edgeloop demo` named when it ended"
        raise RunError(
            str(folder), "is no finished demo's: it has no aggregator/summary.json", remedy
        )
    together = _read(summary, _FederatedRun)
    apart = beside or folder / "alone"
    alone = _read(apart / "summary.json", _LocalRun)
    task = _read(folder / "aggregator.toml", _Task, tomllib.loads)
    paths = sorted(folder.glob("device-*/summary.json"))
    devices = {path.parent.name: _read(path, _Device) for path in paths}
    history = sorted((folder / "aggregator" / "history").glob("round-*.safetensors"))
    return ReportData(
        title=f"{together.task}: {together.algorithm}, {together.rounds} rounds",
        class_names=task.class_names,
        shape=task.shape,
        alone=_by_round(alone.accuracy_by_round),
        federated=_by_round(together.accuracy_by_round),
        devices=_rows(together, devices, alone),
        history=tuple(read_round(path) for path in history),
        traffic={name: _traffic(device) for name, device in devices.items() if _traffic(device)},
        timings=_timings(together, alone, apart / "rounds.csv"),
        losses={
            TRAIN_LOSS: _by_round(together.train_loss_by_round),
            **{name: _by_round(each) for name, each in together.measures_by_round.items()},
        },
        facts=_facts(together, task, alone),
        more_facts=_also(folder, apart),
    )


def _also(folder: Path, beside: Path) -> tuple[str, ...]:
    """Return what the demo's class statistics tell, where they are within the folder."""
    place = folder / "statistics"
    if not (place / "aggregator" / "summary.json").is_file():
        return ()
    paid = read_demo(place, beside).verdict
    return () if paid is None else (f"Class statistics, one exchange: {paid}",)


def _read(path: Path, kind: type[W], parse: Callable[[str], Any] = json.loads) -> W:
    """Read a file; where there is none, every piece of it is missing."""
    if not path.exists():
        return kind.model_validate({})
    try:
        return kind.model_validate(parse(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise damaged(path, wording.first_problem(error.errors())) from error
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, str(error)) from error


def _by_round(values: ByRound) -> dict[int, float]:
    pairs = values.items() if isinstance(values, dict) else enumerate(values)
    return {number: value for number, value in sorted(pairs) if value is not None}


def _rows(
    together: _FederatedRun, devices: Mapping[str, _Device], alone: _LocalRun
) -> tuple[Device, ...]:
    names = sorted({*together.accuracy_by_device, *devices})
    clients = sorted(alone.accuracy_by_client)
    own = [alone.accuracy_by_client[client] for client in clients]
    alike = len(own) == len(names)  # else nobody knows which client is which device
    return tuple(
        _row(name, devices.get(name, _Device()), together, own[place] if alike else None)
        for place, name in enumerate(names)
    )


def _row(name: str, device: _Device, together: _FederatedRun, alone: float | None) -> Device:
    last = list(_by_round(device.accuracy_by_round).values())[-1:]
    network = together.accuracy_by_device.get(name, last[0] if last else None)
    samples = (device.train_samples, device.test_samples)
    mixed = accuracy_in_use(device.model_dump(include={"onnx", "mix", "gate"}))
    if mixed is None or mixed == network:
        return Device(name, device.architecture, *samples, alone, network)
    return Device(name, device.architecture, *samples, alone, mixed, network)


def _traffic(device: _Device) -> dict[int, Traffic]:
    return {
        number: Traffic(each.up, each.down)
        for number, each in sorted(device.bytes_by_round.items())
    }


def _timings(together: _FederatedRun, alone: _LocalRun, table: Path) -> tuple[Timing, ...]:
    rounds = _by_round(together.seconds_by_round)
    federated = [Timing("federated: whole round", rounds)] if rounds else []
    columns = _columns(table)
    parts = (
        Timing(f"alone: {PHASES.get(phase, phase)}", columns.get(phase, {}), total)
        for phase, total in alone.seconds.items()
    )
    return (*federated, *parts)


def _columns(table: Path) -> dict[str, dict[int, float]]:
    """Return the seconds by phase and round in a simulation's rounds.csv."""
    if not table.exists():
        return {}
    try:
        with table.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        names = {
            "wall": "seconds",
            **{name: f"seconds_{name}" for name in PHASES if name != "wall"},
        }
        return {
            phase: {int(row["round"]): _finite(row[column]) for row in rows}
            for phase, column in names.items()
        }
    except KeyError as error:
        raise damaged(table, f"it has no column {error}") from error
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise damaged(table, str(error)) from error


def _finite(text: str) -> float:
    """Read a number.

    Raises:
        ValueError: if it is none, or not finite.
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not finite")
    return value


def _facts(together: _FederatedRun, task: _Task, alone: _LocalRun) -> dict[str, str]:
    """Return all plain values that there are, the aggregator's before the task's file's."""
    first = {"algorithm": together.algorithm, "task": together.task, "rounds": together.rounds}
    versions = alone.config.get("versions", {})
    chosen = {
        **first,
        **_plain(together.model_extra or {}),
        **{name: value for name, value in _plain(task.model_extra or {}).items() if _is_fact(name)},
        **_plain({"version of": versions if isinstance(versions, dict) else {}}),
    }
    return {name.replace("_", " "): str(value) for name, value in chosen.items()}


def _is_fact(name: str) -> bool:
    known = ("variant", "seed", "generator", "width", "batch_size", "shuffle", "hyperparameters")
    return name.split(" ")[0] in known


def _plain(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the texts and numbers of a table and of the tables in it."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        if "_by_" in key:
            continue  # a table of its own, in another section
        if isinstance(value, dict):
            found |= _plain(value, f"{prefix}{key} ")
        elif isinstance(value, str | int | float):
            found[prefix + key] = value
    return found
