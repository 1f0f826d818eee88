"""A device's answers: worked out once, remembered, and sent as often as they are wanted."""

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from edge.agent import sensors
from edge.agent.current_model import CurrentModel
from edge.agent.delivery import Delivery
from edge.agent.fetching import BroadcastSubscription
from edge.agent.joining import first_problem
from edge.agent.patience import until_written
from edge.agent.presence import PresenceTeller
from edge.agent.round_work import RoundWork, log_accuracy
from edge.agent.standing import Standing
from edge.agent.store import AgentState, Tensors
from edge.agent.task_session import DeviceContext, TaskSession, renewed
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.privacy import accounting
from edgeloop.protocol import wire
from edgeloop.protocol.presence import State
from edgeloop.protocol.task import Opening
from edgeloop.protocol.wire import Envelope
from edgeloop.runtime.tracing import NONE, Notes, Tracer, context_of, notes_of

if TYPE_CHECKING:  # it needs cryptography
    from edge.agent.secure_rounds import SecureRounds

log = logging.getLogger(__name__)


class Answering:
    """Answers rounds for one device.

    Args:
        context: its settings and data.
        standing: where it stands.
        connection: what takes its answers away.
        presence: says what it is doing.
        subscription: of broadcasts; counts what has arrived.
        tracer: follows its work and its uploads.

    Attributes:
        delivery: the last answer, until there is a receipt for it.
        work: what it does in a round.
        model: the classifier in use.
    """

    def __init__(
        self,
        context: DeviceContext,
        standing: Standing,
        connection: MqttConnection,
        presence: PresenceTeller,
        subscription: BroadcastSubscription,
        tracer: Tracer,
    ) -> None:
        self.delivery = Delivery(connection, context.settings, presence)
        self.work = RoundWork(context, standing.store, presence)
        self.model = CurrentModel(context, standing.store, presence)
        self._secure: SecureRounds | None = None
        self._context, self._standing = context, standing
        self._presence, self._subscription, self._tracer = presence, subscription, tracer

    def repeat(self) -> None:
        """Send the answer again, if there is no receipt for it; look at the classifier in use."""
        self.model.look()
        standing = self._standing
        if self.delivery.due() and standing.state is not None and standing.session is not None:
            notes = self._notes(standing.session)
            standing.state = self.delivery.repeat(standing.state, notes)

    def hear_opening(self, text: bytes, notes: Notes) -> None:
        """Take the opening of a round, which may be a reminder of it."""
        standing = self._standing
        standing.notes = notes
        try:
            standing.opening = Opening.model_validate_json(text)
        except ValidationError as error:
            standing.log_ignored("an invalid round", first_problem(error))
            return
        standing.trace_notes = notes_of(standing.opening.trace, notes)
        self.delivery.hear_opening(standing.opening, notes)
        standing.ignored.add(standing.opening.ignored, "an opening")

    def hear_chunk(self, session: TaskSession, chunk: bytes) -> None:
        """Take a chunk of a broadcast; keep the broadcast if it is whole, and the one wanted.

        Raises:
            WireError: if it is none.
        """
        standing = self._standing
        payload = self._subscription.offer(chunk)
        if payload is None or standing.opening is None:
            return
        broadcast = standing.decode_broadcast(session, payload)
        if broadcast[0] == standing.opening.digest:
            self._subscription.stop()
            until_written(partial(standing.store.keep_broadcast, payload), self._presence.obstacle)
            standing.broadcast = broadcast

    def hear_receipt(self, arrival: Arrival) -> None:
        """Take a receipt of the last answer, or what a secure round asks for next."""
        session = self._standing.session
        if session is not None and session.contract.secure and arrival.payload[:1] != b"{":
            self._answer_step(session, arrival.payload)
            return
        notes = NONE if session is None else self._notes(session)
        self.delivery.hear_receipt(arrival.payload, self._standing.state, notes)

    def _secure_rounds(self) -> "SecureRounds":
        """Return the device's part in sums; loaded where a contract asks for it."""
        if self._secure is None:
            from edge.agent.secure_rounds import SecureRounds

            self._secure = SecureRounds(self._context.settings.name)
        return self._secure

    def _answer_step(self, session: TaskSession, chunk: bytes) -> None:
        """Answer a step of a secure round: it takes the place of the answer before."""
        standing = self._standing
        if standing.state is None:
            return
        heard = self._secure_rounds().hear(chunk, session, standing.state)
        if heard is None:
            return
        state, is_new = heard
        if is_new:
            until_written(partial(standing.store.save, state), self._presence.obstacle)
        elif self.delivery.is_on_its_way:
            return
        standing.state = state
        self.send_again(session, state)

    def answer(self, session: TaskSession, opening: Opening, new: bool) -> bool:
        """Send the answer to a round, worked out or remembered; tell whether there is one.

        Args:
            session: the device's place in the run; its broadcast is here.
            opening: of the round.
            new: whether the round was not answered before.
        """
        if not new:
            return self.answer_again(session, opening)
        standing = self._standing
        assert standing.broadcast is not None  # noqa: S101 - or it would be fetched now
        last = opening.round >= session.contract.rounds
        if not last:
            session = standing.session = renewed(self._context, session)
        before = session.client.weights() if last else {}
        with self._tracer.span("train", standing.trace_notes, round=opening.round):
            messages = self.work.answer(session, opening, standing.broadcast[1])
        if messages is None:
            return False
        secure: Tensors = {}
        if session.contract.secure:
            messages, secure = self._secure_rounds().begin(session, opening.round, messages)
        with self._tracer.span("upload", standing.trace_notes, round=opening.round) as traced:
            state = self._remember(session, opening.round, messages, context_of(traced))
            standing.state = replace(state, evaluated=last, before=before, secure=secure)
            until_written(partial(standing.store.save, standing.state), self._presence.obstacle)
            standing.state = self._send(session, standing.state, traced)
        self.model.after_round(session, standing.state, standing.broadcast[1])
        return True

    def answer_again(self, session: TaskSession, opening: Opening) -> bool:
        """Send the answer to a round as it was remembered; tell whether there is one."""
        state = self._standing.state
        assert state is not None  # noqa: S101 - a round that is not new was answered before
        if opening.round < state.round or not state.answer:
            why = f"round {opening.round} is open, and round {state.round} was answered: nothing is"
            why += " sent; if the task was restored from a backup, restore this device or remove"
            log.warning("%s its state.safetensors", why)
            self._presence.obstacle(f"{why} its state.safetensors")
            return False
        if self.delivery.wants(state.answer, self._standing.notes):
            self.send_again(session, state)
        return True

    def send_again(self, session: TaskSession, state: AgentState) -> None:
        """Send the remembered answer; remember the bytes that this took besides."""
        with self._tracer.span("upload", self._standing.trace_notes, round=state.round) as traced:
            self._standing.state = self._send(session, state, traced, again=True)

    def _send(
        self, session: TaskSession, state: AgentState, traced: Notes, again: bool = False
    ) -> AgentState:
        """Send the answer; return the memory with the bytes that this really took."""
        notes = self._notes(session, traced)
        last = state.round >= session.contract.rounds
        sent = self.delivery.send(state, notes, again=again, last=last)
        broadcast, concluded = self._standing.broadcast, self._standing.concluded
        if last and broadcast is not None and concluded == (state.run, broadcast[0]):
            self._presence.say(State.SLEEPING, state.run)  # the run's results are there
        else:
            self._presence.say(State.ANSWERED, state.run, state.round)
        return sent

    def _notes(self, session: TaskSession, traced: Notes = NONE) -> Notes:
        """Return what goes with an answer: what a report has fields for, where 0.1 reads it."""
        if wire.grows(self._standing.notes):
            return NONE
        notes = sensors.read_health().notes() if self._context.settings.health else {}
        if session.privacy is not None:
            notes |= accounting.epsilon_notes(session.privacy.epsilon)
        return {**notes, **traced}

    def _remember(
        self, session: TaskSession, number: int, messages: tuple[Any, ...], trace: str
    ) -> AgentState:
        """Return what to remember of a round: the answer as bytes, and what it came to."""
        accuracy = log_accuracy(number, messages[-1])
        standing = self._standing
        envelope = Envelope(
            session.contract.task,
            session.contract.run,
            number,
            self._context.settings.name,
            trace,
            "" if standing.state is None else standing.state.trained_before(number),
            evaluates=number >= session.contract.rounds,
        )
        payload = self.work.frame(session, envelope, messages, wire.grows(standing.notes))
        before = standing.state or AgentState(session.contract.run, number, payload)
        bytes_down, self._subscription.bytes = self._subscription.bytes, 0
        return AgentState(
            session.contract.run,
            number,
            payload,
            session.client.weights(),
            {**before.accuracies, str(number): accuracy},
            {**before.traffic, str(number): {"down": bytes_down, "up": len(payload)}},
        )
