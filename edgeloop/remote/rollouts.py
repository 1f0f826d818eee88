"""What a server says of roll-outs, and what it is asked to roll out."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edgeloop.protocol.admission import Pattern
from edgeloop.protocol.rollout import Kind
from edgeloop.protocol.task import DeviceName, Name
from edgeloop.remote.models import Number, Said

RolloutState = Literal["ready", "running", "paused", "succeeded", "stopped", "rolled back"]
GroupState = Literal["scheduled", "running", "succeeded", "failed"]
DeviceState = Literal["waiting", "fetching", "applied", "failed", "rolled back"]
RolloutVerb = Literal["pause", "resume", "stop", "rollback"]

SUCCESS, ERROR = 0.9, 0.1
MOST_GROUPS = 50

Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Label = Annotated[
    str, Field(max_length=253, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$")
]


class NewGroup(BaseModel):
    """A group of a roll-out to be: of the devices that no group before has, which it takes.

    Attributes:
        name: for people.
        devices: these; any if not given.
        pattern: whose names fit it, such as press-*; any if not given.
        labels: that have these labels, on Kubernetes; any if not given.
        share: of those that the other fields leave, so large a part, drawn by the roll-out's
            identity; all if not given.
        success: the share of the group that must have it before the next group begins.
        error: the share whose failures stop the roll-out; 0 for any failure.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(max_length=64, pattern=r"^[ -~]*$")] = ""
    devices: Annotated[tuple[DeviceName, ...], Field(max_length=1000)] = ()
    pattern: Pattern | None = None
    labels: dict[Label, Label] = Field(default_factory=dict, max_length=16)
    share: Share | None = None
    success: Share = SUCCESS
    error: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = ERROR


class NewRollout(BaseModel):
    """What to roll out, to whom, in which order.

    Attributes:
        name: for people.
        task: whose devices are meant.
        kind: a classifier (`model.onnx`), a base, or settings.
        sha256: of a file that the server was given before (`POST /files`); not for settings.
        settings: a table of what a device's file may be given from afar; for settings alone.
        groups: one after the other.
        roll_back_on_error: whether devices go back when it stops at an error threshold.
        begin: whether it begins at once; else `resume` begins it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[ -~]+$")]
    task: Name
    kind: Kind
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    settings: dict[str, Any] | None = None
    groups: Annotated[tuple[NewGroup, ...], Field(min_length=1, max_length=MOST_GROUPS)]
    roll_back_on_error: bool = False
    begin: bool = True

    @model_validator(mode="after")
    def _has_content(self) -> "NewRollout":
        if (self.kind == "settings") != (self.settings is not None):
            raise ValueError("settings are given for kind settings, and only for that")
        if (self.kind == "settings") == (self.sha256 is not None):
            raise ValueError("sha256 is given for a model or a base, and only for those")
        return self


class File(Said):
    """A file that a server was given.

    Attributes:
        sha256: its name from now on.
        size: bytes.
    """

    sha256: str
    size: Number


class RolloutGroup(Said):
    """A group of a roll-out.

    Attributes:
        number: from 0.
        name: for people.
        state: where it is.
        success: the share that must have it before the next group begins.
        error: the share whose failures stop the roll-out.
        devices: how many it has.
        waiting: that have not begun; those that are away are among them.
        fetching: on whose way it is.
        applied: that have it.
        failed: that could not use it.
        rolled_back: that had it, and went back.
    """

    number: Number
    name: str = ""
    state: GroupState
    success: float
    error: float
    devices: Number = 0
    waiting: Number = 0
    fetching: Number = 0
    applied: Number = 0
    failed: Number = 0
    rolled_back: Number = 0


class Rollout(Said):
    """A roll-out.

    Attributes:
        rollout: its identity.
        name: for people.
        task: whose devices are meant.
        kind: what is rolled out.
        sha256: of its file.
        size: of its file, in bytes.
        state: where it is.
        reason: why it is there; empty if there is nothing to say.
        roll_back_on_error: whether devices go back when it stops at an error threshold.
        actor: who has begun it.
        begun: when.
        changed: when its state changed last.
        groups: in their order.
    """

    rollout: str
    name: str
    task: str
    kind: Kind
    sha256: str
    size: Number
    state: RolloutState
    reason: str = ""
    roll_back_on_error: bool = False
    actor: str
    begun: datetime
    changed: datetime
    groups: tuple[RolloutGroup, ...] = ()


class RolloutDevice(Said):
    """A device of a roll-out.

    Attributes:
        device: its name.
        group: the number of its group.
        state: what it has made of its last order.
        action: what it was told last: "apply", "roll back"; empty for nothing.
        reason: why, such as why it refused.
        changed: when that was heard.
    """

    device: str
    group: Number
    state: DeviceState
    action: str = ""
    reason: str = ""
    changed: datetime
