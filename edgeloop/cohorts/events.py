"""What a cohort across MQTT reports: a round that opens, what devices send, a round that ends."""

from collections.abc import Collection
from dataclasses import dataclass, field

from edgeloop.answers import Report
from edgeloop.protocol.gathering import Verdict
from edgeloop.runtime.tracing import Notes


class LeftError(Exception):
    """Devices take no more part: where the run stands must be published again, without them.

    Attributes:
        devices: names of those who have asked to be taken out, with all that they have given.
        evicted: names of those whom the operator has sent away; what they have given stays.
    """

    def __init__(self, devices: Collection[str], evicted: Collection[str] = ()) -> None:
        super().__init__(", ".join(sorted({*devices, *evicted})))
        self.devices, self.evicted = frozenset(devices), frozenset(evicted)


@dataclass(frozen=True)
class RoundOpened:
    """A round was opened.

    Attributes:
        round_number: its number.
        size: bytes that its broadcast took; 0 if the broker had it already.
        seconds: from its beginning until all was handed to the connection.
        answers: that were stored before a restart.
        notes: of the round's trace.
    """

    round_number: int
    size: int
    seconds: float = 0.0
    answers: int = 0
    notes: Notes = field(default_factory=dict)


@dataclass(frozen=True)
class DeviceMessage:
    """Something came from a device: an answer with its verdict, or word of its presence.

    Attributes:
        device: who sent it.
        verdict: on an answer; None if it is none.
        size: of the answer, in bytes.
        online: what its presence says; None if it is an answer.
        joined: whether the device is in the run since this message.
        report: of an answer that can be read; None of any other.
        ignored: fields of newer versions that came with it.
        notes: of an answer's trace.
        reason: what is wrong with an answer that cannot be read.
    """

    device: str
    verdict: Verdict | None = None
    size: int = 0
    online: bool | None = None
    joined: bool = False
    report: Report | None = None
    ignored: int = 0
    notes: Notes = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class OpenRound:
    """A round that takes answers.

    Attributes:
        number: the round's number.
        quorum: how many answers it needs.
        answered: devices of which there is an answer.
        missing: the others.
        seconds: since it was opened.
    """

    number: int
    quorum: int
    answered: frozenset[str]
    missing: frozenset[str]
    seconds: float


@dataclass(frozen=True)
class AnswersGathered:
    """A round takes no more answers.

    Attributes:
        round_number: its number.
        missing: invited devices that have not answered.
        seconds: since it was opened.
    """

    round_number: int
    missing: int
    seconds: float


@dataclass(frozen=True)
class UploadExcluded:
    """A round was made without an answer that was accepted: with it there was no finite result.

    Attributes:
        round_number: the round's number.
        device: whose it is.
        reason: what came of it, in a line.
    """

    round_number: int
    device: str
    reason: str
    verdict: Verdict = Verdict.IMPLAUSIBLE


Event = RoundOpened | DeviceMessage | AnswersGathered | UploadExcluded
