"""What a server's API says, as types: the server answers with them, and the client reads them.

A client ignores fields that it does not know, so that it may be older than its server.
"""

from datetime import datetime
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

TaskState = Literal["Running", "Paused", "Cancelled", "Finished", "Away"]
Verb = Literal["start", "pause", "resume", "cancel"]
Number = Annotated[int, Field(ge=0)]
Rank = Literal["viewer", "operator", "admin"]

T = TypeVar("T")


class Said(BaseModel):
    """Something that a server says."""

    model_config = ConfigDict(frozen=True)


class Page(Said, Generic[T]):
    """A part of a list.

    Attributes:
        items: of this part.
        next: what to give as `after` for the part that follows; None with the last one.
    """

    items: tuple[T, ...]
    next: str | None = None


class Task(Said):
    """A task.

    Attributes:
        name: its name; in a cluster NAMESPACE.NAME.
        source: where it is run: "stack", "cluster" or "aggregator".
        state: what it is doing; "Away" while its aggregator should answer, and does not.
        algorithm: its name.
        run: the newest one's identity; empty before it is known.
        phase: what the aggregator says that it is doing.
        round: the open one, from 0.
        rounds: how many there are.
        accuracy: of the last evaluation.
        waits: why no round can continue now; empty if it can.
        devices: how many are known.
        online: how many of them are there.
        seen: when the server has heard of it last.
    """

    name: str
    source: str
    state: TaskState
    algorithm: str = ""
    run: str = ""
    phase: str = ""
    round: Number = 0
    rounds: Number = 0
    accuracy: float | None = None
    waits: str = ""
    devices: Number = 0
    online: Number = 0
    seen: datetime


class Run(Said):
    """One execution of a task.

    Attributes:
        run: its identity.
        task: whose it is.
        algorithm: its name.
        rounds: how many it has.
        begun: when the server heard of it first.
        finished: when the server heard that it has ended; None until then.
    """

    run: str
    task: str
    algorithm: str
    rounds: Number
    begun: datetime
    finished: datetime | None = None


class Round(Said):
    """A closed round.

    Attributes:
        number: from 0.
        participants: devices that answered.
        accuracy: weighted by test samples.
        seconds: from its opening to its closing.
        low: the 10th percentile of the devices' accuracies; None where it was not heard of.
        median: the 50th.
        high: the 90th.
        alone: the devices' accuracy when each trains alone; None where no such run is named.
        bytes_up: of the answers to it; None where it was not heard of.
        bytes_down: of its broadcast, once; every device that is asked fetches it.
        measures: the algorithm's own numbers, such as losses of the server; None where there are
            none, or it was not heard of.
    """

    number: Number
    participants: Number
    accuracy: float | None = None
    seconds: float
    low: float | None = None
    median: float | None = None
    high: float | None = None
    alone: float | None = None
    bytes_up: Number | None = None
    bytes_down: Number | None = None
    measures: dict[str, float] | None = None


class Device(Said):
    """A device in a task.

    Attributes:
        name: the device's.
        task: the task's.
        state: what it says that it is doing.
        round: of which round; None where that is not said.
        seconds: for how long it has done so.
        reason: why, such as why it waits or refused.
        version: of its edgeloop.
        answered: whether the open round has its answer; None where no round is open.
        accuracy: on its own test samples, in the last evaluation.
        received: bytes of its answers since the aggregator's start.
        last_answer: when the last one came that was taken.
        alone: the accuracy on the same samples of a model that it has trained alone; None where
            nobody says.
        evicted: whether it was sent away.
        seen: when the server has heard of it last.
    """

    name: str
    task: str
    state: str
    round: int | None = None
    seconds: float | None = None
    reason: str = ""
    version: str = ""
    answered: bool | None = None
    accuracy: float | None = None
    received: Number = 0
    last_answer: datetime | None = None
    alone: float | None = None
    evicted: bool = False
    seen: datetime


class Model(Said):
    """A file that a task has made: what all share, or a device's own network.

    Attributes:
        task: the task's.
        device: whose it is; empty for what all share.
        file: its name.
        size: bytes.
        sha256: of its content, hexadecimal.
        written: when.
    """

    task: str
    device: str = ""
    file: str
    size: Number
    sha256: str
    written: datetime


class Refusal(Said):
    """An answer that was not taken.

    Attributes:
        number: counts them.
        task: the task's.
        device: whose it was.
        round: the one that was open.
        verdict: what was found, a word.
        reason: the same in a sentence.
        at: when.
    """

    number: Number
    task: str
    device: str
    round: Number
    verdict: str
    reason: str
    at: datetime


class Knowledge(Said):
    """Of which rounds is kept what a task has exchanged.

    Attributes:
        rounds: their numbers, ascending; none where the task keeps no history.
        class_names: one a class, in the order of their numbers.
    """

    rounds: tuple[int, ...] = ()
    class_names: tuple[str, ...] = ()


class ClassKnowledge(Said):
    """A class in a round; distances are Euclidean, between prototypes.

    Attributes:
        label: the class's number.
        name: its name.
        count: prototypes of it that devices uploaded.
        spread: the mean distance of these to their mean.
        nearest: the name of the class whose mean is nearest; None where there is no other.
        margin: the distance to it.
        apart: whether the margin is more than twice the spread.
    """

    label: Number
    name: str
    count: Number
    spread: float
    nearest: str | None = None
    margin: float | None = None
    apart: bool


class RoundKnowledge(Said):
    """What a round has exchanged.

    Attributes:
        number: of the round.
        images: how many classes its broadcast has a generated image of; the first classes.
        classes: of which devices uploaded prototypes; none where there are none to be read.
    """

    number: Number
    images: Number = 0
    classes: tuple[ClassKnowledge, ...] = ()


class AuditEntry(Said):
    """An act, or a refusal to do one.

    Attributes:
        number: counts them.
        at: when.
        actor: who, with the address.
        act: what was asked: "pause", "evict" and the like.
        subject: of whom or what.
        outcome: whether it was done or refused.
        detail: why, or how.
    """

    number: Number
    at: datetime
    actor: str
    act: str
    subject: str
    outcome: Literal["done", "refused"]
    detail: str = ""


class Act(Said):
    """What came of an act.

    Attributes:
        done: whether it has its effect; if not, it has it when the aggregator is there again.
        state: of the task afterwards.
        detail: a sentence.
    """

    done: bool
    state: TaskState
    detail: str


class Caller(Said):
    """Who asks.

    Attributes:
        name: as the file of tokens has it.
        role: what they may do.
    """

    name: str
    role: Rank


class Problem(Said):
    """Why a request was not followed (RFC 9457).

    Attributes:
        type: "about:blank": `status` has the kind.
        title: the kind in words.
        status: of the answer.
        detail: what is wrong.
        field: of what.
        remedy: what to do.
    """

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    field: str = ""
    remedy: str = ""
