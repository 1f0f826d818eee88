"""One run of a task, from where its ledger says that it stands to its end."""

import gc
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cloud.aggregator import (
    alone,
    forgetting,
    outages,
    outcome,
    recording,
    standing,
    waiting,
)
from cloud.aggregator.agreement import GeneratorHandle
from cloud.aggregator.http import Details, Status
from cloud.aggregator.ledger import Ledger
from cloud.aggregator.metrics import Metrics, Phase
from cloud.aggregator.results import Closed, RunResults
from cloud.aggregator.run_devices import RunDevices
from cloud.aggregator.settings import TaskSettings
from cloud.aggregator.shared_rounds import SharedRounds
from cloud.aggregator.standing import Loaded
from cloud.aggregator.stored_steps import LedgerSteps
from cloud.aggregator.timing import TimedGenerator, timed_algorithm
from cloud.aggregator.waiting import DeviceStatus
from edgeloop import algorithms, server_loop
from edgeloop.answers import Report
from edgeloop.bases.running import Base
from edgeloop.cohorts.events import DeviceMessage, Event, LeftError, RoundOpened
from edgeloop.cohorts.mqtt import INFLIGHT, MqttCohort
from edgeloop.cohorts.secure import SecureCohort, SecureTerms
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.protocol import wire
from edgeloop.protocol.task import SERVER, Contract, client_id, presence_topic
from edgeloop.runtime.tracing import SILENT, Tracer
from edgeloop.secure.server import of_sum
from edgeloop.server_loop import RunState

log = logging.getLogger(__name__)

AGAIN_SECONDS = 60.0
"""Before a broker that could not be reached when all was done is tried again."""


class Run:
    """One run of a task: its ledger, its metrics and its log have all that happens.

    Args:
        settings: of the task.
        contract: as the ledger holds it.
        ledger: open.
        generator_handle: of the task's generator.
        connected: whether the broker can be reached, before the run has tried.
        tracer: follows each upload.
        base: that devices compute on; None where they train networks.

    Attributes:
        metrics: of the task.
        phase: what the run is doing.
    """

    def __init__(  # noqa: PLR0913 - what a test replaces comes after the four that a run has
        self,
        settings: TaskSettings,
        contract: Contract,
        ledger: Ledger,
        generator_handle: GeneratorHandle,
        *,
        connected: bool = False,
        tracer: Tracer = SILENT,
        base: Base | None = None,
    ) -> None:
        self.settings, self.ledger, self.generator_handle = settings, ledger, generator_handle
        self.connected, self.tracer, self.base = connected, tracer, base
        self.metrics = Metrics()
        self.phase: Phase = "starting"
        self._devices = RunDevices(settings, contract, ledger, self.metrics)
        self._results = RunResults(settings, ledger, self.metrics, self._devices, tracer)
        self._mqtt: MqttConnection | None = None
        self._outage: str | None = None  # of storage
        self._cohort: MqttCohort[Any, Any] | None = None

    @property
    def contract(self) -> Contract:
        """The run's contract, without the devices that have left."""
        return self._devices.contract

    def run_to_end(self) -> Path:
        """Run the rounds that are left, and write what they led to; return the summary's path.

        While a disk or the database is away, the run waits; then it goes on as if started again.
        """
        gc.freeze()  # what is there now stays: looking through it again takes longer than a round
        return outages.through_outages(self._run_to_end, self.ledger.renew, self._away)

    def _away(self, problem: str | None) -> None:
        self._outage = problem

    def _run_to_end(self) -> Path:
        self.ledger.set_lock_timeout()
        self.ledger.on_write = self.metrics.ledger_write
        self._devices.invite()
        self.metrics.run_started(self.contract, self.settings, self.ledger.committed())
        self._devices.count()
        if self.ledger.finished() and self._summary.exists():
            return self._finished_before()
        algorithm = self._algorithm()
        stands, reports = self._rounds_left(algorithm)
        self._results.record_evaluation(reports)
        past = list(map(self._devices.record.told, self.ledger.history()))
        epsilon = self.metrics.fleet.epsilon
        path = outcome.write(self._summary, self.contract, stands, past, reports, epsilon)
        knowledge, refuses = wire.fingerprint(stands.broadcast), self._refuses_outliers
        record = recording.record_of(self.contract, self.ledger, knowledge, refuses)
        recording.write(self.settings.folder / recording.FILE, record)
        self.ledger.finish()
        self._set_phase("finished")  # whoever reads it may stop us
        return path

    def stay(self) -> None:
        """Answer until the process is stopped; devices may leave meanwhile."""
        while algorithms.info(self.contract.algorithm).forgets and not self.contract.secure:
            self._devices.heed(self._algorithm(), self._connect, None)
            time.sleep(AGAIN_SECONDS)
        threading.Event().wait()

    def _rounds_left(self, algorithm: Loaded) -> tuple[RunState[Any, Any], Mapping[str, Report]]:
        """Run the rounds that are left; return where the run stands, and the last evaluation."""
        alone.ensure_only_aggregator(self.settings.broker, self.contract)
        self._devices.tidy(algorithm)
        self._devices.let_go(algorithm)
        with self._connect() as connection:
            self._mqtt = connection
            while True:
                try:
                    return self._rounds(connection, algorithm)
                except LeftError as left:
                    self._devices.leave(algorithm, left.devices, left.evicted)

    def _rounds(
        self, connection: MqttConnection, algorithm: Loaded
    ) -> tuple[RunState[Any, Any], Mapping[str, Report]]:
        """Go on from where the ledger says that the run stands."""
        stands = self._load_state(algorithm)
        self._set_phase("running")
        text = "task %s: resumes at round %d"
        log.info(text, self.contract.task, stands.rounds, extra={"round": stands.rounds})
        self._cohort = cohort = self._make_cohort(connection, algorithm)
        return server_loop.run_rounds(
            algorithm,
            cohort,
            self.contract.rounds,
            stands,
            partial(self._on_round_end, algorithm, cohort),
            participation=self._devices.participation(),
            refuse_outliers=self._refuses_outliers,
            rule=self.contract.robust,
        )

    def _make_cohort(self, connection: MqttConnection, algorithm: Loaded) -> MqttCohort[Any, Any]:
        make: Callable[..., MqttCohort[Any, Any]] = MqttCohort
        if self.contract.secure:
            cohort = self.settings.cohort
            terms = SecureTerms(LedgerSteps(self.ledger), cohort.share or 0.0, cohort.step_seconds)
            make = partial(SecureCohort, terms=terms)
        return make(
            connection,
            self.contract,
            algorithm,
            self._devices.deadlines(),
            self.ledger,
            self._observe,
            tracer=self.tracer,
            base=None if self.base is None else self.base.graph,
            roster=self._devices.roster,
            members=self._devices.members,
            limits=self.settings.cohort.rate_limits,
            shared=SharedRounds(self.ledger) if self.settings.ingest.shared else None,
        )

    @property
    def _refuses_outliers(self) -> bool:
        return self.settings.cohort.refuses_outliers

    def _on_round_end(
        self, algorithm: Loaded, cohort: MqttCohort[Any, Any], closed: Closed
    ) -> None:
        self._results.close(algorithm, closed, cohort.refuse)

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
            signed_in=self.settings.folder,
        )

    def _set_phase(self, phase: Phase) -> None:
        self.phase = phase
        self.metrics.phase(phase)

    @property
    def _summary(self) -> Path:
        return self.settings.folder / "summary.json"

    def _finished_before(self) -> Path:
        """Read what a run came to that was finished before; devices that were away hear of it."""
        found = outcome.read_results(self._summary)
        self._results.accuracy, self.metrics.fleet.spent_before = found
        self._devices.forget_named(self._algorithm, self._connect)
        self._devices.tell_again(self._algorithm(), self._connect)
        self._set_phase("finished")  # whoever reads it may stop us
        if not self.settings.http.linger:
            quiet = forgetting.QUIET_SECONDS
            self._devices.heed(self._algorithm(), self._connect, quiet)
        log.info("task %s: has finished already; see %s", self.contract.task, self._summary)
        return self._summary

    def _algorithm(self) -> Loaded:
        """Return the contract's algorithm; metrics have how long it and its generator take."""
        generator = self.generator_handle.generator
        if generator is not None:
            self.generator_handle.on_ready_change = self.metrics.generator
            generator = TimedGenerator(generator, self.metrics.generator_request)
        whole = algorithms.load_for_contract(self.contract, generator)
        if self.contract.secure:
            whole = of_sum(whole, self.contract.algorithm)
        return timed_algorithm(whole, self.metrics, self.tracer, lambda: self._devices.watch)

    def _load_state(self, algorithm: Loaded) -> RunState[Any, Any]:
        """Return where the ledger says that the run stands; a new run stands at its beginning."""
        return standing.found(self.contract, algorithm, self.ledger)

    def _connection(self, connected: bool) -> None:
        self.connected = connected
        self.metrics.connected(connected)

    def _observe(self, event: Event) -> None:
        if isinstance(event, RoundOpened) and event.round_number == self.contract.rounds:
            self._set_phase("evaluating")
        if isinstance(event, DeviceMessage) and event.joined:
            self._devices.count()
        self._devices.watch.observe(event)

    def details(self) -> Details:
        """Return what the HTTP interface tells besides the status."""
        given = self.settings.history and self.settings.http.is_shut  # it has devices' uploads
        history = self.settings.folder / "history" if given else None
        return Details(self._devices_after, history)

    def _devices_after(self, name: str) -> Sequence[DeviceStatus]:
        open_round = None if self._cohort is None else self._cohort.open_round()
        facts = self._results.accuracies, self._devices.record.received
        found = waiting.devices(self._devices.roster, open_round, *facts)
        later = sorted((each for each in found if each.name > name), key=lambda each: each.name)
        return later[: waiting.MOST_DEVICES + 1]

    def status(self) -> Status:
        """Return what /status and /readyz answer; called on HTTP threads."""
        past = self.ledger.history()
        open_round = None if self._cohort is None else self._cohort.open_round()
        roster, results, record = self._devices.roster, self._results, self._devices.record
        devices = waiting.devices(roster, open_round, results.accuracies, record.received)
        accuracy = past[-1].accuracy if results.accuracy is None and past else results.accuracy
        return Status(
            task=self.contract.task,
            run=self.contract.run,
            algorithm=self.contract.algorithm,
            phase=self.phase,
            round=len(past),
            rounds=self.contract.rounds,
            accuracy=accuracy,
            epsilon=self.metrics.fleet.epsilon,
            history=tuple(map(record.told, past)),
            broker_connected=self.connected,
            broker_refusals=() if self._mqtt is None else tuple(self._mqtt.refusals()),
            generator_problem=self.generator_handle.problem,
            ignored_fields=self.metrics.ignored_fields,
            ledger_open=self.ledger.is_open,
            outage=self._outage,
            devices=tuple(devices[: waiting.MOST_DEVICES]),
            devices_left_out=max(0, len(devices) - waiting.MOST_DEVICES),
            shortage=waiting.shortage(roster, open_round),
            outliers=waiting.outliers(results.outliers),
            forgotten=tuple(sorted(self.ledger.departed())),
            refusals=record.refusals(),
            evicted=tuple(sorted(self._devices.evicted)[: waiting.MOST_DEVICES]),
            class_names=self.contract.class_names,
            shape=self.contract.shape,
        )
