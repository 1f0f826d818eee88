"""What a device must not forget: its model and its last answer, in one file, written atomically."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from edgeloop import files
from edgeloop.errors import RunError

ANSWER = "answer"
WEIGHTS = "weights/"


@dataclass(frozen=True)
class Memory:
    """Where a device stands in a run.

    Attributes:
        run: the run's identity.
        round: the last round it has answered.
        answer: the answer's frame, to be sent again when it is asked again.
        weights: its model's, after that round.
        accuracies: its accuracy in each round it took part in, by round; None without test samples.
        traffic: bytes "down" and "up" of each of those rounds, by round; of an answer that is yet
            to be sent, those of its frame.
    """

    run: str
    round: int
    answer: bytes
    weights: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    accuracies: Mapping[str, float | None] = field(default_factory=dict)
    traffic: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


class Store:
    """One device's memory, in a file that is always whole: a crash leaves the old one or the new.

    Args:
        folder: the device's own; made if it is not there.

    Raises:
        RunError: if the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "state.safetensors"
        self._broadcast = folder / "broadcast.frame"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"folder {folder}", str(error), "name one that can be made") from error

    def load(self, run: str) -> Memory | None:
        """Return what is remembered of this run; another run's memory is none.

        Raises:
            RunError: if the file is damaged.
        """
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="np") as file:
                facts = json.loads(file.metadata()["facts"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise RunError(
                str(self.path), f"is damaged ({error})", "remove it: the device then starts anew"
            ) from error
        return _memory(facts, tensors) if facts["run"] == run else None

    def keep_broadcast(self, payload: bytes) -> None:
        """Keep a broadcast's frame, so that it need not be fetched after a restart."""
        files.write(self._broadcast, payload)

    def kept_broadcast(self) -> bytes | None:
        """Return the broadcast's frame that was kept, if there is one."""
        return self._broadcast.read_bytes() if self._broadcast.exists() else None

    def save(self, memory: Memory) -> None:
        """Remember; it is safe when this returns."""
        facts = {
            "run": memory.run,
            "round": memory.round,
            "accuracies": dict(memory.accuracies),
            "traffic": dict(memory.traffic),
        }
        tensors = {WEIGHTS + name: array for name, array in memory.weights.items()}
        tensors[ANSWER] = np.frombuffer(memory.answer, np.uint8)
        files.write(self.path, save(tensors, {"facts": json.dumps(facts)}))


def _memory(facts: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> Memory:
    weights = {
        name.removeprefix(WEIGHTS): array
        for name, array in tensors.items()
        if name.startswith(WEIGHTS)
    }
    answer = tensors[ANSWER].tobytes()
    return Memory(
        *(facts["run"], facts["round"], answer, weights, facts["accuracies"]),
        facts.get("traffic", {}),
    )
