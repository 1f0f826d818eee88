"""A device's part in a task: waits for the contract, answers each round once, ends with ONNX."""

import logging
import time
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edge.agent import sensors
from edge.agent.delivery import Delivery
from edge.agent.fetching import BroadcastSubscription
from edge.agent.inbox import Inbox
from edge.agent.presence import PresenceTeller
from edge.agent.round_work import TASK_FAILURES, RoundWork, describe_failure, log_accuracy
from edge.agent.store import AgentState, AgentStore
from edge.agent.task_session import DeviceContext, TaskSession, open_session, renewed
from edgeloop.bases import sending
from edgeloop.bases.sending import SLOT as BASE
from edgeloop.bases.sending import base_identity
from edgeloop.errors import BaseError, ConfigError, EdgeloopError, MisfitError, ModelError
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.privacy import accounting
from edgeloop.protocol import wire
from edgeloop.protocol.presence import State
from edgeloop.protocol.task import (
    SERVER,
    Contract,
    Opening,
    broadcast_topic,
    contract_topic,
    round_topic,
)
from edgeloop.protocol.wire import Envelope, WireError
from edgeloop.runtime import wording
from edgeloop.runtime.pace import LogRateLimiter, Timer
from edgeloop.runtime.tracing import NONE, SILENT, Notes, Tracer, context_of, notes_of

log = logging.getLogger(__name__)

FIRST_STATUS_SECONDS, STATUS_SECONDS = 10.0, 60.0
"""Before the first line on what is waited for, and between two of them."""

FLUSH_SECONDS, REFUSED_SECONDS = 1.0, 30.0
"""Between two looks at whether the broker has the last answer, and before a refused one goes."""

RECEIPT_SECONDS = 5.0
"""For the last answer's receipt to come before the results are made, so that nobody waits for
that."""


def subscriptions(task: str) -> list[str]:
    """Return what a device's link subscribes to; broadcasts only while it fetches one."""
    return [contract_topic(task), round_topic(task)]


class Agent:
    """One device in one task.

    Args:
        context: its settings and data.
        connection: subscribed to the task's `subscriptions`.
        tracer: follows its work and its uploads, as parts of the rounds' traces.
    """

    def __init__(
        self, context: DeviceContext, connection: MqttConnection, tracer: Tracer = SILENT
    ) -> None:
        self._context = context
        self._connection = connection
        self._store = AgentStore(
            context.settings.folder, context.settings.name, context.settings.task
        )
        self._session: TaskSession | None = None
        self._state: AgentState | None = None
        self._tracer = tracer
        self._opening: Opening | None = None  # the newest, until it is answered
        self._notes = NONE  # of the newest round's opening
        self._trace_notes = NONE  # of its trace
        self._ignored = wire.IgnoredFields()
        self._presence = PresenceTeller(connection)
        self._work = RoundWork(context, self._store, self._presence)
        self._delivery = Delivery(connection, context.settings, self._presence)
        self._inbox = Inbox(connection, context.settings.task)
        self._subscription = BroadcastSubscription(connection, context.settings.task)
        self._broadcast: tuple[str, Any] | None = None  # the last broadcast, and its digest
        self._concluded = ("", "")  # the run that came to its end here, and with which broadcast
        self._status_timer = Timer(STATUS_SECONDS, FIRST_STATUS_SECONDS)
        self._waiting_contract: Contract | None = None  # whose base is on its way
        self._log_limiter = LogRateLimiter()
        self._rested = ""  # the run that has not asked this device in some round
        self._refused_contract: bytes | None = None  # the last one that does not fit

    def run(self) -> Path:
        """Take part until the last broadcast; return where the summary is.

        By then the task has said what became of this device's last answer, or, where the
        aggregator is of before there were receipts, the broker has it.
        """
        self._presence.resume()
        try:
            while (summary := self._step()) is None:
                pass
            self._deliver_last_answer()
        finally:
            self._presence.rest()
        return summary

    def _step(self) -> Path | None:
        """Take what comes next, or do what is due; return the summary's path at a run's end."""
        timers = self._status_timer.left(), self._delivery.left(), self._subscription.left()
        event = self._inbox.receive(min(timers))
        if event is None and self._status_timer.due():
            self._connection.resubscribe_refused()
            log.info("%s, waits for %s", self._connection.state, self._waiting_for())
        summary = self._take(event) if isinstance(event, Arrival) else None
        if summary is None:
            self._repeat_answer()
            self._subscription.ask_missing()
        return summary

    def _take(self, arrival: Arrival) -> Path | None:
        """Take a message, and acknowledge it; what ends the process is delivered again."""
        summary = None
        try:
            summary = self._handle(arrival)
        except WireError as error:
            self._log_dropped(f"a message on {arrival.topic}", str(error))
        arrival.acknowledge()
        return summary

    def _repeat_answer(self) -> None:
        """Send the answer again, if there is no receipt for it."""
        if self._delivery.due() and self._state is not None and self._session is not None:
            self._state = self._delivery.repeat(self._state, self._answer_notes(self._session))

    def _waiting_for(self) -> str:
        """Say what comes next."""
        task = self._context.settings.task
        if self._waiting_contract is not None:
            return f"the base of task {task}: {_may_read(broadcast_topic(task, BASE) + '/+')}"
        if self._session is None:
            return f"the contract of task {task}: {_may_read(contract_topic(task))}"
        if self._opening is not None:
            place = broadcast_topic(task, self._opening.slot) + "/+"
            return f"the broadcast of round {self._opening.round}: {_may_read(place)}"
        if self._concluded[0] == self._session.contract.run:
            return f"the next run of task {task}"
        answered = "" if self._state is None else f"; answered round {self._state.round}"
        if self._delivery.is_open and self._delivery.expects:
            answered += ", of which it has no receipt"
        return f"the next round of {self._session.contract.rounds}{answered}"

    def _deliver_last_answer(self) -> None:
        """Wait until the last answer has arrived, however long that takes."""
        status, again = Timer(STATUS_SECONDS, FIRST_STATUS_SECONDS), Timer(REFUSED_SECONDS)
        while self._delivery.is_open:
            if self._delivery.expects:
                self._await_receipt(FLUSH_SECONDS)
                self._repeat_answer()
            elif self._delivery.flush(FLUSH_SECONDS):
                return
            if status.due():
                whom = "the task says that it has" if self._delivery.expects else "the broker has"
                log.warning("%s, waits until %s the last answer", self._connection.state, whom)
            if self._delivery.is_refused:
                time.sleep(FLUSH_SECONDS)  # flush tells of a refusal at once
                if again.due() and self._session is not None and self._state is not None:
                    self._state = self._send_again(self._session, self._state)

    def _await_receipt(self, seconds: float) -> None:
        """Wait so long for the receipt of the last answer; leave what else comes for later."""
        end = time.monotonic() + seconds
        while self._delivery.is_open and self._delivery.expects:
            if (left := end - time.monotonic()) <= 0:
                return
            event = self._inbox.receive_new(left)
            if isinstance(event, Arrival) and not self._take_about_answer(event):
                self._inbox.postpone(event)

    def _take_about_answer(self, arrival: Arrival) -> bool:
        """Take what is about the last answer; tell whether that was all that it was about."""
        task = self._context.settings.task
        if arrival.topic == self._delivery.receipts:
            self._hear_receipt(arrival)
        elif arrival.topic == round_topic(task) and arrival.payload:
            self._handle_opening(arrival.payload, arrival.notes)
            opening, self._opening = self._opening, None
            if opening is None or self._session is None:
                return True
            if opening.run != self._session.contract.run:
                return False
            if self._state is not None and opening.round == self._state.round:
                self._answer_again(self._session, opening)
        elif arrival.topic == contract_topic(task):
            return False
        arrival.acknowledge()
        return True

    def _hear_receipt(self, arrival: Arrival) -> None:
        notes = NONE if self._session is None else self._answer_notes(self._session)
        self._delivery.hear_receipt(arrival.payload, self._state, notes)

    def _handle(self, arrival: Arrival) -> Path | None:
        self._subscription.bytes += len(arrival.payload)
        task = self._context.settings.task
        if not arrival.payload:
            return None  # a retained message that was cleared
        if arrival.topic == contract_topic(task):
            self._handle_contract(arrival.payload)
        elif arrival.topic == round_topic(task):
            self._handle_opening(arrival.payload, arrival.notes)
        elif arrival.topic == self._delivery.receipts:
            self._hear_receipt(arrival)
            return None
        elif arrival.topic.startswith(f"{broadcast_topic(task, BASE)}/"):
            self._handle_base_chunk(arrival.payload)
        elif self._session is not None:
            self._handle_broadcast_chunk(self._session, arrival.payload)
        if self._session is None or self._opening is None:
            return None
        return self._continue_round(self._session, self._opening)

    def _log_dropped(self, what: str, why: str) -> None:
        if self._log_limiter.allowed(""):
            log.warning("ignored %s: %s", what, why)

    def _handle_contract(self, text: bytes) -> None:
        try:
            contract = Contract.model_validate_json(text)
        except ValidationError as error:
            self._log_dropped("an invalid contract", _first_problem(error))
            return
        self._ignored.add(contract.ignored, "the contract")
        if self._session is not None and self._session.contract.run == contract.run:
            if not contract.admits(self._context.settings.name):
                self._session = self._opening = None
                self._refuse_contract(text, contract, "it was taken out of it")
            return
        if text == self._refused_contract:
            return  # of which it was told
        try:
            self._waiting_contract = None
            if self._context.base_cache.is_missing(contract):
                self._waiting_contract = contract
                self._presence.say(State.FETCHING, contract.run)
                self._subscription.start(BASE, wire.MAX_FRAME)
                return
            self._session = open_session(self._context, contract)
        except (BaseError, ConfigError, MisfitError, ModelError) as error:
            self._refuse_contract(text, contract, error)
            return
        except EdgeloopError:
            raise  # of this device's own making
        except TASK_FAILURES as error:
            self._refuse_contract(text, contract, describe_failure(error))
            return
        self._state = self._store.load(contract.run)
        if self._state is not None:
            self._session.client.restore(self._state.weights)
            number = self._state.round
            log.info("resumed after round %d", number, extra={"round": number})
        self._presence.say(State.WAITING, contract.run)
        self._restore_broadcast(self._session)

    def _handle_base_chunk(self, chunk: bytes) -> None:
        """Take a chunk of the base that a contract waits for; sit down once it is whole."""
        payload = self._subscription.offer(chunk)
        if payload is None or self._waiting_contract is None:
            return
        contract, graph = self._waiting_contract, sending.decode(self._waiting_contract, payload)
        self._context.base_cache.keep(graph)
        log.info("fetched base %s..., %d bytes", base_identity(contract), len(graph))
        self._subscription.stop()
        self._waiting_contract = None
        self._handle_contract(contract.text().encode())

    def _refuse_contract(self, text: bytes, contract: Contract, error: Exception | str) -> None:
        """Say why this device takes no part; the next contract may be another."""
        self._refused_contract = text
        self._presence.say(State.REFUSED, contract.run, reason=str(error))
        told = "cannot take part in run %s of %s: %s; waiting for another contract"
        log.error(told, contract.run, contract.task, error)

    def _restore_broadcast(self, session: TaskSession) -> None:
        """Take the broadcast that was kept before a restart, if it is this run's."""
        payload = self._store.kept_broadcast()
        try:
            kept = None if payload is None else self._decode_broadcast(session, payload)
        except WireError:
            return  # another algorithm's
        self._broadcast = kept

    def _handle_opening(self, text: bytes, notes: Notes) -> None:
        self._notes = notes
        try:
            self._opening = Opening.model_validate_json(text)
        except ValidationError as error:
            self._log_dropped("an invalid round", _first_problem(error))
            return
        self._trace_notes = notes_of(self._opening.trace, notes)
        self._delivery.hear_opening(self._opening, notes)
        self._ignored.add(self._opening.ignored, "an opening")

    def _handle_broadcast_chunk(self, session: TaskSession, chunk: bytes) -> None:
        """Take a chunk of a broadcast; keep the broadcast if it is whole, and the one wanted."""
        payload = self._subscription.offer(chunk)
        if payload is None or self._opening is None:
            return
        broadcast = self._decode_broadcast(session, payload)
        if broadcast[0] == self._opening.digest:
            self._subscription.stop()
            self._store.keep_broadcast(payload)
            self._broadcast = broadcast

    def _decode_broadcast(self, session: TaskSession, payload: bytes) -> tuple[str, Any]:
        """Return a frame's broadcast, and before it its digest, of what this side ignores too.

        Raises:
            WireError: if it is none of this task's.
        """
        kind = session.task_client.broadcast
        frame = wire.decode(payload, kind, sizes=session.task_client.sizes)
        if (frame.envelope.task, frame.envelope.sender) != (session.contract.task, SERVER):
            raise wire.ContentError(f"{frame.envelope} came as a broadcast")
        self._ignored.add(frame.ignored, "a broadcast")
        return wire.fingerprint_of(payload), frame[kind]

    def _continue_round(self, session: TaskSession, opening: Opening) -> Path | None:
        """Answer the open round: from memory if it was answered before, else by working."""
        if opening.run != session.contract.run:
            return None  # its contract is still on its way
        last = opening.round >= session.contract.rounds
        if self._state is None and last and self._rested != opening.run:
            log.info("the run is over, without this device; waiting for another one")
            self._presence.say(State.SLEEPING, opening.run)
            self._opening = None
            return None
        if opening.same_round(self._work.failed):
            self._opening = None
            return None
        if not opening.asks(self._context.settings.name, self._notes):
            log.info("round %d: not asked", opening.round, extra={"round": opening.round})
            self._rested = opening.run
            self._opening = None
            self._subscription.stop()
            self._presence.say(State.WAITING, opening.run)
            return None
        new = self._state is None or opening.round > self._state.round
        if (new or last) and not self._has_broadcast(session, opening):
            self._presence.say(State.FETCHING, opening.run, opening.round)
            self._subscription.start(opening.slot, opening.size)
            return None
        self._opening = None
        self._subscription.stop()
        if not self._answer(session, opening, new):
            return None
        if not last or self._broadcast is None or self._concluded == (opening.run, opening.digest):
            return None
        self._concluded = opening.run, opening.digest
        self._await_receipt(RECEIPT_SECONDS)
        self._presence.say(State.FINISHING, opening.run, opening.round)
        assert self._state is not None  # noqa: S101 - an answer has just been remembered
        summary = self._work.write_results(session, self._state, self._broadcast[1])
        self._presence.say(State.SLEEPING, opening.run)
        return summary

    def _has_broadcast(self, session: TaskSession, opening: Opening) -> bool:
        """Return whether a round's broadcast is here: the last one, or what every run begins with.

        The second is not kept: who is started again makes it again.
        """
        for known in (self._broadcast, session.task_client.first):
            if known is not None and known[0] == opening.digest:
                self._broadcast = known
                return True
        return False

    def _answer(self, session: TaskSession, opening: Opening, new: bool) -> bool:
        """Send the answer to a round, worked out or remembered; tell whether there is one."""
        if not new:
            return self._answer_again(session, opening)
        assert self._broadcast is not None  # noqa: S101 - or it would be fetched now
        if opening.round < session.contract.rounds:
            session = self._session = renewed(self._context, session)
        with self._tracer.span("train", self._trace_notes, round=opening.round):
            messages = self._work.answer(session, opening, self._broadcast[1])
        if messages is None:
            return False
        with self._tracer.span("upload", self._trace_notes, round=opening.round) as traced:
            self._state = self._remember(session, opening.round, messages, context_of(traced))
            self._store.save(self._state)
            self._state = self._send(session, self._state, traced)
        return True

    def _answer_again(self, session: TaskSession, opening: Opening) -> bool:
        """Send the answer to a round as it was remembered; tell whether there is one."""
        assert self._state is not None  # noqa: S101 - a round that is not new was answered before
        if opening.round < self._state.round:
            log.warning(
                "round %d is open, and round %d was answered: nothing is sent; if the task was"
                " restored from a backup, restore this device or remove its state.safetensors",
                opening.round,
                self._state.round,
            )
            return False
        if self._delivery.wants(self._state.answer, self._notes):
            self._state = self._send_again(session, self._state)
        return True

    def _send_again(self, session: TaskSession, state: AgentState) -> AgentState:
        """Send the remembered answer; return the memory with the bytes that this took besides."""
        with self._tracer.span("upload", self._trace_notes, round=state.round) as traced:
            return self._send(session, state, traced, again=True)

    def _send(
        self, session: TaskSession, state: AgentState, traced: Notes, again: bool = False
    ) -> AgentState:
        """Send the answer; return the memory with the bytes that this really took."""
        notes = self._answer_notes(session, traced)
        last = state.round >= session.contract.rounds
        sent = self._delivery.send(state, notes, again=again, last=last)
        self._presence.say(State.ANSWERED, state.run, state.round)
        return sent

    def _answer_notes(self, session: TaskSession, traced: Notes = NONE) -> Notes:
        """Return what goes with an answer: what a report has fields for, where 0.1 reads it."""
        if wire.grows(self._notes):
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
        grown = wire.grows(self._notes)
        envelope = Envelope(
            session.contract.task,
            session.contract.run,
            number,
            self._context.settings.name,
            trace,
            "" if self._state is None else self._state.trained_before(number),
        )
        payload = self._work.frame(session, envelope, messages, grown)
        before = self._state or AgentState(session.contract.run, number, payload)
        bytes_down, self._subscription.bytes = self._subscription.bytes, 0
        return AgentState(
            session.contract.run,
            number,
            payload,
            session.client.weights(),
            {**before.accuracies, str(number): accuracy},
            {**before.traffic, str(number): {"down": bytes_down, "up": len(payload)}},
        )


def _first_problem(error: ValidationError) -> str:
    """Return the first problem of an invalid message, its field first."""
    place, problem, _ = wording.first_finding(error.errors())
    where = ".".join(map(str, place))
    return f"field {where!r}: {problem}" if where else problem


def _may_read(topic: str) -> str:
    """Say what to look at while nothing comes; a broker is silent about what one may not read."""
    return f"nothing yet on {topic}; does its aggregator run, and may this device read that topic?"
