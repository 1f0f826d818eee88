"""What a run comes to, round by round: first stored, then measured, and said in its log."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cloud.aggregator import outcome, standing
from cloud.aggregator.ledger import Ledger, RoundCounts
from cloud.aggregator.metrics import Metrics
from cloud.aggregator.run_devices import RunDevices
from cloud.aggregator.settings import TaskSettings
from cloud.aggregator.standing import Loaded
from edgeloop import round_history, server_loop
from edgeloop.answers import Report
from edgeloop.cohorts.events import UploadExcluded
from edgeloop.implausible_uploads import Outlier
from edgeloop.runtime.tracing import Tracer
from edgeloop.server_loop import RoundResult

log = logging.getLogger(__name__)

Closed = RoundResult[Any, Any, Any]


@dataclass
class RunResults:
    """The rounds of a run as they close.

    Attributes:
        settings: of the task.
        ledger: makes a round's end safe.
        metrics: shows it.
        devices: of the run.
        tracer: follows the storing.
        accuracy: of the last evaluation; None before one.
        outliers: of the round that was closed last.
        accuracies: of devices, each on its own test samples when it was evaluated last.
    """

    settings: TaskSettings
    ledger: Ledger
    metrics: Metrics
    devices: RunDevices
    tracer: Tracer
    accuracy: float | None = None
    outliers: Sequence[Outlier] = ()
    accuracies: dict[str, float] = field(default_factory=dict)
    _warnings: frozenset[str] = field(default_factory=frozenset)

    def close(
        self, algorithm: Loaded, closed: Closed, refuse: Callable[[int, str, str], None]
    ) -> None:
        """Make a round's end safe, then show it in metrics and log.

        Args:
            algorithm: of the run.
            closed: the round.
            refuse: tells a device, in a round, why its upload was set aside.
        """
        reports = {name: answer.report for name, answer in closed.answers.items()}
        counts, told = outcome.counts_of(reports), self._measures(algorithm, closed)
        measures = {name: each for name, each in told.items() if math.isfinite(each)}
        self._store(closed, counts, measures)
        seconds = time.monotonic() - self.devices.watch.opened
        self.metrics.round_closed(closed.number, seconds)
        self.metrics.fleet.trained(reports.values())
        self.outliers = (*closed.outliers, *closed.distant)
        for name, reason in closed.excluded.items():
            self.devices.watch.observe(UploadExcluded(closed.number, name, reason))
            refuse(closed.number, name, reason)
        self._show_algorithm_metrics(algorithm, closed.number, told)
        evaluated = [each.accuracy for each in reports.values() if each.test_samples]
        self.devices.record.closed(closed.number, evaluated, measures)
        self.record_evaluation(reports)
        log.info(
            "round %d of %d closed: %d answers, accuracy %.4f before it, %.1f s",
            closed.number,
            self.devices.contract.rounds,
            counts.participants,
            counts.accuracy or 0.0,
            seconds,
            extra={"round": closed.number, "accuracy": counts.accuracy, "seconds": seconds},
        )

    def _store(self, closed: Closed, counts: RoundCounts, measures: Mapping[str, float]) -> None:
        begun = time.monotonic()
        with self.tracer.span("store", self.devices.watch.notes, round=closed.number):
            if self.settings.history:  # first: written again if the round is closed again
                shown = closed
                if self.devices.contract.secure:  # one upload, which is nobody's
                    alone = {n: replace(each, upload=None) for n, each in closed.answers.items()}
                    shown = replace(closed, answers=alone)
                round_history.write_round(self.settings.folder / "history", shown)
            frames = standing.frames(self.devices.contract, closed.run_state)
            self.ledger.close_round(closed.number, *frames, counts, measures)
        self.metrics.step("store", time.monotonic() - begun)

    def record_evaluation(self, reports: Mapping[str, Report]) -> None:
        """Take what devices have measured as where the run stands."""
        last = outcome.counts_of(reports)
        found = {name: each.accuracy for name, each in reports.items() if each.test_samples}
        self.accuracies = self.accuracies | found  # another one: HTTP may be reading
        self.accuracy = last.accuracy
        self.metrics.evaluated(last)
        self.metrics.fleet.evaluated(reports)

    def _measures(self, algorithm: Loaded, closed: Closed) -> Mapping[str, float]:
        """Return the devices' loss and the algorithm's own numbers of a round."""
        uploads, loss = server_loop.used_uploads(closed), outcome.train_loss(closed.answers)
        if not uploads:
            return {}
        run_state = closed.run_state
        own = algorithm.round_metrics(uploads, run_state.state, run_state.broadcast)
        return {**loss, **own}

    def _show_algorithm_metrics(
        self, algorithm: Loaded, number: int, measures: Mapping[str, float]
    ) -> None:
        """Show a round's numbers, and what is wrong with them."""
        if not measures:
            return
        self.metrics.algorithm_metrics(measures)
        found = algorithm.metric_warnings(measures)
        for name, sentence in found.items():
            if name not in self._warnings:  # each is logged once, until it has passed
                facts = {"round": number, "concern": name}
                log.warning("after round %d: %s", number, sentence, extra=facts)
        self._warnings = frozenset(found)
