"""What a device does in a round, and at a run's end: its work, without a word on how it travels."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge.agent import sensors
from edge.agent.companions import Companions
from edge.agent.outcome import write_results
from edge.agent.patience import until_written
from edge.agent.policy import permission
from edge.agent.presence import PresenceTeller
from edge.agent.store import AgentState, AgentStore
from edge.agent.task_session import DeviceContext, TaskSession
from edgeloop.answers import Report
from edgeloop.errors import EdgeloopError
from edgeloop.mixing.wording import in_use
from edgeloop.privacy import accounting
from edgeloop.protocol import wire
from edgeloop.protocol.presence import State
from edgeloop.protocol.task import Opening
from edgeloop.protocol.wire import Envelope

log = logging.getLogger(__name__)

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


class RoundWork:
    """The work of one device.

    Args:
        context: its settings and data.
        store: its memory.
        presence: says what it is doing.

    Attributes:
        failed: the last round that could not be worked at.
    """

    def __init__(self, context: DeviceContext, store: AgentStore, presence: PresenceTeller) -> None:
        self.failed: Opening | None = None
        self._context, self._store, self._presence = context, store, presence

    def answer(
        self, session: TaskSession, opening: Opening, broadcast: Any
    ) -> tuple[Any, ...] | None:
        """Return the messages of the answer to a round, its report last.

        None where the broadcast cannot be worked with; then the model is as it was.
        """
        before = session.client.weights()
        try:
            return self._answer(session, opening.round, broadcast)
        except EdgeloopError:
            raise
        except TASK_FAILURES as error:
            session.client.restore(before)
            self.failed = opening
            number, why = opening.round, f"the broadcast cannot be used ({describe_failure(error)})"
            self._presence.say(State.WAITING, opening.run, number, why)
            text = "round %d: %s; waiting for the next round"
            log.warning(text, number, why, extra={"round": number})
            return None

    def _answer(self, session: TaskSession, number: int, broadcast: Any) -> tuple[Any, ...]:
        """Train a round, or evaluate the last broadcast; return the answer's messages."""
        rounds = session.contract.rounds
        log.info("round %d of %d: working", number, rounds, extra={"round": number})
        last = number >= rounds
        state = State.EVALUATING if last else State.TRAINING
        self._presence.say(state, session.contract.run, number)
        if last:
            return (session.client.finish(broadcast),)
        trains = permission(self._context.settings.policy).trains
        answer = session.answer(number, broadcast, trains)
        return (answer.report,) if answer.upload is None else (answer.upload, answer.report)

    def frame(
        self,
        session: TaskSession,
        envelope: Envelope,
        messages: tuple[Any, ...],
        grown: bool,
    ) -> bytes:
        """Return an answer as it is sent.

        Args:
            session: the device's place in the run.
            envelope: whose it is.
            messages: the answer's.
            grown: whether the aggregator takes fields that 0.1 does not know.
        """
        *uploads, report = messages
        if grown and self._context.settings.health:
            report = report.with_health(sensors.read_health().plausible())
        if session.privacy is not None:
            report = replace(report, epsilon=accounting.round_up(session.privacy.epsilon))
        return wire.encode(envelope, *uploads, report, grown=grown)

    def write_results(
        self, session: TaskSession, state: AgentState, broadcast: Any
    ) -> tuple[Path, str]:
        """Mix the classifier with one trained alone, export it, check it, write the summary.

        Returns:
            the summary's path, and what is in use for who hears of the device: nothing of a device
            with a privacy budget, whose own data have chosen it.
        """
        mine = self._context
        budget = session.privacy
        facts = {
            **({} if budget is None else {"epsilon": budget.epsilon}),
            "architecture": session.task_client.architecture,
            "licence": mine.settings.model.licence,
            "pixels": session.share.pixels,
            "train_samples": len(session.share.data.train),
            "test_samples": len(session.share.data.test),
            "accuracy_by_round": dict(state.accuracies),
            "bytes_by_round": dict(state.traffic),
        }
        final, about = session.task_client.finalize(broadcast), session.contract

        def write() -> Path:
            self._store.archive_previous_run(about.run)
            settings = mine.settings
            return write_results(settings.folder, settings.name, about, final, broadcast, facts)

        summary = until_written(write, self._presence.obstacle)
        Companions(mine.settings.folder, session.share, mine.settings.model.int8).write()
        return summary, "" if budget is not None else in_use(json.loads(summary.read_bytes()))


def log_accuracy(number: int, report: Report) -> float | None:
    """Say what an evaluation came to, and return it; None without test samples."""
    accuracy = report.accuracy if report.test_samples else None
    known = "no test samples" if accuracy is None else f"accuracy {accuracy:.4f} before training"
    log.info("round %d: %s", number, known, extra={"round": number, "accuracy": accuracy})
    return accuracy
