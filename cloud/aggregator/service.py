"""A task from its settings to its final prototypes; every round survives a crash."""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from cloud.aggregator import alone, outcome
from cloud.aggregator.agreement import Patient, base_of, contract_of
from cloud.aggregator.http import Server, Status, app
from cloud.aggregator.ledger import Ledger
from cloud.aggregator.metrics import Metrics, Phase
from cloud.aggregator.settings import TaskSettings
from cloud.aggregator.timing import Timed
from cloud.aggregator.watch import Watch
from edgeloop import algorithms, history, rounds, tracing, wire
from edgeloop.algorithm import Algorithm
from edgeloop.bases.running import Base
from edgeloop.cohorts.events import Event, Opened, SetAside
from edgeloop.cohorts.mqtt import MqttCohort, Patience
from edgeloop.errors import RunError
from edgeloop.link import Link
from edgeloop.member import Report
from edgeloop.rounds import Closed, Standing
from edgeloop.task import SERVER, Contract, client_id, presence_topic
from edgeloop.tracing import SILENT, Tracer
from edgeloop.wire import (
    ContentError,
    DigestError,
    Envelope,
    NotFiniteError,
    RangeError,
    TruncatedError,
    WireError,
)

log = logging.getLogger(__name__)

Loaded = Algorithm[Any, Any, Any]


def serve(settings: TaskSettings) -> Path:
    """Run a task to its end, or go on with it; return where the summary is.

    Raises:
        InputError: if the settings, the folder or the broker are not right.
        TooFewUploadsError: if a round was given up.
    """
    patient = Patient(settings)
    algorithms.agreed(contract_of(settings, patient.generator))
    # so that a wrong hyperparameter is told before anything is written
    store = settings.ledger()
    try:
        settings.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError("folder", f"cannot be made ({error})", "name another one") from error
    base = base_of(settings)
    contract = contract_of(settings, patient.generator, base)
    with (
        tracing.begun(settings.trace, "edgeloop-aggregator", task=settings.name) as tracer,
        Ledger.open(store) as ledger,
    ):
        run = Run(settings, ledger.adopt(contract), ledger, patient, tracer=tracer, base=base)
        server = Server(app(run.status, run.metrics), settings.http.host, settings.http.port)
        server.start()
        log.info("metrics, health and status on http://%s:%d", settings.http.host, server.port)
        try:
            summary = run.to_its_end()
            if settings.http.linger:
                log.info("finished; answers until it is stopped")
                threading.Event().wait()
            return summary
        finally:
            server.stop()


@dataclass
class Run:
    """One run of a task: tells its ledger, its metrics and its log what happens.

    Attributes:
        settings: the task's.
        contract: as the ledger holds it.
        ledger: open.
        patient: the task's generator.
        tracer: follows each upload.
        base: that devices compute on; None where they train networks.
    """

    settings: TaskSettings
    contract: Contract
    ledger: Ledger
    patient: Patient
    metrics: Metrics = field(default_factory=Metrics)
    phase: Phase = "starting"
    connected: bool = False
    accuracy: float | None = None
    epsilon: float | None = None
    tracer: Tracer = SILENT
    base: Base | None = None

    def __post_init__(self) -> None:
        self._watch = Watch(self.contract, self.metrics)
        self._link: Link | None = None
        self._concerns: frozenset[str] = frozenset()

    def to_its_end(self) -> Path:
        """Run the rounds that are left, and write what they led to; return the summary's path."""
        self.ledger.be_patient()
        self.ledger.told = self.metrics.wrote
        self.metrics.began(self.contract, self.settings, self.ledger.committed())
        if self.ledger.finished() and self._summary.exists():
            return self._as_it_ended()
        algorithm = self._algorithm()
        standing, reports = self._rounds_left(algorithm, self._standing(algorithm))
        self._evaluated(reports)
        past = self.ledger.history()
        path = outcome.write(self._summary, self.contract, standing, past, reports, self.epsilon)
        self.ledger.finish()
        self._enter("finished")  # whoever reads it may stop us
        return path

    def _rounds_left(
        self, algorithm: Loaded, standing: Standing[Any, Any]
    ) -> tuple[Standing[Any, Any], Mapping[str, Report]]:
        """Run the rounds that are left; return where the run stands, and the last evaluation."""
        task = self.contract.task
        alone.make_sure(self.settings.broker, self.contract)
        with self._linked() as link:
            self._link = link
            self._enter("running")
            text = "task %s: goes on with round %d"
            log.info(text, task, standing.rounds, extra={"round": standing.rounds})
            cohort = MqttCohort[Any, Any](
                link,
                self.contract,
                algorithm,
                self._patience(),
                self.ledger,
                self._observe,
                tracer=self.tracer,
                base=None if self.base is None else self.base.graph,
            )
            return rounds.run(
                algorithm, cohort, self.contract.rounds, standing, partial(self._after, algorithm)
            )

    def _linked(self) -> Link:
        task = self.contract.task
        return Link(
            self.settings.broker,
            client_id(task, SERVER),
            MqttCohort.subscriptions(task),
            presence_topic(task, SERVER),
            self._connection,
            presence_notes=alone.presence_notes(self.contract.run),
            refusal=self.metrics.refused,
        )

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self.metrics.phase(phase)

    def _evaluated(self, reports: Mapping[str, Report]) -> None:
        last = outcome.counts_of(reports)
        self.accuracy, self.epsilon = last.accuracy, self.metrics.fleet.epsilon
        self.metrics.evaluated(last)
        self.metrics.fleet.evaluated(reports)

    @property
    def _summary(self) -> Path:
        return self.settings.folder / "summary.json"

    def _as_it_ended(self) -> Path:
        """Tell what a run came to that was finished before: its devices have left."""
        self.accuracy, self.epsilon = outcome.told(self._summary)
        self._enter("finished")
        log.info("task %s: was finished before; see %s", self.contract.task, self._summary)
        return self._summary

    def _algorithm(self) -> Loaded:
        """Return the contract's algorithm; it and its generator tell how long they take."""
        generator = self.patient.generator
        if generator is not None:
            self.patient.told = self.metrics.generator
            generator = Timed(generator, self.metrics.asked)
        whole = algorithms.agreed(self.contract, generator)

        def merge(state: Any, uploads: Any) -> Any:
            begun, watch = time.monotonic(), self._watch
            with self.tracer.span("aggregate", watch.notes, watch.answers):
                result = whole.learn(state, uploads)
            self.metrics.step("aggregate", time.monotonic() - begun)
            return result

        return replace(whole, merge=merge)

    def _patience(self) -> Patience:
        cohort = self.settings.cohort
        quorum = cohort.quorum or len(cohort.devices)
        return Patience(quorum, cohort.deadline_seconds, cohort.give_up_seconds)

    def _standing(self, algorithm: Loaded) -> Standing[Any, Any]:
        """Return where the ledger says that the run stands; a new run stands at its beginning."""
        kept = self.ledger.standing()
        if kept is None:
            standing = rounds.beginning(algorithm)
            self.ledger.begin(*self._frames(standing))
            return standing
        number = kept[0]
        while kept is not None:
            found = _read(self.contract, algorithm, *kept)
            if found is not None:
                if found.rounds != number:
                    text = "what round %d led to is no good: it goes on with what was known at %d"
                    log.warning(text, number - 1, found.rounds)
                return replace(found, rounds=number)
            kept = self.ledger.standing(kept[0])
        log.warning("what round %d led to is no good: it goes on as a new run begins", number - 1)
        return replace(rounds.beginning(algorithm), rounds=number)

    def _frames(self, standing: Standing[Any, Any]) -> tuple[bytes, bytes]:
        envelope = Envelope(self.contract.task, self.contract.run, standing.rounds, SERVER)
        return wire.encode(envelope, standing.state), wire.encode(envelope, standing.broadcast)

    def _connection(self, connected: bool) -> None:
        self.connected = connected
        self.metrics.connected(connected)

    def _observe(self, event: Event) -> None:
        if isinstance(event, Opened) and event.round_number == self.contract.rounds:
            self._enter("evaluating")
        self._watch.observe(event)

    def _after(self, algorithm: Loaded, closed: Closed[Any, Any, Any]) -> None:
        """Make a round's end safe, then tell of it."""
        reports = {name: answer.report for name, answer in closed.answers.items()}
        counts = outcome.counts_of(reports)
        begun = time.monotonic()
        with self.tracer.span("store", self._watch.notes, round=closed.number):
            self.ledger.close_round(closed.number, *self._frames(closed.standing), counts)
            if self.settings.history:
                history.write(self.settings.folder / "history", closed)
        self.metrics.step("store", time.monotonic() - begun)
        seconds = time.monotonic() - self._watch.opened
        self.metrics.closed(closed.number, seconds)
        self.metrics.fleet.trained(reports.values())
        for name, reason in closed.implausible.items():
            self._observe(SetAside(closed.number, name, reason))
        self._measured(algorithm, closed)
        self._evaluated(reports)
        log.info(
            "round %d of %d closed: %d answers, accuracy %.4f before it, %.1f s",
            closed.number,
            self.contract.rounds,
            counts.participants,
            counts.accuracy or 0.0,
            seconds,
            extra={"round": closed.number, "accuracy": counts.accuracy, "seconds": seconds},
        )

    def _measured(self, algorithm: Loaded, closed: Closed[Any, Any, Any]) -> None:
        """Tell the algorithm's own numbers of what the round was made of, and what is wrong."""
        uploads = rounds.counted(closed)
        if not uploads:
            return
        standing = closed.standing
        measures = algorithm.measures(uploads, standing.state, standing.broadcast)
        self.metrics.measured(measures)
        found = algorithm.concerns(measures)
        for name, sentence in found.items():
            if name not in self._concerns:  # told once, until it has passed
                log.warning(
                    *("after round %d: %s", closed.number, sentence),
                    extra={"round": closed.number, "concern": name},
                )
        self._concerns = frozenset(found)

    def status(self) -> Status:
        """Return what /status and /readyz tell; called on HTTP threads."""
        past = self.ledger.history()
        accuracy = past[-1].accuracy if self.accuracy is None and past else self.accuracy
        return Status(
            task=self.contract.task,
            run=self.contract.run,
            algorithm=self.contract.algorithm,
            phase=self.phase,
            round=len(past),
            rounds=self.contract.rounds,
            accuracy=accuracy,
            epsilon=self.metrics.fleet.epsilon or self.epsilon,
            history=tuple(past),
            broker_connected=self.connected,
            broker_refusals=() if self._link is None else tuple(self._link.refusals()),
            generator_problem=self.patient.problem,
            ledger_open=self.ledger.is_open,
        )


def _read(
    contract: Contract, algorithm: Loaded, number: int, state: bytes, broadcast: bytes
) -> Standing[Any, Any] | None:
    """Return a stored standing; None if it is damaged, or has numbers that nobody can go on with.

    Raises:
        RunError: if it is another edgeloop's.
    """
    try:
        kept, opened = (
            _message(contract, algorithm, payload, kind)
            for payload, kind in ((state, algorithm.state), (broadcast, algorithm.broadcast))
        )
        wire.check(kept)
        wire.check(opened)
    except (DigestError, NotFiniteError, RangeError, TruncatedError) as error:
        log.warning("where the run stood after %d rounds cannot be used: %s", number, error)
        return None
    except WireError as error:
        problem = f"holds a state that this edgeloop cannot read ({error})"
        raise RunError("ledger", problem, "go on with the edgeloop that wrote it") from error
    return Standing(number, kept, opened)


def _message(contract: Contract, algorithm: Loaded, payload: bytes, kind: type) -> Any:
    """Return a stored message.

    Raises:
        WireError: if it is none of this kind, of another size, or another run's.
    """
    frame = wire.decode(payload, kind, sizes=algorithm.sizes)
    if (frame.envelope.task, frame.envelope.run) != (contract.task, contract.run):
        raise ContentError(f"{frame.envelope} is another run's")
    return frame[kind]
