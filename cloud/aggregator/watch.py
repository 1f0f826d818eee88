"""Puts what a run's cohort sees into the run's metrics and log."""

import logging
import time
from collections.abc import Container

from cloud.aggregator.answer_record import AnswerRecord
from cloud.aggregator.metrics import Metrics
from edgeloop.cohorts.events import (
    AnswersGathered,
    DeviceMessage,
    Event,
    RoundOpened,
    UploadExcluded,
)
from edgeloop.protocol.gathering import Verdict
from edgeloop.runtime.pace import LogRateLimiter
from edgeloop.runtime.tracing import NONE, Notes

log = logging.getLogger(__name__)

ANSWERS_LOGGED = 100
"""Accepted answers that have a line of their own in the log, within a minute."""


class EventReporter:
    """Tells of each event.

    Args:
        members: who is in the run.
        metrics: of the run.
        record: of what came of answers; one that nobody reads if not given.

    Attributes:
        opened: when the open round was, on `time.monotonic`.
        notes: of the open round's trace.
        answers: notes of the traces of its accepted answers.
    """

    def __init__(
        self, members: Container[str], metrics: Metrics, record: AnswerRecord | None = None
    ) -> None:
        self._record = record or AnswerRecord()
        self.opened = time.monotonic()
        self.notes = NONE
        self.answers: list[Notes] = []
        self._round = 0
        self._invited = members
        self._metrics = metrics
        self._lines = LogRateLimiter()
        self._answered = LogRateLimiter(ANSWERS_LOGGED)

    def observe(self, event: Event) -> None:
        """Tell of an event."""
        if isinstance(event, RoundOpened):
            self.opened, self._round = time.monotonic(), event.round_number
            self.notes, self.answers = event.notes, []
            self._metrics.round_opened(event.round_number, event.size, event.answers)
            self._record.opened(event.round_number, event.size)
            self._metrics.step("publish", event.seconds)
        elif isinstance(event, AnswersGathered):
            self._metrics.answers_missing(event.missing)
            self._metrics.step("wait", event.seconds)
        elif isinstance(event, UploadExcluded):
            self._metrics.message_received(event.verdict, 0, 0.0)
            self._record.excluded(event)
        else:
            self._report_message(event)

    def _report_message(self, event: DeviceMessage) -> None:
        if event.device in self._invited:
            if event.online is None:
                self._metrics.ignored(event.ignored)
                if event.report is not None:
                    self._metrics.fleet.reported(event.device, event.report)
            else:
                self._metrics.fleet.presence(event.device, online=event.online)
        if event.verdict is Verdict.ACCEPTED:
            self.answers.append(event.notes)
        if event.verdict is not None:
            invited = event.device in self._invited
            self._record.answered(event, self._round, invited=invited)
            self._metrics.message_received(
                event.verdict, event.size, time.monotonic() - self.opened
            )
            if event.verdict is not Verdict.TOO_MANY:  # of which there is a line
                self._log_answer(event.device, event.verdict, event.size)

    def _log_answer(self, device: str, verdict: Verdict, size: int) -> None:
        """Log an answer; of many within a minute not each, which would take as long as the rest."""
        left = (
            self._answered.allowed(verdict.name)
            if verdict is Verdict.ACCEPTED
            else self._lines.allowed(device * (device in self._invited))
        )
        if not left:
            return
        more = verdict is Verdict.ACCEPTED and left == 1
        facts = {"device": device, "verdict": verdict.name.lower(), "bytes": size}
        text = "%s: %s (%d bytes)%s"
        note = "; further answers within a minute are counted, and not listed" if more else ""
        log.info(text, device, verdict.value, size, note, extra={**facts, "round": self._round})
