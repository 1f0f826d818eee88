"""What a device must not forget: its model and its last answer, in one file, written atomically.

    state.safetensors     of the run it takes part in
    broadcast.frame       the last one, so that it need not be fetched again
    previous/RUN/         what the last runs before led to: their states, models and summaries

A state has a checksum, and the names of its device and task; those of before 0.1.1 have neither.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from edgeloop.errors import RunError
from edgeloop.protocol import history, wire
from edgeloop.protocol.task import Name
from edgeloop.runtime import atomic_files

log = logging.getLogger(__name__)

STATE, MODEL, SUMMARY = "state.safetensors", "model.onnx", "summary.json"
NEW = "model-{run}.onnx"
"""Where a run's model is that is not in use; see `edge.agent.deployment_gate`."""
PREVIOUS = "previous"
KEPT_RUNS = 2
"""Runs before that are kept."""

ANSWER = "answer"
WEIGHTS, BEFORE = "weights/", "before/"
Tensors = Mapping[str, npt.NDArray[Any]]


class _Facts(BaseModel):
    """What a state tells beside its tensors."""

    model_config = ConfigDict(strict=True)

    run: Name
    round: Annotated[int, Field(ge=0, le=wire.MAX_FRAME)]
    device: Name | None = None
    task: Name | None = None
    evaluated: bool = False
    accuracies: Mapping[str, Annotated[float, Field(ge=0, le=1)] | None] = {}
    traffic: Mapping[str, Mapping[Literal["down", "up"], Annotated[int, Field(ge=0)]]] = {}


class DamagedError(Exception):
    """A state that is cut short, or has other bytes than were written."""


@dataclass(frozen=True)
class AgentState:
    """Where a device stands in a run.

    Attributes:
        run: the run's identity.
        round: the last round it has answered.
        answer: the answer's frame, to be sent again when it is asked again.
        weights: its model's, after that round.
        accuracies: its accuracy in each round it took part in, by round; None without test samples.
        traffic: bytes "down" and "up" of each of those rounds, by round; of an answer that is yet
            to be sent, those of its frame.
        evaluated: whether `round` was no round, but the run's last evaluation.
        before: the model's weights before that evaluation; empty without one.
    """

    run: str
    round: int
    answer: bytes
    weights: Tensors = field(default_factory=dict)
    accuracies: Mapping[str, float | None] = field(default_factory=dict)
    traffic: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    evaluated: bool = False
    before: Tensors = field(default_factory=dict)

    def continued(self, rounds: int) -> "AgentState":
        """Return the state with which a run goes on that has so many rounds now.

        If it had fewer before, that is the one before its last evaluation: with that number the run
        has a round now.
        """
        if not self.evaluated or self.round >= rounds:
            return self
        number = str(self.round)
        return replace(
            self,
            round=self.round - 1,
            answer=b"",
            weights=self.before,
            accuracies={key: each for key, each in self.accuracies.items() if key != number},
            traffic={key: each for key, each in self.traffic.items() if key != number},
            evaluated=False,
            before={},
        )

    def trained_before(self, number: int) -> str:
        """Return the rounds before another that it took part in, as an answer tells them."""
        return history.written(each for each in map(int, self.accuracies) if each < number)


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
                return _parse_state(*found)
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
        tensors[ANSWER] = np.frombuffer(state.answer, np.uint8)
        content = save(tensors, {"facts": text, "sha256": _digest(text, tensors)})
        with atomic_files.writing(self._folder):
            self._archive_state(state.run)
            atomic_files.write(self.path, content)
        self._run = state.run

    def archive_previous_run(self, run: str) -> None:
        """Keep the model and the summary of the run before, of which a new one's take the places.

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
        with atomic_files.writing(self._folder):
            for name in (MODEL, SUMMARY, NEW.format(run=before)):
                self._archive_file(self._folder / name, str(before))

    def _archive_state(self, run: str) -> None:
        """Set the state of another run aside."""
        if self._run == run or not self.path.exists():
            return
        found = self._read_state(self.path)
        if found is not None and found[0]["run"] != run:
            before = str(found[0]["run"])
            self._archive_file(self.path, before)
            log.info("the state of run %s is kept in %s", before, self._place(before))

    def _archive_file(self, path: Path, run: str) -> None:
        """Move a file of a run to those before, of which only the last ones stay."""
        place = self._place(run)
        place.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.replace(place / path.name)
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
            return _read(path) if path.exists() else None
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
            facts, tensors = _read(path)
            known = facts.get("device")
            return str(known or wire.envelope_of(tensors[ANSWER].tobytes()).sender)
    return None


def _read(path: Path) -> tuple[Mapping[str, Any], Tensors]:
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata()
            facts = atomic_files.parse_json(metadata["facts"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
        _Facts.model_validate(facts)
        if tensors[ANSWER].dtype != np.uint8:
            raise DamagedError("it is no state")
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error})"
        raise RunError(str(path), problem, "fix its rights, or the disk") from error
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise DamagedError(str(error).partition("\n")[0]) from error
    if ("device" in facts or "sha256" in metadata) and metadata.get("sha256") != _digest(
        metadata["facts"], tensors
    ):
        raise DamagedError("its checksum is another")
    return facts, tensors


def _digest(facts: str, tensors: Tensors) -> str:
    """Return the SHA-256 of all that a state says."""
    digest = hashlib.sha256(facts.encode())
    for name, array in sorted(tensors.items()):
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


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


def _parse_state(facts: Mapping[str, Any], tensors: Tensors) -> AgentState:
    weights, before = (
        {name.removeprefix(at): array for name, array in tensors.items() if name.startswith(at)}
        for at in (WEIGHTS, BEFORE)
    )
    answer = tensors[ANSWER].tobytes()
    return AgentState(
        run=facts["run"],
        round=facts["round"],
        answer=answer,
        weights=weights,
        accuracies=facts.get("accuracies", {}),
        traffic=facts.get("traffic", {}),
        evaluated=facts.get("evaluated", False),
        before=before,
    )
