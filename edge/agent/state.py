"""A device's state as one file: its model, its last answer, and what it says of itself."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open

from edgeloop.errors import RunError
from edgeloop.protocol import history, wire
from edgeloop.protocol.task import Name
from edgeloop.runtime import atomic_files

ANSWER = "answer"
WEIGHTS, BEFORE, SECURE = "weights/", "before/", "secure/"
Tensors = Mapping[str, npt.NDArray[Any]]


class Facts(BaseModel):
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
        secure: what the round's secure aggregation goes on with (`secure.exchange`); empty once its
            last step is answered, and where there is none.
    """

    run: str
    round: int
    answer: bytes
    weights: Tensors = field(default_factory=dict)
    accuracies: Mapping[str, float | None] = field(default_factory=dict)
    traffic: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    evaluated: bool = False
    before: Tensors = field(default_factory=dict)
    secure: Tensors = field(default_factory=dict)

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


def read(path: Path) -> tuple[Mapping[str, Any], Tensors]:
    """Return the facts and the tensors of a state's file.

    Raises:
        DamagedError: if it is no state, or not as it was written.
        RunError: if it cannot be read.
    """
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata()
            facts = atomic_files.parse_json(metadata["facts"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
        Facts.model_validate(facts)
        if tensors[ANSWER].dtype != np.uint8:
            raise DamagedError("it is no state")
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error})"
        raise RunError(str(path), problem, "fix its rights, or the disk") from error
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise DamagedError(str(error).partition("\n")[0]) from error
    if ("device" in facts or "sha256" in metadata) and metadata.get("sha256") != digest(
        metadata["facts"], tensors
    ):
        raise DamagedError("its checksum differs")
    return facts, tensors


def digest(facts: str, tensors: Tensors) -> str:
    """Return the SHA-256 of all that a state says."""
    digest = hashlib.sha256(facts.encode())
    for name, array in sorted(tensors.items()):
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def parse(facts: Mapping[str, Any], tensors: Tensors) -> AgentState:
    """Return the state that `read` has read."""
    weights, before, secure = (
        {name.removeprefix(at): array for name, array in tensors.items() if name.startswith(at)}
        for at in (WEIGHTS, BEFORE, SECURE)
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
        secure=secure,
    )
