"""An answer on its way: sent, and sent again until its task has said what became of it."""

import logging
import time
from dataclasses import replace

from pydantic import ValidationError

from edge.agent.presence import PresenceTeller
from edge.agent.settings import DeviceSettings
from edge.agent.store import AgentState
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.protocol import wire
from edgeloop.protocol.gathering import Verdict
from edgeloop.protocol.receipt import INCOMPLETE, Receipt
from edgeloop.protocol.task import (
    SMALL,
    Opening,
    is_addressed_to,
    is_over,
    is_reminder,
    receipt_topic,
    upload_topic,
)
from edgeloop.runtime.pace import Timer
from edgeloop.runtime.tracing import Notes

log = logging.getLogger(__name__)

RESEND_SMALL_SECONDS, RESEND_LARGE_SECONDS = 10.0, 300.0
"""At least between two sendings of one answer that is asked for again: a small, a large one."""

_UNVERIFIED = Verdict.UNVERIFIED.name.lower()  # time, or a renewed certificate, can help
_WRONG_ROUND = Verdict.WRONG_ROUND.name.lower()  # it may be the right one later
_VERDICTS = {each.name.lower() for each in Verdict} | {INCOMPLETE}

REPEAT_SECONDS, MOST_REPEAT_SECONDS = 20.0, 300.0
"""Without a receipt, after which an answer is sent again: at first, and at most."""


class Delivery:
    """The last answer of a device, until there is a receipt for it.

    An aggregator of before there were receipts gives none; then the broker's word is all there is.

    Args:
        connection: of the device.
        settings: its own.
        presence: says which receipts the device has.

    Attributes:
        expects: whether the aggregator gives receipts.
        is_open: whether an answer was sent, and nothing is known of it.
    """

    def __init__(
        self, connection: MqttConnection, settings: DeviceSettings, presence: PresenceTeller
    ) -> None:
        self.expects = self.is_open = False
        self._connection, self._presence, self._name = connection, presence, settings.name
        self.topic = upload_topic(settings.task, settings.name)
        self.receipts = receipt_topic(settings.task, settings.name)
        self._place = "", -1  # the run and the round that were answered
        self._digest = ""
        self._verdict: Receipt | None = None  # the receipt for it
        self._last = False  # whether it is the run's last one
        self._over = False
        self._sent_at = 0.0
        self._pause = REPEAT_SECONDS
        self._repeat = Timer(REPEAT_SECONDS)
        connection.subscribe(self.receipts)

    def send(
        self, state: AgentState, notes: Notes, *, again: bool = False, last: bool = False
    ) -> AgentState:
        """Send a state's answer; return the state with the bytes that this really took.

        Args:
            state: of the device.
            notes: go with the answer.
            again: whether it was sent before.
            last: whether the run has no further round.
        """
        digest, self._last = wire.digest(state.answer), last
        if digest != self._digest:
            self._digest, self._verdict = digest, None
            self._place, self._pause = (state.run, state.round), REPEAT_SECONDS
        self.is_open = not self._over
        if self._over:
            log.info("round %d: the run is over; nobody waits for this answer", state.round)
            return state
        size = self._connection.send(self.topic, state.answer, notes)
        self._note_sent()
        return _with_bytes(state, size, again)

    def repeat(self, state: AgentState, notes: Notes) -> AgentState:
        """Send an answer again of which nothing is known: of a large one its first packet.

        Who has the answer says so, and who has not asks for the other packets.
        """
        log.info("round %d: no receipt; sending the answer again", state.round)
        self._pause = min(2 * self._pause, MOST_REPEAT_SECONDS)
        size = self._connection.send_again(self.topic, state.answer, [0], 0, notes)
        self._note_sent()
        return _with_bytes(state, size, again=True)

    def forget(self) -> None:
        """Have no answer: the one before is no round's any more."""
        self.is_open, self._digest, self._verdict = False, "", None

    def left(self) -> float:
        """Return the seconds until `due` should be asked."""
        return self._repeat.left() if self.is_open and self.expects else float("inf")

    def due(self) -> bool:
        """Return whether an answer is to be sent again now."""
        if not (self.is_open and self.expects and self._repeat.due()):
            return False
        return self._connection.connected and not self._connection.is_pending(self.topic)

    def hear_opening(self, opening: Opening, notes: Notes) -> None:
        """Take what an opening says of an answer before it."""
        self.expects, self._over = wire.speaks(notes) >= 1, is_over(notes)
        run, number = self._place
        if not self.is_open or not self.expects:
            return
        if opening.run != run or opening.round > number:
            self._settle(said=False)
        elif opening.round == number and (is_over(notes) or self._is_told_apart(notes)):
            if is_over(notes):
                log.info("round %d: the run is over", number)
            self._settle()

    def _is_told_apart(self, notes: Notes) -> bool:
        """Return whether an opening names others than this device as missing."""
        return "missing" in notes and not is_addressed_to(notes, self._name)

    def hear_receipt(self, text: bytes, state: AgentState | None, notes: Notes) -> None:
        """Take a receipt, or send what it asks for.

        Args:
            text: its bytes.
            state: of the device.
            notes: to go with what is asked for.
        """
        try:
            receipt = Receipt.model_validate_json(text)
        except ValidationError:
            return  # of another major version, or a stranger's; the answer is sent again
        if receipt.digest != self._digest or receipt.verdict not in _VERDICTS:
            return  # damaged on its way, or a newer aggregator's: the answer is sent again
        if receipt.verdict == _UNVERIFIED and self._connection.certificate_number:
            self._slow_down(f"the aggregator cannot be sure that it is ours ({receipt.reason})")
        elif receipt.verdict != INCOMPLETE:
            self._take(receipt)
        elif receipt.reason and not receipt.missing:
            self._slow_down(receipt.reason)
        elif state is not None and not self._connection.is_pending(self.topic):
            text_ = "round %d: %d packets of the answer did not arrive; sends them again"
            log.info(text_, state.round, len(receipt.missing))
            self._connection.send_again(
                self.topic, state.answer, receipt.missing, receipt.count, notes
            )
            self._note_sent()

    def _slow_down(self, reason: str) -> None:
        """Send the answer again later: the aggregator reads nothing of this device for now."""
        log.warning("round %d: %s; sending the answer again later", self._place[1], reason)
        self._pause = MOST_REPEAT_SECONDS
        self._note_sent()

    def _take(self, receipt: Receipt) -> None:
        self._verdict = receipt
        number, verdict = self._place[1], receipt.verdict.replace("_", " ")
        facts = {"round": number, "verdict": receipt.verdict}
        if not receipt.is_taken:
            why = f": {receipt.reason}" if receipt.reason else ""
            log.warning(
                "round %d: the answer was refused as %s%s", number, verdict, why, extra=facts
            )
        elif self.is_open:
            log.info("round %d: the answer has arrived", number, extra=facts)
        if self.is_open:
            self._settle()

    def _settle(self, said: bool = True) -> None:
        self.is_open = False
        if said:
            self._presence.settled(*self._place, at_once=self._last)

    def wants(self, answer: bytes, notes: Notes) -> bool:
        """Return whether to send an answer again now that its round is announced again.

        At once if the announcement is a new connection's, and there is no receipt. One that only
        reminds of the round comes every half minute: then not if the aggregator has the answer, or
        it is on its way, or was sent a short while ago.
        """
        large, reminded = len(answer) > SMALL, is_reminder(notes)
        if (large or reminded) and self._connection.is_pending(self.topic):
            return False
        known = self._verdict if wire.digest(answer) == self._digest else None
        if not reminded:
            return known is None or not known.is_taken
        if known is not None and not known.is_taken and known.verdict != _WRONG_ROUND:
            return False
        waited = time.monotonic() - self._sent_at
        rarely = large or (known is not None and "missing" not in notes)
        return is_addressed_to(notes, self._name) and waited >= (
            RESEND_LARGE_SECONDS if rarely else RESEND_SMALL_SECONDS
        )

    @property
    def is_on_its_way(self) -> bool:
        """Whether the answer waits for the broker's word on it."""
        return self._connection.is_pending(self.topic)

    def flush(self, seconds: float) -> bool:
        """Wait until the broker has the answer; tell whether it has."""
        return self._connection.flush(seconds, self.topic)

    @property
    def is_refused(self) -> bool:
        """Whether the broker refuses the answer."""
        return self._connection.is_refused(self.topic)

    def _note_sent(self) -> None:
        self._sent_at = time.monotonic()
        self._repeat = Timer(self._pause, jitter=0.2)


def _with_bytes(state: AgentState, size: int, again: bool) -> AgentState:
    counts = state.traffic.get(str(state.round), {"down": 0, "up": 0})
    moved = {**counts, "up": counts["up"] + size if again else size}
    return replace(state, traffic={**state.traffic, str(state.round): moved})
