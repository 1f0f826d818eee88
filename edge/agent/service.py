"""A device's part in a task: waits for the contract, answers each round once, ends with ONNX."""

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edge.agent import sensors
from edge.agent.outcome import write_results
from edge.agent.store import AgentState, AgentStore
from edge.agent.task_session import DeviceContext, TaskSession, open_session, renewed
from edgeloop.answers import Report
from edgeloop.bases import sending
from edgeloop.bases.sending import SLOT as BASE
from edgeloop.bases.sending import base_identity
from edgeloop.errors import BaseError, ConfigError, EdgeloopError, MisfitError, ModelError
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.privacy import accounting
from edgeloop.protocol import wire
from edgeloop.protocol.chunks import Assembler
from edgeloop.protocol.task import (
    SERVER,
    SMALL,
    Contract,
    Opening,
    broadcast_topic,
    contract_topic,
    is_addressed_to,
    is_reminder,
    round_topic,
    upload_topic,
)
from edgeloop.protocol.wire import Envelope, WireError
from edgeloop.runtime import wording
from edgeloop.runtime.pace import LogRateLimiter, Timer
from edgeloop.runtime.tracing import NONE, SILENT, Notes, Tracer, context_of, notes_of

log = logging.getLogger(__name__)

FIRST_STATUS_SECONDS, STATUS_SECONDS = 10.0, 60.0
"""Before the first line on what is waited for, and between two of them."""

RESEND_SMALL_SECONDS, RESEND_LARGE_SECONDS = 10.0, 300.0
"""At least between two sendings of one answer that is asked for again: a small, a large one."""

FLUSH_SECONDS, REFUSED_SECONDS = 1.0, 30.0
"""Between two looks at whether the broker has the last answer, and before a refused one goes."""


TASK_FAILURES = (
    ArithmeticError,
    AssertionError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    Warning,
)
"""What numbers in a contract or a broadcast can make torch or an algorithm raise."""


def describe_failure(error: Exception) -> str:
    """Return an error that is nobody's message as one."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def subscriptions(task: str) -> list[str]:
    """Return what a device's link subscribes to; broadcasts only while it fetches one."""
    return [contract_topic(task), round_topic(task)]


class BroadcastSubscription:
    """Subscribes to a broadcast while it is wanted.

    Attributes:
        assembler: puts its chunks together.
        bytes: that have arrived since somebody set this to 0.
    """

    def __init__(self, connection: MqttConnection, task: str) -> None:
        self.assembler = Assembler(wire.MAX_FRAME)
        self.bytes = 0
        self._connection = connection
        self._task = task
        self._filter: str | None = None

    def start(self, slot: int | str, size: int) -> None:
        """Have a slot's broadcast, or the base, of about so many bytes, unless it is on its way."""
        wanted = f"{broadcast_topic(self._task, slot)}/+"
        self.assembler.limit = min(2 * size + SMALL, wire.MAX_FRAME)
        if wanted != self._filter:
            self.stop()
            self._filter = wanted
            self._connection.subscribe(wanted)

    def stop(self) -> None:
        """Have no broadcast."""
        if self._filter is not None:
            self._connection.unsubscribe(self._filter)
            self._filter = None
            self.assembler.clear()


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
        self._subscription = BroadcastSubscription(connection, context.settings.task)
        self._broadcast: tuple[str, Any] | None = None  # the last broadcast, and its digest
        self._concluded = ("", "")  # the run that came to its end here, and with which broadcast
        self._sent_at = 0.0
        self._status_timer = Timer(STATUS_SECONDS, FIRST_STATUS_SECONDS)
        self._waiting_contract: Contract | None = None  # whose base is on its way
        self._log_limiter = LogRateLimiter()
        self._failed_round: Opening | None = None  # the last round that could not be worked at
        self._refused_contract: bytes | None = None  # the last one that does not fit

    def run(self) -> Path:
        """Take part until the last broadcast; return where the summary is.

        By then the broker has this device's last answer.
        """
        while True:
            event = self._connection.receive(self._status_timer.left())
            if event is None and self._status_timer.due():
                self._connection.resubscribe_refused()
                log.info("%s, waits for %s", self._connection.state, self._waiting_for())
            if not isinstance(event, Arrival):
                continue
            try:
                summary = self._handle(event)
            except WireError as error:
                self._log_dropped(f"a message on {event.topic}", str(error))
                summary = None
            event.acknowledge()
            if summary is not None:
                self._flush_answer()
                return summary

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
        return f"the next round of {self._session.contract.rounds}{answered}"

    def _flush_answer(self) -> None:
        """Wait until the broker has the last answer, however long it is away or refuses it."""
        topic = upload_topic(self._context.settings.task, self._context.settings.name)
        status, again = Timer(STATUS_SECONDS, FIRST_STATUS_SECONDS), Timer(REFUSED_SECONDS)
        while not self._connection.flush(FLUSH_SECONDS, topic):
            if status.due():
                text = "%s, waits until the broker has the last answer"
                log.warning(text, self._connection.state)
            if self._connection.is_refused(topic):
                time.sleep(FLUSH_SECONDS)  # flush tells of a refusal at once
                if again.due() and self._session is not None and self._state is not None:
                    self._state = self._send_again(self._session, self._state)

    def _handle(self, arrival: Arrival) -> Path | None:
        self._subscription.bytes += len(arrival.payload)
        task = self._context.settings.task
        if not arrival.payload:
            return None  # a retained message that was cleared
        if arrival.topic == contract_topic(task):
            self._handle_contract(arrival.payload)
        elif arrival.topic == round_topic(task):
            self._handle_opening(arrival.payload, arrival.notes)
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
            if self._context.settings.name not in contract.devices:
                self._session = self._opening = None
                self._refuse_contract(text, contract, "it was taken out of it")
            return
        if text == self._refused_contract:
            return  # of which it was told
        try:
            self._waiting_contract = None
            if self._context.base_cache.is_missing(contract):
                self._waiting_contract = contract
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
        self._restore_broadcast(self._session)

    def _handle_base_chunk(self, chunk: bytes) -> None:
        """Take a chunk of the base that a contract waits for; sit down once it is whole."""
        payload = self._subscription.assembler.offer(chunk)
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
        self._ignored.add(self._opening.ignored, "an opening")

    def _handle_broadcast_chunk(self, session: TaskSession, chunk: bytes) -> None:
        """Take a chunk of a broadcast; keep the broadcast if it is whole, and the one wanted."""
        payload = self._subscription.assembler.offer(chunk)
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
        if self._state is None and last:
            log.info("the run is over, without this device; waiting for another one")
            self._opening = None
            return None
        if opening.same_round(self._failed_round):
            self._opening = None
            return None
        new = self._state is None or opening.round > self._state.round
        if (new or last) and not self._has_broadcast(session, opening):
            self._subscription.start(opening.slot, opening.size)
            return None
        self._opening = None
        self._subscription.stop()
        if not self._answer(session, opening, new):
            return None
        if not last or self._broadcast is None or self._concluded == (opening.run, opening.digest):
            return None
        self._concluded = opening.run, opening.digest
        return self._write_results(session, self._broadcast[1])

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
            messages = self._try_round(session, opening, self._broadcast[1])
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
        if self._should_resend(self._state.answer):
            self._state = self._send_again(session, self._state)
        return True

    def _should_resend(self, answer: bytes) -> bool:
        """Return whether to send an answer again now that its round is announced again.

        At once if the announcement is a new connection's. One that only reminds of the round comes
        every half minute: then not if the aggregator has the answer, or it is on its way, or was
        sent a short while ago.
        """
        mine = self._context.settings
        large, reminded = len(answer) > SMALL, is_reminder(self._notes)
        if (large or reminded) and self._connection.is_pending(upload_topic(mine.task, mine.name)):
            return False
        if not reminded:
            return True
        waited = time.monotonic() - self._sent_at
        return is_addressed_to(self._notes, mine.name) and waited >= (
            RESEND_LARGE_SECONDS if large else RESEND_SMALL_SECONDS
        )

    def _send_again(self, session: TaskSession, state: AgentState) -> AgentState:
        """Send the remembered answer; return the memory with the bytes that this took besides."""
        with self._tracer.span("upload", self._trace_notes, round=state.round) as traced:
            return self._send(session, state, traced, again=True)

    def _send(
        self, session: TaskSession, state: AgentState, traced: Notes, again: bool = False
    ) -> AgentState:
        """Send the answer; return the memory with the bytes that this really took."""
        topic = upload_topic(session.contract.task, self._context.settings.name)
        notes = NONE if wire.grows(self._notes) else {**self._older_notes(session), **traced}
        size = self._connection.send(topic, state.answer, notes)
        self._sent_at = time.monotonic()
        counts = state.traffic.get(str(state.round), {"down": 0, "up": 0})
        moved = {**counts, "up": counts["up"] + size if again else size}
        return replace(state, traffic={**state.traffic, str(state.round): moved})

    def _older_notes(self, session: TaskSession) -> dict[str, str]:
        """Return what a report has fields for, as an aggregator of 0.1 takes it."""
        notes = sensors.read_health().notes() if self._context.settings.health else {}
        if session.privacy is not None:
            notes |= accounting.epsilon_notes(session.privacy.epsilon)
        return notes

    def _try_round(
        self, session: TaskSession, opening: Opening, broadcast: Any
    ) -> tuple[Any, ...] | None:
        """Work at a round; where its broadcast cannot be worked with, leave the model as it was."""
        before = session.client.weights()
        try:
            return self._run_round(session, opening.round, broadcast)
        except EdgeloopError:
            raise
        except TASK_FAILURES as error:
            session.client.restore(before)
            self._failed_round = opening
            text = "round %d: the broadcast cannot be used (%s); waiting for the next round"
            number = opening.round
            log.warning(text, number, describe_failure(error), extra={"round": number})
            return None

    def _run_round(self, session: TaskSession, number: int, broadcast: Any) -> tuple[Any, ...]:
        """Train a round, or evaluate the last broadcast; return the answer's messages."""
        rounds = session.contract.rounds
        log.info("round %d of %d: working", number, rounds, extra={"round": number})
        if number >= rounds:
            return (session.client.finish(broadcast),)
        answer = session.answer(number, broadcast)
        return (answer.report,) if answer.upload is None else (answer.upload, answer.report)

    def _remember(
        self, session: TaskSession, number: int, messages: tuple[Any, ...], trace: str
    ) -> AgentState:
        """Return what to remember of a round: the answer as bytes, and what it came to."""
        *uploads, report = messages
        accuracy = _log_accuracy(number, report)
        grown, name = wire.grows(self._notes), self._context.settings.name
        if grown and self._context.settings.health:
            report = report.with_health(sensors.read_health().plausible())
        envelope = Envelope(session.contract.task, session.contract.run, number, name, trace)
        payload = wire.encode(envelope, *uploads, session.with_epsilon(report), grown=grown)
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

    def _write_results(self, session: TaskSession, broadcast: Any) -> Path:
        """Mix the classifier with one trained alone, export it, check it, write the summary."""
        assert self._state is not None  # noqa: S101 - an answer has just been remembered
        mine = self._context
        budget = session.privacy
        facts = {
            **({} if budget is None else {"epsilon": budget.epsilon}),
            "architecture": session.task_client.architecture,
            "pixels": session.share.pixels,
            "train_samples": len(session.share.data.train),
            "test_samples": len(session.share.data.test),
            "accuracy_by_round": dict(self._state.accuracies),
            "bytes_by_round": dict(self._state.traffic),
        }
        folder = mine.settings.folder
        final = session.task_client.finalize(broadcast)
        self._store.archive_previous_run(session.contract.run)
        return write_results(folder, mine.settings.name, session.contract, final, broadcast, facts)


def _log_accuracy(number: int, report: Report) -> float | None:
    """Say what an evaluation came to, and return it; None without test samples."""
    accuracy = report.accuracy if report.test_samples else None
    known = "no test samples" if accuracy is None else f"accuracy {accuracy:.4f} before training"
    log.info("round %d: %s", number, known, extra={"round": number, "accuracy": accuracy})
    return accuracy


def _first_problem(error: ValidationError) -> str:
    """Return the first problem of an invalid message, its field first."""
    place, problem, _ = wording.first_finding(error.errors())
    where = ".".join(map(str, place))
    return f"field {where!r}: {problem}" if where else problem


def _may_read(topic: str) -> str:
    """Say what to look at while nothing comes; a broker is silent about what one may not read."""
    return f"nothing yet on {topic}; does its aggregator run, and may this device read that topic?"
