"""What happens in a run, as Prometheus metrics; no label ever holds a device's name."""

import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, get_args

from prometheus_client import ProcessCollector, generate_latest

from cloud.aggregator import expiry
from cloud.aggregator.fleet import Fleet
from cloud.aggregator.ledger import RoundCounts
from cloud.aggregator.series import Series
from cloud.aggregator.settings import TaskSettings
from edgeloop.mqtt.connection import Refusable
from edgeloop.protocol.gathering import Verdict
from edgeloop.protocol.task import Contract

Phase = Literal["starting", "running", "evaluating", "finished"]
"""What an aggregator is doing."""

Step = Literal["publish", "wait", "aggregate", "store"]
"""What a round's time goes to."""

Operation = Literal["sample_latents", "synthesize"]
"""What a generator is asked for."""

OTHER = "other"
REFUSALS = (
    "not_authorized",
    "quota_exceeded",
    "topic_filter_invalid",
    "topic_name_invalid",
    OTHER,
)
"""Why a broker refuses a message or a topic, as MQTT 5 names the reasons."""

_ROUND_SECONDS = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14_400, 86_400)
_STEP_SECONDS = (0.001, 0.01, 0.1, 1, 10, 60, 600, 3600, 14_400, 86_400)
_SHORT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_FACTS = ("task", "run", "algorithm")


class Metrics:
    """The metrics of one aggregator, in a registry of its own; tell it what happens.

    Any thread may call any method.

    Args:
        now: seconds since 1970.

    Attributes:
        fleet: those of all devices together.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._series = Series()
        ProcessCollector(registry=self._series.registry)
        self.fleet = Fleet(self._series)
        self._make_progress()
        self._make_settings()
        self._make_durations()
        self._make_results()
        self._make_traffic()
        self._make_neighbours()
        self._make_refusals()

    def _make_progress(self) -> None:
        made = self._series
        self._task = made.gauge("task_info", "Task, run and algorithm of this aggregator.", _FACTS)
        phases = made.gauge("task_phase", "1 for the current phase, else 0.", ("phase",))
        self._phases = {phase: phases.labels(phase) for phase in get_args(Phase)}
        self.phase("starting")
        self._round = made.gauge("round", "The open round, counted from 0.")
        self._rounds = made.gauge("rounds_planned", "Number of rounds of the run.")
        self._answers = made.gauge("round_answers", "Answers to the open round so far.")
        self._closed = made.counter("rounds_closed_total", "Rounds closed since the start.")
        self._opened = made.gauge(
            "round_opened_timestamp_seconds", "Time at which the open round was opened, since 1970."
        )

    def _make_settings(self) -> None:
        made = self._series
        self._quorum = made.gauge("quorum", "Number of answers that a round needs.")
        self._deadline = made.gauge(
            "round_deadline_seconds", "How long a round waits for answers beyond the quorum."
        )
        self._give_up = made.gauge(
            "round_give_up_seconds", "How long a round waits for the quorum itself."
        )
        self._expiry = made.gauge(
            "certificate_expiry_timestamp_seconds",
            "Time at which the first certificate of a file expires, since 1970.",
            ("certificate",),
        )

        self._budget = made.gauge(
            "epsilon_budget", "Privacy budget that no device may exceed in this task."
        )
        self._budget.set(math.nan)

    def _make_durations(self) -> None:
        made = self._series
        self._round_seconds = made.histogram(
            "round_seconds", "From a round's opening to its closing.", _ROUND_SECONDS
        )
        steps = made.histogram(
            "round_step_seconds", "Time of each step of a round.", _STEP_SECONDS, ("step",)
        )
        self._steps = {step: steps.labels(step) for step in get_args(Step)}
        self._delay = made.histogram(
            "upload_delay_seconds", "From a round's opening to an accepted upload.", _ROUND_SECONDS
        )

    def _make_results(self) -> None:
        made = self._series
        self._participants = made.gauge("participants", "Devices that answered the last round.")
        self._stragglers = made.counter(
            "stragglers_total", "Answers that were missing when a round was closed."
        )
        self._accuracy = made.gauge(
            "accuracy_ratio",
            "Accuracy on the test samples of all devices in the last round, before its training.",
        )
        self._accuracy.set(math.nan)  # unknown; 0 would look like a bad model
        self._measures = made.gauge(
            "algorithm_measure", "The algorithm's own numbers of the last round.", ("measure",)
        )

    def _make_traffic(self) -> None:
        made = self._series
        self._upload_bytes = made.counter("upload_bytes_total", "Bytes that devices sent.")
        self._broadcast_bytes = made.counter(
            "broadcast_bytes_total", "Bytes of broadcasts given to the broker, once a round."
        )
        uploads = made.counter(
            "uploads_total", "Uploads that devices sent, by verdict.", ("verdict",)
        )
        self._uploads = {  # made here, so that a verdict that never fell is 0 and not missing
            verdict: uploads.labels(verdict.name.lower()) for verdict in Verdict
        }

        self._ignored = made.counter(
            "ignored_fields_total", "Fields of newer versions in devices' answers, ignored."
        )
        self.ignored_fields = 0

    def _make_refusals(self) -> None:
        refused = self._series.counter(
            "broker_refusals_total",
            "Messages that the broker did not accept, and topics that it does not deliver.",
            ("operation", "reason"),
        )
        self._refused = {
            (operation, reason): refused.labels(operation, reason)
            for operation in get_args(Refusable)
            for reason in REFUSALS
        }

    def _make_neighbours(self) -> None:
        made = self._series
        self._connected = made.gauge("broker_connected", "1 while connected to the MQTT broker.")
        self._reconnects = made.counter(
            "broker_reconnects_total", "Connections to the broker after the first one."
        )
        self._connections = 0
        self._ready = made.gauge(
            "generator_ready", "1 unless the round waits for a generator that does not answer."
        )
        self._ready.set(1)
        asked = made.histogram(
            "generator_seconds", "A request to the generator.", _SHORT_SECONDS, ("operation",)
        )
        self._asked = {each: asked.labels(each) for each in get_args(Operation)}
        self._failures = made.counter(
            "generator_failures_total", "Requests that the generator did not answer."
        )
        self._written = made.histogram(
            "ledger_write_seconds", "A transaction that writes to the ledger.", _SHORT_SECONDS
        )
        self._committed = made.gauge(
            "ledger_committed_timestamp_seconds",
            "Time at which the ledger last stored the state of the run, since 1970.",
        )

    def run_started(
        self, contract: Contract, settings: TaskSettings, committed: float | None
    ) -> None:
        """A run began or continues.

        Args:
            contract: of the run.
            settings: of the task.
            committed: when its ledger last stored where it stands, since 1970; None if never.
        """
        self._task.labels(*(getattr(contract, fact) for fact in _FACTS)).set(1)
        self._rounds.set(contract.rounds)
        self.invited(len(contract.devices), settings.cohort.least(len(contract.devices)))
        if contract.privacy is not None and contract.privacy.epsilon is not None:
            self._budget.set(contract.privacy.epsilon)
        cohort = settings.cohort
        self._deadline.set(cohort.deadline_seconds)
        self._give_up.set(max(cohort.deadline_seconds, cohort.give_up_seconds))
        for name, path in expiry.files(settings.broker).items():  # read at each scrape
            self._expiry.labels(name).set_function(partial(expiry.earliest, path))
        self._committed.set(self._now() if committed is None else committed)

    def invited(self, devices: int, quorum: int) -> None:
        """So many devices are in the run, of whom so many must answer a round."""
        self.fleet.invited(devices)
        self._quorum.set(quorum)

    def phase(self, now: Phase) -> None:
        """The aggregator does something else from now on."""
        for phase, gauge in self._phases.items():
            gauge.set(phase == now)

    def connected(self, yes: bool) -> None:
        """The broker was reached, or lost."""
        self._connected.set(yes)
        self._connections += yes
        if yes and self._connections > 1:
            self._reconnects.inc()

    def refused(self, operation: Refusable, reason: str) -> None:
        """The broker refuses something, with one of MQTT's reasons."""
        name = reason.lower().replace(" ", "_")
        self._refused[operation, name if name in REFUSALS else OTHER].inc()

    def generator(self, ready: bool) -> None:
        """The generator answers, or has just failed to."""
        self._ready.set(ready)
        self._failures.inc(not ready)

    def generator_request(self, operation: Operation, seconds: float) -> None:
        """The generator has answered."""
        self._asked[operation].observe(seconds)

    def ledger_write(self, seconds: float) -> None:
        """The ledger has committed a transaction."""
        self._written.observe(seconds)

    def round_opened(self, round_number: int, size: int, answers: int = 0) -> None:
        """A round opened with a broadcast of so many bytes, and answers from before a restart."""
        self._round.set(round_number)
        self._answers.set(answers)
        self._opened.set(self._now())
        self._broadcast_bytes.inc(size)

    def ignored(self, fields: int) -> None:
        """An answer had so many fields that only a newer version knows."""
        self.ignored_fields += fields
        self._ignored.inc(fields)

    def step(self, name: Step, seconds: float) -> None:
        """A part of a round is done."""
        self._steps[name].observe(seconds)

    def message_received(self, verdict: Verdict, size: int, delay: float) -> None:
        """A device sent so many bytes, so long after the round's opening; this became of them."""
        self._uploads[verdict].inc()
        self._upload_bytes.inc(size)
        if verdict is Verdict.ACCEPTED:
            self._answers.inc()
            self._delay.observe(delay)

    def answers_missing(self, devices: int) -> None:
        """A round takes no more answers, and so many are missing."""
        self._stragglers.inc(devices)

    def algorithm_metrics(self, measures: Mapping[str, float]) -> None:
        """The algorithm's own numbers of a round."""
        for name, value in measures.items():
            self._measures.labels(name).set(value)

    def round_closed(self, round_number: int, seconds: float) -> None:
        """A round is stored; the next one is open."""
        self._round.set(round_number + 1)
        self._closed.inc()
        self._committed.set(self._now())
        self._round_seconds.observe(seconds)

    def evaluated(self, counts: RoundCounts) -> None:
        """Devices evaluated a broadcast."""
        self._participants.set(counts.participants)
        self._accuracy.set(math.nan if counts.accuracy is None else counts.accuracy)

    def exposition(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        self.fleet.count()
        return generate_latest(self._series.registry)
