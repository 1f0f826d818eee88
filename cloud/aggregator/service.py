"""A task from its settings to its final prototypes; every round survives a crash."""

import gc
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from cloud.aggregator import (
    alone,
    forgetting,
    leaving,
    origin,
    outages,
    outcome,
    recording,
    standing,
    waiting,
)
from cloud.aggregator.agreement import (
    GeneratorHandle,
    check_buffer,
    load_base,
    make_contract,
    unchosen,
)
from cloud.aggregator.http import Server, Status, app
from cloud.aggregator.ledger import Ledger
from cloud.aggregator.membership import LedgerMembers, remaining
from cloud.aggregator.metrics import Metrics, Phase
from cloud.aggregator.settings import TaskSettings
from cloud.aggregator.shared_rounds import SharedRounds, check_shared
from cloud.aggregator.standing import Loaded
from cloud.aggregator.timing import TimedGenerator
from cloud.aggregator.watch import EventReporter
from edgeloop import algorithms, round_history, server_loop
from edgeloop.bases.running import Base
from edgeloop.bases.sending import base_identity
from edgeloop.client import Report
from edgeloop.cohorts.events import DeviceMessage, Event, LeftError, RoundOpened, UploadExcluded
from edgeloop.cohorts.members import Members
from edgeloop.cohorts.mqtt import INFLIGHT, MqttCohort, RoundDeadlines
from edgeloop.cohorts.roster import Roster
from edgeloop.errors import EdgeloopError, RunError
from edgeloop.implausible_uploads import Outlier
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.participation import ParticipationPolicy, Sampling
from edgeloop.protocol import wire
from edgeloop.protocol.task import SERVER, Contract, client_id, presence_topic
from edgeloop.runtime import tracing
from edgeloop.runtime.tracing import SILENT, Tracer
from edgeloop.server_loop import RoundResult, RunState

log = logging.getLogger(__name__)

AGAIN_SECONDS = 60.0
"""Before a broker that could not be reached when all was done is tried again."""


def serve(settings: TaskSettings) -> Path:
    """Run a task to its end, or continue with it; return where the summary is.

    Raises:
        InputError: if the settings, the folder or the broker are not right.
        TooFewUploadsError: if a round was given up.
    """
    check_buffer(settings)
    handle = GeneratorHandle(settings)
    algorithms.load_for_contract(make_contract(settings, handle.generator))
    # so that a wrong hyperparameter is told before anything is written
    store = settings.ledger()
    try:
        settings.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError("folder", f"cannot be made ({error})", "name another one") from error
    with (
        tracing.tracing_session(
            settings.trace, "edgeloop-aggregator", task=settings.name
        ) as tracer,
        Ledger.open(store) as ledger,
    ):
        origin.check(settings.folder, settings.name, ledger)
        if settings.ingest.shared:
            check_shared(ledger)
        begun = ledger.join(settings.name)
        base = load_base(settings, None if begun is None else base_identity(begun))
        contract = make_contract(settings, handle.generator, base)
        agreed = ledger.adopt(contract, unchosen(settings))
        run = Run(settings, agreed, ledger, handle, tracer=tracer, base=base)
        origin.note(settings.folder, settings.name, ledger)
        server = Server(app(run.status, run.metrics), settings.http.host, settings.http.port)
        server.start()
        log.info("metrics, health and status on http://%s:%d", settings.http.host, server.port)
        try:
            summary = run.run_to_end()
            if settings.http.linger:
                log.info("finished; serving HTTP until stopped")
                run.stay()
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
        generator_handle: the task's generator.
        tracer: follows each upload.
        base: that devices compute on; None where they train networks.
    """

    settings: TaskSettings
    contract: Contract
    ledger: Ledger
    generator_handle: GeneratorHandle
    metrics: Metrics = field(default_factory=Metrics)
    phase: Phase = "starting"
    connected: bool = False
    accuracy: float | None = None
    epsilon: float | None = None
    tracer: Tracer = SILENT
    base: Base | None = None

    def __post_init__(self) -> None:
        self._members = Members(self.contract)
        self._watch = EventReporter(self._members, self.metrics)
        self._mqtt: MqttConnection | None = None
        self._cohort: MqttCohort[Any, Any] | None = None
        self.roster = Roster(self.contract.devices)
        self.metrics.fleet.watch(self.roster.counts)
        self._warnings: frozenset[str] = frozenset()
        self._outliers: Sequence[Outlier] = ()  # of the round that was closed last

    def run_to_end(self) -> Path:
        """Run the rounds that are left, and write what they led to; return the summary's path.

        While a disk or the database is away, the run waits; then it goes on as if started again.
        """
        gc.freeze()  # what is there now stays: looking through it again takes longer than a round
        return outages.through_outages(self._run_to_end, self.ledger.renew)

    def _run_to_end(self) -> Path:
        self.ledger.set_lock_timeout()
        self.ledger.on_write = self.metrics.ledger_write
        self._invite(remaining(self.contract, self.ledger))
        self.metrics.run_started(self.contract, self.settings, self.ledger.committed())
        self._count_members()
        if self.ledger.finished() and self._summary.exists():
            return self._finished_before()
        algorithm = self._algorithm()
        stands, reports = self._rounds_left(algorithm)
        self._record_evaluation(reports)
        past = self.ledger.history()
        path = outcome.write(self._summary, self.contract, stands, past, reports, self.epsilon)
        knowledge, refuses = wire.fingerprint(stands.broadcast), self._refuses_outliers
        record = recording.record_of(self.contract, self.ledger, knowledge, refuses)
        recording.write(self.settings.folder / recording.FILE, record)
        self.ledger.finish()
        self._set_phase("finished")  # whoever reads it may stop us
        return path

    def stay(self) -> None:
        """Answer until the process is stopped; devices may leave meanwhile."""
        while algorithms.info(self.contract.algorithm).forgets:
            self._heed(None)
            time.sleep(AGAIN_SECONDS)
        threading.Event().wait()

    def _rounds_left(self, algorithm: Loaded) -> tuple[RunState[Any, Any], Mapping[str, Report]]:
        """Run the rounds that are left; return where the run stands, and the last evaluation."""
        alone.ensure_only_aggregator(self.settings.broker, self.contract)
        self._tidy(algorithm)
        with self._connect() as connection:
            self._mqtt = connection
            while True:
                try:
                    return self._rounds(connection, algorithm)
                except LeftError as left:
                    self._part(algorithm, left.devices)
                    self._send_away(left.evicted)
                    leaving.sweep(self.settings.broker, self.contract.task)

    def _rounds(
        self, connection: MqttConnection, algorithm: Loaded
    ) -> tuple[RunState[Any, Any], Mapping[str, Report]]:
        """Go on from where the ledger says that the run stands."""
        stands = self._load_state(algorithm)
        self._set_phase("running")
        text = "task %s: resumes at round %d"
        log.info(text, self.contract.task, stands.rounds, extra={"round": stands.rounds})
        cohort = MqttCohort[Any, Any](
            connection,
            self.contract,
            algorithm,
            self._deadlines(),
            self.ledger,
            self._observe,
            tracer=self.tracer,
            base=None if self.base is None else self.base.graph,
            roster=self.roster,
            members=self._members,
            limits=self.settings.cohort.rate_limits,
            shared=SharedRounds(self.ledger) if self.settings.ingest.shared else None,
        )
        self._cohort = cohort
        return server_loop.run_rounds(
            algorithm,
            cohort,
            self.contract.rounds,
            stands,
            partial(self._on_round_end, algorithm),
            participation=self._participation(),
            refuse_outliers=self._refuses_outliers,
            rule=self.contract.robust,
        )

    @property
    def _refuses_outliers(self) -> bool:
        return self.settings.cohort.refuses_outliers

    def _participation(self) -> ParticipationPolicy | None:
        """Return who is asked in which round; None for everybody in all of them."""
        ratio = self.settings.cohort.join_ratio
        if ratio == 1:
            return None
        return Sampling(self._drawn_from, ratio, self.contract.seed, LedgerMembers(self.ledger))

    def _drawn_from(self) -> Collection[str]:
        """Return who may be asked: of an open run those who are there."""
        return self.roster.online() if self._members.are_open else frozenset(self._members)

    def _tidy(self, algorithm: Loaded) -> None:
        """Finish what a crash has left of taking devices out."""
        if self.ledger.departed():
            leaving.tidy(self.settings, self.contract, algorithm, self.ledger)
            leaving.sweep(self.settings.broker, self.contract.task)

    def _part(self, algorithm: Loaded, devices: Collection[str]) -> None:
        """Take devices out of the run, with all that they have given."""
        if not devices:
            return
        facts = self.settings, self.contract, algorithm, self.ledger
        self._invite(leaving.take_out(*facts, devices))

    def _send_away(self, devices: Collection[str]) -> None:
        """Have devices take no more part in the run."""
        if not devices:
            return
        LedgerMembers(self.ledger).evict(devices)
        for device in sorted(devices):
            log.warning("%s is evicted from the run", device, extra={"device": device})
        self._invite(remaining(self.contract, self.ledger))

    def _heed(self, seconds: float | None) -> None:
        """Take out who asks for it now that the run is over, until nobody has for so long."""
        algorithm = self._algorithm()
        if algorithm.remove_clients is None:
            return
        broker = self.settings.broker
        try:
            alone.ensure_only_aggregator(broker, self.contract)
            with self._connect() as connection:
                asking = self.ledger.departed()  # what a crash has left of it is done now
                while asking := asking or leaving.heard(connection, self.contract, seconds):
                    self._part(algorithm, asking)
                    leaving.tell(connection, broker, self.contract, algorithm, self.ledger)
                    asking = frozenset()
        except EdgeloopError as error:
            log.warning("devices that want to be taken out now are not heard: %s", error)

    def _invite(self, contract: Contract) -> None:
        self.contract = contract
        cohort = self.settings.cohort
        self._members = Members(contract, LedgerMembers(self.ledger), cohort.max_devices)
        self._watch = EventReporter(self._members, self.metrics)
        self.roster.admit(self._members)
        self.roster.keep(frozenset(self._members))
        self._count_members()

    def _count_members(self) -> None:
        self.metrics.invited(len(self._members), self._quorum())

    def _connect(self) -> MqttConnection:
        task = self.contract.task
        return MqttConnection(
            self.settings.broker,
            client_id(task, SERVER),
            MqttCohort.subscriptions(task, self.settings.ingest.shared),
            presence_topic(task, SERVER),
            self._connection,
            inflight=INFLIGHT,
            presence_notes=alone.presence_notes(self.contract.run),
            refusal=self.metrics.refused,
        )

    def _set_phase(self, phase: Phase) -> None:
        self.phase = phase
        self.metrics.phase(phase)

    def _record_evaluation(self, reports: Mapping[str, Report]) -> None:
        last = outcome.counts_of(reports)
        self.accuracy, self.epsilon = last.accuracy, self.metrics.fleet.epsilon
        self.metrics.evaluated(last)
        self.metrics.fleet.evaluated(reports)

    @property
    def _summary(self) -> Path:
        return self.settings.folder / "summary.json"

    def _finished_before(self) -> Path:
        """Tell what a run came to that was finished before: its devices have left."""
        self.accuracy, self.epsilon = outcome.read_results(self._summary)
        self._set_phase("finished")
        if not self.settings.http.linger:
            self._heed(forgetting.QUIET_SECONDS)
        log.info("task %s: was finished before; see %s", self.contract.task, self._summary)
        return self._summary

    def _algorithm(self) -> Loaded:
        """Return the contract's algorithm; it and its generator tell how long they take."""
        generator = self.generator_handle.generator
        if generator is not None:
            self.generator_handle.on_ready_change = self.metrics.generator
            generator = TimedGenerator(generator, self.metrics.generator_request)
        whole = algorithms.load_for_contract(self.contract, generator)

        def timed(aggregate: Callable[..., Any]) -> Callable[..., Any]:
            def merge(*uploads: Any) -> Any:
                begun, watch = time.monotonic(), self._watch
                with self.tracer.span("aggregate", watch.notes, watch.answers):
                    result = aggregate(*uploads)
                self.metrics.step("aggregate", time.monotonic() - begun)
                return result

            return merge

        weighted = whole.aggregate_weighted
        return replace(
            whole,
            aggregate_by_name=timed(whole.aggregate_uploads),
            aggregate_weighted=None if weighted is None else timed(weighted),
        )

    def _deadlines(self) -> RoundDeadlines:
        cohort = self.settings.cohort
        return RoundDeadlines(
            self._quorum(),
            cohort.deadline_seconds,
            cohort.give_up_seconds,
            cohort.share,
            cohort.grace_seconds,
            None if cohort.buffer is None else self._quorum(),
            cohort.max_staleness,
        )

    def _quorum(self) -> int:
        return self.settings.cohort.least(len(self._members))

    def _load_state(self, algorithm: Loaded) -> RunState[Any, Any]:
        """Return where the ledger says that the run stands; a new run stands at its beginning."""
        return standing.found(self.contract, algorithm, self.ledger)

    def _frames(self, stood: RunState[Any, Any]) -> tuple[bytes, bytes]:
        return standing.frames(self.contract, stood)

    def _connection(self, connected: bool) -> None:
        self.connected = connected
        self.metrics.connected(connected)

    def _observe(self, event: Event) -> None:
        if isinstance(event, RoundOpened) and event.round_number == self.contract.rounds:
            self._set_phase("evaluating")
        if isinstance(event, DeviceMessage) and event.joined:
            self._count_members()
        self._watch.observe(event)

    def _on_round_end(self, algorithm: Loaded, closed: RoundResult[Any, Any, Any]) -> None:
        """Make a round's end safe, then tell of it."""
        reports = {name: answer.report for name, answer in closed.answers.items()}
        counts = outcome.counts_of(reports)
        begun = time.monotonic()
        with self.tracer.span("store", self._watch.notes, round=closed.number):
            if self.settings.history:  # first: written again if the round is closed again
                round_history.write_round(self.settings.folder / "history", closed)
            self.ledger.close_round(closed.number, *self._frames(closed.run_state), counts)
        self.metrics.step("store", time.monotonic() - begun)
        seconds = time.monotonic() - self._watch.opened
        self.metrics.round_closed(closed.number, seconds)
        self.metrics.fleet.trained(reports.values())
        self._outliers = (*closed.outliers, *closed.distant)
        for name, reason in closed.excluded.items():
            self._observe(UploadExcluded(closed.number, name, reason))
            if self._cohort is not None:
                self._cohort.refuse(closed.number, name, reason)
        self._log_metrics(algorithm, closed)
        self._record_evaluation(reports)
        log.info(
            "round %d of %d closed: %d answers, accuracy %.4f before it, %.1f s",
            closed.number,
            self.contract.rounds,
            counts.participants,
            counts.accuracy or 0.0,
            seconds,
            extra={"round": closed.number, "accuracy": counts.accuracy, "seconds": seconds},
        )

    def _log_metrics(self, algorithm: Loaded, closed: RoundResult[Any, Any, Any]) -> None:
        """Tell the algorithm's own numbers of what the round was made of, and what is wrong."""
        uploads = server_loop.used_uploads(closed)
        if not uploads:
            return
        run_state = closed.run_state
        measures = algorithm.round_metrics(uploads, run_state.state, run_state.broadcast)
        self.metrics.algorithm_metrics(measures)
        found = algorithm.metric_warnings(measures)
        for name, sentence in found.items():
            if name not in self._warnings:  # told once, until it has passed
                log.warning(
                    "after round %d: %s",
                    closed.number,
                    sentence,
                    extra={"round": closed.number, "concern": name},
                )
        self._warnings = frozenset(found)

    def status(self) -> Status:
        """Return what /status and /readyz tell; called on HTTP threads."""
        past = self.ledger.history()
        open_round = None if self._cohort is None else self._cohort.open_round()
        devices = waiting.devices(self.roster, open_round)
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
            broker_refusals=() if self._mqtt is None else tuple(self._mqtt.refusals()),
            generator_problem=self.generator_handle.problem,
            ignored_fields=self.metrics.ignored_fields,
            ledger_open=self.ledger.is_open,
            devices=tuple(devices[: waiting.MOST_DEVICES]),
            devices_left_out=max(0, len(devices) - waiting.MOST_DEVICES),
            shortage=waiting.shortage(self.roster, open_round),
            outliers=waiting.outliers(self._outliers),
        )
