"""What a device must not forget: its model and its last answer, in one file, written atomically.

    state.safetensors     of the run it takes part in
    broadcast.frame       the last one, so that it need not be fetched again
    previous/RUN/         what the last runs before led to: their states, models and summaries

A state has a checksum, and the names of its device and task; those of before 0.1.1 have neither.
"""

import json
import logging
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from edge.agent import state as state_file
from edge.agent.state import ANSWER as ANSWER
from edge.agent.state import BEFORE, SECURE, DamagedError
from edge.agent.state import WEIGHTS as WEIGHTS
from edge.agent.state import AgentState as AgentState
from edge.agent.state import Tensors as Tensors
from edgeloop.errors import RunError
from edgeloop.protocol import wire
from edgeloop.runtime import atomic_files, checked_tensors

log = logging.getLogger(__name__)

STATE, MODEL, SUMMARY = "state.safetensors", "model.onnx", "summary.json"
NEW = "model-{run}.onnx"
"""Where a run's model is that is not in use; see `edge.agent.deployment_gate`."""
PREVIOUS = "previous"
KEPT_RUNS = 2
"""Runs before that are kept."""


class AgentStore:
    """One device's memory, in a file that is always whole: a crash leaves the old one or the new.

    Args:
        folder: the device's own; made if it is not there.
        device: its name.
        task: that it takes part in.

    Raises:
        RunError: if the folder cannot be written, or is another device's.
    """

    def __init__(self, folder: Path, device: str, task: str) -> None:
        self.path = folder / STATE
        self._folder = folder
        self._names = {"device": device, "task": task}
        self._broadcast = folder / "broadcast.frame"
        self._run: str | None = None  # of the state, where this has read or written it
        with atomic_files.writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        owner = device_of_folder(folder)
        if owner not in (None, device):
            problem = f"holds the state of another device, {owner}"
            raise RunError(f"folder {folder}", problem, f"give {device} a folder of its own")

    def load(self, run: str) -> AgentState | None:
        """Return what is remembered of this run, be it the last one or one of those before.

        A damaged state is set aside, and nothing is remembered.

        Raises:
            RunError: if a file cannot be read.
        """
        for path in (self.path, self._place(run) / STATE):
            found = self._read_state(path)
            if path == self.path:
                self._run = None if found is None else str(found[0]["run"])
            if found is not None and found[0]["run"] == run:
                return state_file.parse(*found)
        return None

    def keep_broadcast(self, payload: bytes) -> None:
        """Keep a broadcast's frame, so that it need not be fetched after a restart."""
        with atomic_files.writing(self._folder):
            atomic_files.write(self._broadcast, payload)

    def kept_broadcast(self) -> bytes | None:
        """Return the broadcast's frame that was kept, if there is one that can be read."""
        try:
            return self._broadcast.read_bytes()
        except OSError:
            return None

    def save(self, state: AgentState) -> None:
        """Remember; it is safe when this returns. The run before's state is kept beside it."""
        facts = {
            **self._names,
            "run": state.run,
            "round": state.round,
            "accuracies": dict(state.accuracies),
            "traffic": dict(state.traffic),
            **({"evaluated": True} if state.evaluated else {}),
        }
        text = json.dumps(facts)
        tensors = {WEIGHTS + name: array for name, array in state.weights.items()}
        tensors |= {BEFORE + name: array for name, array in state.before.items()}
        tensors |= {SECURE + name: array for name, array in state.secure.items()}
        tensors[ANSWER] = np.frombuffer(state.answer, np.uint8)
        metadata = {"facts": text, "sha256": state_file.digest(text, tensors)}
        content = checked_tensors.in_order(save(tensors, metadata))
        with atomic_files.writing(self._folder):
            self._archive_state(state.run)
            atomic_files.write(self.path, content, mode=0o600 if state.secure else 0o666)
        self._run = state.run

    def archive_previous_run(self, run: str) -> None:
        """Keep the model and the summary of the run before, of which a new one's take the places.

        The model stays in use as well, until a new one is.

        Args:
            run: the new one.
        """
        summary = self._folder / SUMMARY
        try:
            before = _run_of(summary)
        except DamagedError as error:
            self._set_aside(summary, error)
            return
        if before in (None, run):
            return
        self.keep_previous_model(run)
        with atomic_files.writing(self._folder):
            for name in (SUMMARY, NEW.format(run=before)):
                self._archive_file(self._folder / name, str(before))

    def keep_previous_model(self, run: str) -> None:
        """Keep a copy of the model of the run before, which stays in use until there is another.

        Args:
            run: the new one.
        """
        try:
            before = _run_of(self._folder / SUMMARY)
        except DamagedError:
            return
        model = self._folder / MODEL
        if before in (None, run) or not model.exists() or (self._place(before) / MODEL).exists():
            return
        with atomic_files.writing(self._folder):
            aside = self._folder / f".{MODEL}.kept.new"
            shutil.copyfile(model, aside)
            atomic_files.sync(aside)
            self._archive_file(aside, before, MODEL)

    def _archive_state(self, run: str) -> None:
        """Set the state of another run aside."""
        if self._run == run or not self.path.exists():
            return
        found = self._read_state(self.path)
        if found is not None and found[0]["run"] != run:
            before = str(found[0]["run"])
            self._archive_file(self.path, before)
            log.info("the state of run %s is kept in %s", before, self._place(before))

    def _archive_file(self, path: Path, run: str, name: str = "") -> None:
        """Move a file of a run to those before, of which only the last ones stay."""
        place = self._place(run)
        place.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.replace(place / (name or path.name))
            place.touch()
            atomic_files.sync(place)
        ages = sorted(place.parent.iterdir(), key=lambda each: each.stat().st_mtime_ns)
        for old in ages[:-KEPT_RUNS]:
            shutil.rmtree(old, ignore_errors=True)

    def _place(self, run: str) -> Path:
        return self._folder / PREVIOUS / run

    def _read_state(self, path: Path) -> tuple[Mapping[str, Any], Tensors] | None:
        """Return a state's facts and tensors; None if there is none, or it is damaged."""
        try:
            return state_file.read(path) if path.exists() else None
        except DamagedError as error:
            self._set_aside(path, error)
            return None

    def _set_aside(self, path: Path, error: DamagedError) -> None:
        aside = _aside(path)
        with atomic_files.writing(self._folder):
            path.replace(aside)
        afresh = "; starting afresh" if path.name == STATE else ""
        log.error("%s is damaged (%s): moved to %s%s", path, error, aside.name, afresh)


def device_of_folder(folder: Path) -> str | None:
    """Return whose state a folder holds; None where there is none, or it does not say.

    Raises:
        RunError: if the file cannot be read.
    """
    path = folder / STATE
    with suppress(DamagedError, wire.WireError):
        if path.exists():
            facts, tensors = state_file.read(path)
            known = facts.get("device")
            return str(known or wire.envelope_of(tensors[ANSWER].tobytes()).sender)
    return None


def _aside(path: Path) -> Path:
    """Return the first name for a damaged file that is free."""
    number = 1
    while (found := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return found


def _run_of(summary: Path) -> str | None:
    """Return which run a summary is of; None where there is none.

    Raises:
        DamagedError: if it does not say.
    """
    try:
        found = atomic_files.read_json(summary)["run"]
    except OSError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(str(error).partition("\n")[0]) from error
    if not isinstance(found, str) or not wire.NAME.fullmatch(found):
        raise DamagedError(f"its run is {found!r}")
    return found
