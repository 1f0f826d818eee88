"""A task as its devices see it: the contract that the aggregator publishes, and the topics.

edgeloop/v1/{task}/contract                   retained: the contract, JSON
edgeloop/v1/{task}/round                      retained: the open round, JSON
edgeloop/v1/{task}/broadcast/{slot}/{chunk}   retained: a broadcast, in chunks
edgeloop/v1/{task}/upload/{device}            a device's answers, in chunks
edgeloop/v1/{task}/receipt/{device}           what became of an answer, JSON: `protocol.receipt`;
                                              and the steps of secure aggregation, in chunks
edgeloop/v1/{task}/presence/{device}          retained: "online" or, by its last will, "offline";
                                              "left" by a device that asks to be taken out;
                                              "evicted" by the operator of the task

What is shipped to devices besides: `protocol.rollout`.
"""

import math
from collections.abc import Collection, Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from edgeloop.protocol import admission, wire
from edgeloop.protocol.growing import Growing
from edgeloop.protocol.robust_rules import RobustRule
from edgeloop.runtime.config import PrivacySettings

ROOT = "edgeloop/v1"
SERVER = "aggregator"
"""The sender's name on the broadcasts."""

LEFT = b"left"
"""Of a device's presence: take it out of the run that the note `run` names."""

EVICTED = b"evicted"
"""Of a device's presence: it takes no more part in the run that the note `run` names."""

FLOAT = 4  # bytes of a number on its way

SLOTS = 2
"""Places of broadcasts; more would only fill the broker."""


def _free(name: str) -> str:
    if name.casefold() in admission.RESERVED:
        raise ValueError(f"a device may not be called {name}: that is a service")
    return name


SMALL = 64 * 1024
"""Bytes that may be sent again each time that a round is announced; what is larger, rarely."""

_NAMES_LENGTH = 2048  # of the names in a reminder; where they are longer, everybody is meant


Name = Annotated[str, Field(pattern=f"^{wire.NAME.pattern}$")]
DeviceName = Annotated[Name, AfterValidator(_free)]
Size = Annotated[int, Field(ge=1, le=wire.MAX_FRAME)]
"""Of anything that travels, or that decides how much does: a frame holds it."""

Width = Annotated[int, Field(ge=1, le=8192)]
"""Of features: a square matrix of so many rows fits a frame."""

Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""What torch's generators take."""

Classes = Annotated[tuple[str, ...], Field(min_length=2, max_length=2**17)]
Shape = Annotated[tuple[Size, ...], Field(min_length=1, max_length=4)]
Scalar = bool | int | float | str


LEAST_IN_A_SUM, MOST_IN_A_SUM = 3, 1000
"""Devices: of fewer each could tell the other's numbers from the sum; of more the shares that each
sends to each are too many."""

WIDTH, BATCH_SIZE, VARIANT = 512, 10, "released"
"""What a task and a simulation have alike where nobody says."""


def check_message_sizes(class_names: Collection[str], shape: Collection[int], width: int) -> None:
    """Refuse a task whose messages fit no frame, before anything of their size is made.

    Raises:
        ValueError: naming what is too large.
    """
    if FLOAT * len(class_names) * width > wire.MAX_FRAME:
        raise ValueError(f"{len(class_names)} classes of width {width} are more than a frame holds")
    if math.prod(shape) > wire.MAX_FRAME:
        raise ValueError(f"shape {tuple(shape)} is more than a frame holds")


_AROUND = {"devices", "admit", "excluded", "robust", "signatures", "secure"}
"""Fields of a contract that are not about learning."""


class Contract(Growing):
    """What a device must know to take part.

    Attributes:
        schema_version: of this contract.
        task: the task's name.
        run: this run's identity; a device that holds another run's state starts again.
        algorithm: its name in `edgeloop.algorithms`.
        options: the algorithm's hyperparameters, without classes, width and seed.
        class_names: one a class, in the order of their numbers.
        shape: of one input, channels first.
        width: K, the unified feature width.
        rounds: how many there are.
        batch_size: samples a local training batch.
        seed: of the run.
        shuffle: train on a device's samples in a new order in each epoch.
        devices: who is listed, and has not been taken out since; nobody once all have left.
        privacy: how much noise is in what devices send; None for none.
        admit: patterns of the names of further devices, which join when they first show up.
        excluded: who takes no part, though a pattern admits the name.
        robust: the server's rule against forged uploads.
        signatures: whether answers must be signed by their devices' keys.
        secure: so many devices at least are in each sum, which is all that the aggregator learns of
            uploads (`edgeloop.secure`); 0 where they are sent singly.
    """

    schema_version: Literal[1] = 1
    task: Name
    run: Name
    algorithm: str
    options: Annotated[dict[str, Scalar], Field(default_factory=dict)]
    class_names: Classes
    shape: Shape
    width: Width = WIDTH
    rounds: Size
    batch_size: Size = BATCH_SIZE
    seed: Seed = 0
    shuffle: bool = False
    devices: tuple[Name, ...]
    privacy: PrivacySettings | None = None
    admit: Annotated[
        tuple[admission.Pattern, ...], Field(max_length=admission.MOST_PATTERNS), wire.Since(1)
    ] = ()
    excluded: Annotated[tuple[Name, ...], wire.Since(2)] = ()
    robust: Annotated[RobustRule, wire.Since(3)] = "none"
    signatures: Annotated[Literal["optional", "required"], wire.Since(4, needed=True)] = "optional"
    secure: Annotated[int, Field(ge=0, le=MOST_IN_A_SUM), wire.Since(5, needed=True)] = 0

    @model_validator(mode="after")
    def _fits(self) -> "Contract":
        check_message_sizes(self.class_names, self.shape, self.width)
        return self

    def admits(self, device: str) -> bool:
        """Return whether a device may take part."""
        if device in self.excluded:
            return False
        return device in self.devices or admission.may_join(device, self.admit)

    def without(self, gone: Collection[str]) -> "Contract":
        """Return the contract without devices that have left or were evicted."""
        devices = tuple(name for name in self.devices if name not in gone)
        excluded = tuple(sorted(n for n in gone if admission.may_join(n, self.admit)))
        return self.model_copy(update={"devices": devices, "excluded": excluded})

    def learned(self) -> str:
        """Return as JSON what decides what a device computes, in whichever form it was told.

        Without who takes part, and what becomes of answers: both may change while a run goes on.
        """
        return self.model_dump_json(exclude=_AROUND)

    def text(self, grown: bool = True) -> str:
        """Return the contract as JSON; without what is off and older devices do not know.

        Args:
            grown: False while a device may refuse fields that it does not know (0.1).
        """
        off = set() if self.shuffle else {"shuffle"}
        return self.to_json(grown, off)


class Opening(Growing):
    """What a device must know of the open round; only then does it fetch the broadcast.

    Attributes:
        run: the run's identity.
        round: its number; equal to the contract's `rounds` for the last evaluation.
        digest: `wire.fingerprint` of the broadcast: who has that need not fetch it.
        slot: where the broadcast is; the slots take turns, so that fetching the last one can end.
        size: of the broadcast's frame, in bytes.
        trace: where the round's trace begins (W3C's traceparent); empty without one.
        asked: who is to answer; empty for everybody.
    """

    run: Name
    round: Annotated[int, Field(ge=0, le=wire.MAX_FRAME)]
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    slot: Annotated[int, Field(ge=0, lt=SLOTS)]
    size: Size
    trace: Annotated[str, Field(max_length=wire.LONGEST_TRACE), wire.Since(1)] = ""
    asked: Annotated[tuple[Name, ...], wire.Since(2)] = ()

    def asks(self, device: str, notes: Mapping[str, str]) -> bool:
        """Return whether a device is to answer, by the opening or the notes that go with it."""
        names = self.asked or tuple(filter(None, notes.get("asked", "").split(",")))
        return not names or device in names

    def asking(self) -> Mapping[str, str]:
        """Return the notes that say who is to answer, where older devices refuse the field."""
        names = ",".join(self.asked)
        return {"asked": names} if 0 < len(names) <= _NAMES_LENGTH else {}

    def text(self, grown: bool = True) -> str:
        """Return the opening as JSON.

        Args:
            grown: False while a device may refuse fields that it does not know (0.1).
        """
        return self.to_json(grown)

    def same_round(self, other: "Opening | None") -> bool:
        """Return whether another one opens the same round with the same broadcast."""
        mine = self.model_dump(exclude={"trace"})
        return other is not None and other.model_dump(exclude={"trace"}) == mine


def reminder(missing: Collection[str]) -> Mapping[str, str]:
    """Return the notes of an opening that is announced again, for those who have not answered."""
    names = ",".join(sorted(missing))
    return {"again": "1", **({"missing": names} if len(names) <= _NAMES_LENGTH else {})}


def over() -> Mapping[str, str]:
    """Return the notes of the last opening once the run is over: no answer is waited for."""
    return {**reminder([]), "over": "1"}


def is_over(notes: Mapping[str, str]) -> bool:
    """Return whether a run is over, as the notes of an opening tell."""
    return notes.get("over") == "1"


def is_reminder(notes: Mapping[str, str]) -> bool:
    """Return whether an opening was announced before."""
    return "again" in notes


def is_addressed_to(notes: Mapping[str, str], device: str) -> bool:
    """Return whether a device has yet to answer, as far as the notes of an opening tell."""
    return "missing" not in notes or device in notes["missing"].split(",")


def leaver(contract: Contract, topic: str, payload: bytes, notes: Mapping[str, str]) -> str | None:
    """Return who asks by a message to be taken out of a run; None if nobody does."""
    device = topic.rpartition("/")[2]
    asks = topic == presence_topic(contract.task, device) and payload == LEFT
    meant = notes.get("run") == contract.run and contract.admits(device)
    return device if asks and meant else None


def is_eviction(contract: Contract, payload: bytes, notes: Mapping[str, str]) -> bool:
    """Return whether a message on a device's presence topic evicts it from this run."""
    return payload == EVICTED and notes.get("run") == contract.run


def client_id(task: str, name: str) -> str:
    """Return the MQTT client id of a device, or of the server; no other of any task has it."""
    return f"edgeloop.{task.replace('.', '%2E')}.{name.replace('.', '%2E')}"


def contract_topic(task: str) -> str:
    """Return where a task's contract is."""
    return f"{ROOT}/{task}/contract"


def round_topic(task: str) -> str:
    """Return where a task's open round is."""
    return f"{ROOT}/{task}/round"


def broadcast_topic(task: str, slot: int | str) -> str:
    """Return above which the chunks of a broadcast are; "+" for every slot."""
    return f"{ROOT}/{task}/broadcast/{slot}"


def upload_topic(task: str, device: str) -> str:
    """Return where a device's answers go; "+" for every device's."""
    return f"{ROOT}/{task}/upload/{device}"


def receipt_topic(task: str, device: str) -> str:
    """Return where a device hears what became of its answers."""
    return f"{ROOT}/{task}/receipt/{device}"


def presence_topic(task: str, device: str) -> str:
    """Return where a device says whether it is there; "+" for every device's."""
    return f"{ROOT}/{task}/presence/{device}"


def predict_topic(task: str, device: str) -> str:
    """Return where requests to a device's classifier go."""
    return f"{ROOT}/{task}/predict/{device}"


def predicted_topic(task: str, device: str) -> str:
    """Return above which a device's classifier may answer, at a broker with rights by name."""
    return f"{ROOT}/{task}/predicted/{device}"


def server_topic(task: str, device: str) -> str:
    """Return where a server of a device's classifier says whether it is there."""
    return f"{predicted_topic(task, device)}/server"
