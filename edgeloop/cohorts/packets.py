"""What becomes of each packet of a device: it joins, says where it is, leaves, or answers."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from edgeloop.algorithm import Algorithm
from edgeloop.cohorts.announcing import Announcer
from edgeloop.cohorts.events import DeviceMessage, Event
from edgeloop.cohorts.flood import FloodGate
from edgeloop.cohorts.judging import AnswerJudge, Judged
from edgeloop.cohorts.members import Members
from edgeloop.cohorts.roster import FOUGHT_OVER, Roster
from edgeloop.mqtt.connection import Arrival
from edgeloop.protocol import wire
from edgeloop.protocol.gathering import Gathering
from edgeloop.protocol.task import EVICTED, LEFT, is_eviction, leaver, presence_topic
from edgeloop.protocol.wire import Frame
from edgeloop.runtime.pace import LOG_LINES, LogRateLimiter

log = logging.getLogger(__name__)


@dataclass
class PacketReader:
    """Reads the packets of devices, one at a time. Nothing in one raises an error here.

    Attributes:
        algorithm: of the run.
        members: who is in the run; who may join is taken in.
        roster: who is there.
        announcer: announces the run to whoever joins.
        flood: refuses what is too much.
        judge: gives verdicts on answers.
        observe: called with each device that joins.
        lines: how often one thing is logged.
        leaving: devices that ask to be taken out, and can be.
        evicted: devices that the operator has sent away.
    """

    algorithm: Algorithm[Any, Any, Any]
    members: Members
    roster: Roster
    announcer: Announcer
    flood: FloodGate
    judge: AnswerJudge
    observe: Callable[[Event], None]
    lines: LogRateLimiter
    leaving: set[str] = field(default_factory=set)
    evicted: set[str] = field(default_factory=set)

    def read(self, gathering: Gathering[Frame], arrival: Arrival) -> Judged | None:
        """Judge one packet that comes while a round gathers; None for a part of an answer."""
        channel, device = arrival.topic.split("/")[-2:]
        number = gathering.round_number
        if arrival.trust.refusal:  # counts as a stranger's, and not against the device
            refused = self.flood.refused("", number, channel, arrival.payload)
            return refused or self.judge.unbelieved(number, device, arrival)
        self._admit(gathering, device, arrival)
        goes = channel == "presence" and arrival.payload in (LEFT, EVICTED)
        if not goes and (refused := self.flood.refused(device, number, channel, arrival.payload)):
            return refused
        if channel == "presence":
            return Judged(self._read_presence(device, arrival))
        self.roster.heard_of(device)
        return self.judge.judge(gathering, device, arrival)

    def _admit(self, gathering: Gathering[Frame], device: str, arrival: Arrival) -> None:
        """Take a device in at its first message, if it may join; it is safe before that counts."""
        comes = arrival.topic != presence_topic(self.members.contract.task, device) or (
            arrival.payload == b"online" and wire.speaks(arrival.notes) >= 1
        )
        if not comes or not self.members.admit(device, gathering.round_number):
            return
        self.judge.admit(device)
        self.roster.admit([device])
        if gathering.may_grow:
            gathering.invite(device)
        self.announcer.keep_contract()
        self.observe(DeviceMessage(device, joined=True))

    def _read_presence(self, device: str, arrival: Arrival) -> DeviceMessage:
        """Note whether a device is there, what it is doing, and whether it leaves the run."""
        if self.roster.hear(device, arrival):
            self.announcer.heard()
        if self.roster.is_fought_over(device) and self._is_new(f"fight {device}", LOG_LINES):
            text = "device %s: %s; stop one, or give it another name"
            log.warning(text, device, FOUGHT_OVER, extra={"device": device})
        contract, invited = self.members.contract, device in self.members
        if invited and leaver(contract, arrival.topic, arrival.payload, arrival.notes):
            self._leave(device)
        if invited and is_eviction(contract, arrival.payload, arrival.notes):
            self.evicted.add(device)
        return DeviceMessage(device, online=arrival.payload == b"online")

    def _leave(self, device: str) -> None:
        if self.algorithm.remove_clients is not None:
            self.leaving.add(device)
        elif self.lines.allowed(f"left {device}"):
            text = "%s asks to be taken out, and %s cannot do that: begin a new run without it"
            name = self.members.contract.algorithm
            log.warning(text, device, name, extra={"device": device})

    def _is_new(self, what: str, lines: int) -> bool:
        return self.lines.allowed(what) == lines
