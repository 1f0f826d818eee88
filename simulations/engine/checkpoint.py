"""What a killed run continues from: the server's state, every client's model, the rounds so far."""

import dataclasses
import json
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter

from edgeloop.algorithm import Algorithm
from edgeloop.errors import RunError
from edgeloop.protocol import wire
from edgeloop.protocol.task import SERVER
from edgeloop.protocol.wire import Envelope
from edgeloop.runtime import atomic_files
from edgeloop.server_loop import Held, RunState
from simulations.engine.cluster_cohort import ClusterCohort
from simulations.engine.run_cohort import SimulatedCohort
from simulations.results.measurements import Row

PREFIX = "checkpoint-"
SUMS = "sha256.json"
HELD = "held.json"
SHARE = 0.05
"""Of a run's time, what checkpoints may take."""


@dataclass(frozen=True)
class Checkpoint:
    """A run's standing after some round.

    Attributes:
        run_state: the server's.
        rows: the rounds so far.
        models: the folder of the clients' models, for a cohort's `restore`.
        held: uploads that count in later rounds.
    """

    run_state: RunState[Any, Any]
    rows: tuple[Row, ...]
    models: Path
    held: Held[Any] = field(default_factory=dict)


class CheckpointSchedule:
    """Says when the next checkpoint is worth its time: every round while that is cheap enough.

    Args:
        share: of the time, what checkpoints may take.
        clock: seconds.
    """

    def __init__(self, share: float = SHARE, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._clock = clock
        self._cost = 0.0
        self._last = clock()

    def due(self) -> bool:
        """Return whether the time since the last checkpoint is worth another."""
        return self._cost <= self._share * (self._clock() - self._last)

    def run(self, save: Callable[[], None]) -> None:
        """Make a checkpoint, and learn what it costs."""
        begun = self._clock()
        save()
        self._last = self._clock()
        self._cost = self._last - begun


def save(
    folder: Path,
    cohort: SimulatedCohort,
    run_state: RunState[Any, Any],
    rows: Sequence[Row],
    held: Held[Any] = MappingProxyType({}),
) -> None:
    """Write a checkpoint beside the last one, then remove that.

    Args:
        folder: of the run.
        cohort: its clients.
        run_state: the server's.
        rows: the rounds so far.
        held: uploads that count in later rounds.
    """
    final = folder / f"{PREFIX}{run_state.rounds}"
    building = folder / f".{final.name}.new"
    shutil.rmtree(building, ignore_errors=True)
    (building / "models").mkdir(parents=True)
    cohort.save(building / "models")
    envelope = Envelope("simulation", "simulation", run_state.rounds, SERVER)
    (building / "state.frame").write_bytes(wire.encode(envelope, run_state.state))
    (building / "broadcast.frame").write_bytes(wire.encode(envelope, run_state.broadcast))
    _save_held(building, held)
    text = json.dumps([dataclasses.asdict(row) for row in rows])
    (building / "rows.json").write_text(text, encoding="utf-8")
    atomic_files.write_json(building / SUMS, _sums(building))
    for path in (*building.rglob("*"), building):
        atomic_files.sync(path)
    shutil.rmtree(final, ignore_errors=True)
    building.replace(final)
    atomic_files.sync(folder)
    if isinstance(cohort, ClusterCohort):
        cohort.rebase(final / "models")
    remove(folder, but=final)


def _save_held(folder: Path, held: Held[Any]) -> None:
    """Write uploads that count in later rounds: which there are, and a frame for each."""
    if not held:
        return
    waiting = sorted(held)
    content = [{"client": name, "round": base} for name, base in waiting]
    atomic_files.write_json(folder / HELD, {"uploads": content})
    for number, (name, base) in enumerate(waiting):
        if (upload := held[name, base]) is not None:
            envelope = Envelope("simulation", "simulation", base, name)
            (folder / f"held-{number}.frame").write_bytes(wire.encode(envelope, upload))


def _held(folder: Path, algorithm: Algorithm[Any, Any, Any]) -> Held[Any]:
    """Read what `_save_held` wrote; a `WireError` is a ValueError."""
    if not (folder / HELD).exists():
        return {}
    found: dict[tuple[str, int], Any] = {}
    for number, each in enumerate(atomic_files.read_json(folder / HELD)["uploads"]):
        path, base = folder / f"held-{number}.frame", each["round"]
        is_there = path.exists()
        upload = _message(path, algorithm.upload, algorithm, base) if is_there else None
        found[each["client"], base] = upload
    return found


def remove(folder: Path, but: Path | None = None) -> None:
    """Remove all checkpoints, finished or not, but one."""
    for path in (*folder.glob(f"{PREFIX}*"), *folder.glob(f".{PREFIX}*")):
        if path != but and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)


def latest(folder: Path, algorithm: Algorithm[Any, Any, Any]) -> Checkpoint | None:
    """Return the newest checkpoint, if there is one.

    Raises:
        RunError: if it cannot be read.
    """
    named = {path.name[len(PREFIX) :]: path for path in folder.glob(f"{PREFIX}*")}
    numbers = [number for number in named if re.fullmatch("[0-9]{1,9}", number)]
    if not numbers:
        return None
    found = sorted((int(number), named[number]) for number in numbers)
    try:
        return _read(*found[-1], algorithm)
    except (AttributeError, LookupError, OSError, TypeError, ValueError) as error:
        raise RunError(
            str(found[-1][1]),
            f"cannot be read ({error})",
            "remove the run's folder: it then starts again",
        ) from error


def _read(number: int, path: Path, algorithm: Algorithm[Any, Any, Any]) -> Checkpoint:
    _check_sums(path)
    state = _message(path / "state.frame", algorithm.state, algorithm, number)
    broadcast = _message(path / "broadcast.frame", algorithm.broadcast, algorithm, number)
    text = (path / "rows.json").read_text(encoding="utf-8")
    rows = TypeAdapter(tuple[Row, ...]).validate_python(atomic_files.parse_json(text))
    if len(rows) != number:
        raise ValueError(f"it has {len(rows)} rounds, not {number}")
    held = _held(path, algorithm)
    return Checkpoint(RunState(number, state, broadcast), rows, path / "models", held)


def _sums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a checkpoint, by its path there."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != SUMS)
    return {str(path.relative_to(folder)): atomic_files.digest(path) for path in found}


def _check_sums(folder: Path) -> None:
    """Refuse a checkpoint of other bytes than were written; those of before 0.2.0 do not tell.

    Raises:
        ValueError: naming a file.
    """
    if (folder / SUMS).exists():
        noted, found = atomic_files.read_json(folder / SUMS), _sums(folder)
        for name in {**noted, **found}:
            if noted.get(name) != found.get(name):
                raise ValueError(f"{name} is not as it was written")


def _message(path: Path, kind: type, algorithm: Algorithm[Any, Any, Any], number: int) -> Any:
    """Decode a frame, however large; a `WireError` is a ValueError."""
    payload = path.read_bytes()
    frame = wire.decode(payload, kind, sizes=algorithm.sizes, limit=len(payload))
    if frame.envelope.round != number:
        raise ValueError(f"{path.name} is of round {frame.envelope.round}, not {number}")
    return frame[kind]
