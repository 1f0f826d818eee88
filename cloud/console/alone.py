"""What devices reach alone, of a run of Local that is named, and what devices here put into use.

While a task runs nobody trains alone: a round has that accuracy only where such a run is named.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, Field, ValidationError

from cloud.console.reported import Reported, ReportedDevice
from cloud.console.sources import Sighting
from edgeloop.mixing.wording import in_use

log = logging.getLogger(__name__)

SUMMARY = "summary.json"


class _Local(BaseModel):
    """As much of a simulated run's summary as is of use."""

    accuracy_by_round: list[float | None] = Field(default_factory=list)
    accuracy_by_client: dict[str, float] = Field(default_factory=dict)


class _Mix(BaseModel):
    alone: float | None = None
    together: float | None = None
    mixed: float | None = None
    weight: float | None = None
    why: str = ""
    test_samples: int = 0


class _Gate(BaseModel):
    keeps: str = ""
    old_run: str | None = None


class _Device(BaseModel):
    """As much of a device's summary."""

    run: str = ""
    epsilon: float | None = None
    onnx: str | None = ""
    mix: _Mix = _Mix()
    gate: _Gate | None = None


S = TypeVar("S", bound=BaseModel)


@dataclass
class AloneRuns:
    """Adds to what is reported of tasks what their devices reach alone.

    Attributes:
        folders: of finished runs of Local, by task.
    """

    folders: Mapping[str, Path]
    _read: dict[Path, tuple[int, BaseModel | None]] = field(default_factory=dict)

    def added(self, seen: Sighting) -> Sighting:
        """Return a sighting with it."""
        if seen.reported is None:
            return seen
        reported, folder = seen.reported, self.folders.get(seen.name)
        local = None if folder is None else self._summary(folder / SUMMARY, _Local)
        if local is not None:
            reported = _beside(reported, local)
        known = {name: self._summary(place / SUMMARY, _Device) for name, place in seen.agents}
        ended = {name: each for name, each in known.items() if each is not None}
        own = {name: each.mix.alone for name, each in ended.items()}
        reported = _with_uses(reported, ended)
        return replace(seen, reported=_with_devices(reported, own))

    def _summary(self, path: Path, kind: type[S]) -> S | None:
        """Return a summary as it is now; None if there is none that can be read."""
        try:
            stamp = path.stat().st_mtime_ns
        except OSError:
            return None
        held = self._read.get(path)
        if held is None or held[0] != stamp:
            held = self._read[path] = stamp, _parsed(path, kind)
        return held[1] if isinstance(held[1], kind) else None


def _parsed(path: Path, kind: type[S]) -> S | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        log.warning("%s is damaged, and is not shown: %s", path, str(error).splitlines()[0])
        return None


def _beside(reported: Reported, local: _Local) -> Reported:
    by_round = dict(enumerate(local.accuracy_by_round))
    history = tuple(
        each.model_copy(update={"alone": by_round.get(each.number)}) for each in reported.history
    )
    names = [each.name for each in reported.devices]
    return _with_devices(reported.model_copy(update={"history": history}), _by_name(names, local))


def _by_name(devices: list[str], local: _Local) -> Mapping[str, float]:
    """Return clients' accuracies by device: of the same names, or all in the names' order."""
    found = local.accuracy_by_client
    if set(found) & set(devices) or len(found) != len(devices):
        return found
    own = [found[client] for client in sorted(found)]
    return dict(zip(sorted(devices), own, strict=True))


def _with_uses(reported: Reported, ended: Mapping[str, _Device]) -> Reported:
    """Say what devices have put into use at this run's end, where they say nothing else.

    Not of one with a privacy budget: its own data have chosen it.
    """

    def with_it(device: ReportedDevice) -> ReportedDevice:
        summary = ended.get(device.name)
        if device.reason or summary is None or summary.run != reported.run:
            return device
        if summary.epsilon is not None:
            return device
        return device.model_copy(update={"reason": in_use(summary.model_dump())})

    return reported.model_copy(update={"devices": tuple(map(with_it, reported.devices))})


def _with_devices(reported: Reported, alone: Mapping[str, float | None]) -> Reported:
    def with_it(device: ReportedDevice) -> ReportedDevice:
        value = alone.get(device.name)
        return device if value is None else device.model_copy(update={"alone": value})

    return reported.model_copy(update={"devices": tuple(map(with_it, reported.devices))})
