"""A device's part in secure aggregation: its upload leaves it masked, and only within a sum.

A round's answer has keys in the place of the upload. What the aggregator says next comes where
receipts come; each step's answer takes the place of the one before, is written before it is sent,
and is sent again in the same way. After the last one the round's secrets are gone.
"""

import logging
from dataclasses import replace
from typing import Any

from edge.agent.store import AgentState
from edge.agent.task_session import TaskSession
from edgeloop.protocol.chunks import Assembler
from edgeloop.protocol.wire import MAX_FRAME, Envelope, WireError
from edgeloop.secure.agreement import SecureError
from edgeloop.secure.exchange import Arrays, DeviceRound

log = logging.getLogger(__name__)


class SecureRounds:
    """The rounds of one device, of which the last one may be open.

    Args:
        name: the device's.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._place: tuple[str, int] | None = None
        self._round: DeviceRound | None = None
        self._assembler = Assembler(MAX_FRAME)

    def begin(
        self, session: TaskSession, number: int, messages: tuple[Any, ...]
    ) -> tuple[tuple[Any, ...], Arrays]:
        """Return what a round is answered with in the place of its messages, and what to remember.

        An answer without an upload stays as it is; so does one whose numbers are too large to be
        added: then its report goes alone.
        """
        self._place = self._round = None
        summing = session.task_client.summing
        if not session.contract.secure or summing is None or len(messages) == 1:
            return messages, {}
        upload, report = messages
        try:
            made = self._made(session, number, summing.encode(upload))
        except ValueError as error:
            log.warning("round %d: this device's numbers are in no sum: %s", number, error)
            return (report,), {}
        self._place, self._round = (session.contract.run, number), made
        return (made.public_keys, report), made.arrays()

    def _made(self, session: TaskSession, number: int, values_V: Any) -> DeviceRound:
        return DeviceRound(self._envelope(session, number), values_V, session.contract.secure)

    def _envelope(self, session: TaskSession, number: int) -> Envelope:
        return Envelope(session.contract.task, session.contract.run, number, self._name)

    def hear(
        self, chunk: bytes, session: TaskSession, state: AgentState
    ) -> tuple[AgentState, bool] | None:
        """Take a part of what the aggregator says; return what to do.

        Args:
            chunk: of it.
            session: the device's place in the run.
            state: what it remembers.

        Returns:
            the state with the answer to send, and whether that is a new one, to be written first;
            None where there is nothing to send.
        """
        try:
            payload = self._assembler.offer(chunk)
            if payload is None or (round_ := self._open(session, state)) is None:
                return None
            if round_.repeats(payload):
                return state, False
            answer = round_.answer(payload)
        except WireError as error:
            log.debug("ignored what is no step of this round: %s", error)
            return None
        except SecureError as error:
            text = "round %d: this device leaves its sum: %s"
            log.warning(text, state.round, error, extra={"round": state.round})
            return None
        if answer is None:
            return None
        return replace(state, answer=answer, secure=round_.arrays()), True

    def _open(self, session: TaskSession, state: AgentState) -> DeviceRound | None:
        """Return the round that was answered last; after a restart as it was written."""
        place = state.run, state.round
        if self._place == place or not session.contract.secure or not state.secure:
            return self._round if self._place == place else None
        try:
            envelope, least = self._envelope(session, state.round), session.contract.secure
            self._round = DeviceRound.restored(envelope, least, state.secure)
        except ValueError as error:
            log.warning("round %d: this device leaves its sum: %s", state.round, error)
            self._round = None
        self._place = place
        return self._round
