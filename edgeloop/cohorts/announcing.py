"""What the broker keeps for a task's devices, and how they hear of the open round."""

import logging
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

from edgeloop.bases import sending
from edgeloop.cohorts.members import Members
from edgeloop.cohorts.roster import Roster
from edgeloop.errors import ForbiddenError
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol import wire
from edgeloop.protocol.task import (
    SERVER,
    SLOTS,
    SMALL,
    Opening,
    broadcast_topic,
    contract_topic,
    over,
    reminder,
    round_topic,
)
from edgeloop.protocol.wire import Envelope
from edgeloop.runtime.pace import Timer
from edgeloop.runtime.tracing import NONE, Notes, context_of

log = logging.getLogger(__name__)

REMINDER_SECONDS = 300.0
"""Between two reminders of what is larger than `SMALL`."""

EXPIRY_SECONDS = 120
"""After which the broker may forget one of them for a device that is away."""

LOOK_SECONDS = 5.0
"""For what the broker keeps to arrive."""

FLIP_SECONDS = 5.0
"""Between two contracts that differ because a device says now that it is newer, or older: who says
so by turns cannot have all devices hear a contract each time."""

MOST_LOOKED_AT = 16
"""Packets of one payload that are compared; more could push uploads out of the broker's queue, and
are published again instead."""


class Announcer:
    """Has the broker keep a task's contract, base, broadcast and opening.

    Args:
        connection: the aggregator's.
        members: who is in the run, by its contract.
        roster: its devices.
        base: as it is sent; None where there is none.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        connection: MqttConnection,
        members: Members,
        roster: Roster,
        base: bytes | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection, self._members, self._roster = connection, members, roster
        self._contract = members.contract
        self._base, self._clock = base, clock
        self._opening: Opening | None = None
        self._broadcast = b""
        self._trace: Notes = NONE
        self._over = False
        self._rarely = Timer(REMINDER_SECONDS, jitter=0.2, clock=clock)
        self._flips = Timer(FLIP_SECONDS, first=0.0, clock=clock)
        self._found: dict[str, bytes] = {}
        self._kept = b""  # the contract that the broker was told to keep
        self._certificate = connection.certificate_number
        self._filters: tuple[str, ...] = ()  # while the broker is looked at
        self._look_until = 0.0

    def open(
        self,
        round_number: int,
        broadcast: Any,
        trace: Notes,
        over: bool = False,
        asked: tuple[str, ...] = (),
    ) -> int:
        """Say that a round is open; return the bytes that its broadcast took.

        Args:
            round_number: its number.
            broadcast: its own.
            trace: notes of its trace.
            over: whether no answer is waited for.
            asked: who is to answer; nobody for everybody.
        """
        grown = self._roster.all_grow()
        digest = wire.fingerprint(broadcast, grown)
        renewed = self._is_renewed()
        held = self._opening is not None and self._opening.digest == digest and not renewed
        if renewed:
            self._publish_lasting()
        elif self._kept:
            self.keep_contract()
        if self._opening is None or not held:
            envelope = Envelope(self._contract.task, self._contract.run, round_number, SERVER)
            self._broadcast = wire.encode(envelope, broadcast, grown=grown)
            slot = round_number % SLOTS
            topic = broadcast_topic(self._contract.task, slot)
            self._connection.publish_retained(topic, self._broadcast)
        else:
            slot = self._opening.slot
        size = len(self._broadcast)
        self._trace, self._over = trace, over
        self._opening = Opening(
            run=self._contract.run,
            round=round_number,
            digest=digest,
            slot=slot,
            size=size,
            trace=context_of(trace),
            asked=asked,
        )
        self._publish_opening(self._opening)
        return 0 if held else size

    def keep_contract(self) -> None:
        """Have the broker keep the contract as it is to be now, if it keeps another one.

        It lists whoever was admitted while a device knows no patterns, and has the patterns once
        all know them: who connects later has nothing else to go by.
        """
        if self._contract_text() != self._kept:
            self._publish_contract()

    def heard(self) -> None:
        """A device says now that it understands more than before, or less."""
        if self._flips.due():  # else the next round, or reminder, sees to it
            self.keep_contract()

    def end(self) -> None:
        """Say that the run is over: no answer is waited for."""
        self._over = True
        if self._opening is not None:
            self._publish_opening(self._opening)

    def announce(self) -> None:
        """Have the broker keep all of it."""
        self._publish_lasting()
        task = self._contract.task
        if self._opening is not None:
            topic = broadcast_topic(task, self._opening.slot)
            self._connection.publish_retained(topic, self._broadcast)
            self._publish_opening(self._opening)

    def _publish_lasting(self) -> None:
        """Have the broker keep what is the same in all rounds."""
        if self._base is not None:
            topic = broadcast_topic(self._contract.task, sending.SLOT)
            self._connection.publish_retained(topic, self._base)
        self._publish_contract()

    def _is_renewed(self) -> bool:
        """Return whether messages are signed by another certificate than when this was asked."""
        before, self._certificate = self._certificate, self._connection.certificate_number
        return before != self._certificate

    def _publish_contract(self) -> None:
        """Have the broker keep the contract.

        Raises:
            RefusedError: if no packet of the broker holds it, with what would help.
        """
        topic, text = contract_topic(self._contract.task), self._contract_text()
        try:
            self._connection.publish(topic, text, retain=True)
        except ForbiddenError as error:
            listed = sum(len(name) + 3 for name in self._members.listing().devices)
            remedy = error.remedy
            if 2 * listed > len(text):
                remedy += '; or name its devices by patterns: admit = ["press-*"] in [cohort]'
            raise ForbiddenError(error.field, error.problem, remedy) from error
        self._kept = text

    def remind(self, missing: Collection[str]) -> None:
        """Announce the round once more to those who are there; whoever is away hears of it later.

        What the broker keeps stays as it is, unless it has refused to keep it.
        """
        self._connection.resubscribe_refused()
        if self._connection.refusals() or self._is_renewed():
            self.announce()
            return
        self.keep_contract()
        task, opening = self._contract.task, self._opening
        self._connection.publish(contract_topic(task), self._kept, expiry=EXPIRY_SECONDS)
        if opening is None:
            return
        rarely = self._rarely.due()
        if rarely and self._base is not None:
            topic = broadcast_topic(task, sending.SLOT)
            self._connection.republish(topic, self._base, EXPIRY_SECONDS)
        if rarely or len(self._broadcast) <= SMALL:
            topic = broadcast_topic(task, opening.slot)
            self._connection.republish(topic, self._broadcast, EXPIRY_SECONDS)
        notes = {**self._opening_notes(), **reminder(missing)}
        text = self._opening_text(opening)
        self._connection.publish(round_topic(task), text, notes=notes, expiry=EXPIRY_SECONDS)

    # ---- at a connection that is back

    def look(self) -> None:
        """Compare what the broker keeps with what it should, and publish what differs.

        The opening is published in any case: devices answer it, and when it comes back from the
        broker, all that is retained has come before.
        """
        self._end_look()
        task = self._contract.task
        slots = [sending.SLOT] if self._base is not None else []
        if self._opening is not None:
            slots.append(str(self._opening.slot))
        compared = [slot for slot in slots if len(self._kept_chunks(slot)) <= MOST_LOOKED_AT]
        for slot in set(slots) - set(compared):
            payload = self._payload(slot)
            self._connection.publish_retained(broadcast_topic(task, slot), payload)
        self._filters = (
            contract_topic(task),
            round_topic(task),
            *(f"{broadcast_topic(task, slot)}/+" for slot in compared),
        )
        self._look_until = self._clock() + LOOK_SECONDS
        for name in self._filters:
            self._connection.subscribe(name)
        if self._opening is not None:
            self._publish_opening(self._opening)

    def left(self) -> float:
        """Return the seconds until a look is over; endless without one."""
        return max(0.0, self._look_until - self._clock()) if self._filters else float("inf")

    def take(self, arrival: Arrival) -> bool:
        """Take what the broker keeps, or keeps sending after a look; tell whether it was that."""
        task = self._contract.task
        fixed = contract_topic(task), round_topic(task)
        if arrival.topic not in fixed and not arrival.topic.startswith(broadcast_topic(task, "")):
            return False
        if arrival.retained and self._filters:
            if not arrival.trust.refusal and bool(arrival.trust.at) == bool(self._certificate):
                self._found[arrival.topic] = arrival.payload
        elif arrival.topic == round_topic(task) and self._filters:
            self._settle()
        return True

    def settle_late(self) -> None:
        """End a look that has taken too long."""
        if self._filters and not self.left():
            self._settle()

    def _settle(self) -> None:
        """Publish what the broker keeps otherwise than it should."""
        found = self._found
        self._end_look()
        wanted = dict(self._wanted())
        differing = [topic for topic, payload in wanted.items() if found.get(topic) != payload]
        for topic in differing:
            self._connection.publish(topic, wanted[topic], retain=True)
        leftover = found.keys() - wanted.keys() - {round_topic(self._contract.task)}
        for topic in leftover:
            self._connection.publish(topic, b"", retain=True)
        if differing or leftover:
            text = "the broker had other contents of %d of the task's %d messages:"
            text += " published them again"
            log.info(text, len(differing) + len(leftover), len(wanted) + len(leftover))

    def _end_look(self) -> None:
        for name in self._filters:
            self._connection.unsubscribe(name)
        self._filters, self._found = (), {}

    def _wanted(self) -> Iterator[tuple[str, bytes]]:
        """Yield the topics that are compared, and what the broker should keep there."""
        task = self._contract.task
        yield contract_topic(task), self._contract_text()
        slots = [sending.SLOT] if self._base is not None else []
        if self._opening is not None:
            slots.append(str(self._opening.slot))
        for slot in slots:
            parts = self._kept_chunks(slot)
            if len(parts) <= MOST_LOOKED_AT:
                for index, chunk in enumerate(parts):
                    yield f"{broadcast_topic(task, slot)}/{index}", chunk

    def _payload(self, slot: str) -> bytes:
        return (self._base or b"") if slot == sending.SLOT else self._broadcast

    def _kept_chunks(self, slot: str) -> list[bytes]:
        return self._connection.chunks_of(self._payload(slot))

    def _contract_text(self) -> bytes:
        grown = self._roster.all_grow()
        return (self._contract if grown else self._members.listing()).text(grown).encode()

    def _opening_text(self, opening: Opening) -> bytes:
        return opening.text(self._roster.all_grow()).encode()

    def _publish_opening(self, opening: Opening) -> None:
        topic, text = round_topic(self._contract.task), self._opening_text(opening)
        notes = {**self._opening_notes(), **(over() if self._over else {})}
        self._connection.publish(topic, text, retain=True, notes=notes)

    def _opening_notes(self) -> Notes:
        """Return the notes of an opening; the trace's, where its own field is not for everybody."""
        if self._roster.all_grow():
            return wire.OWN_NOTES
        asking = {} if self._opening is None else self._opening.asking()
        return {**wire.OWN_NOTES, **self._trace, **asking}
