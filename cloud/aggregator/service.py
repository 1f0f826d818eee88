"""A task from its settings to its final prototypes; every round survives a crash."""

import dataclasses
import json
import logging
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors.numpy import save

from cloud.aggregator.http import Server, Status, app
from cloud.aggregator.ledger import Ledger, RoundCounts
from cloud.aggregator.metrics import Metrics
from cloud.aggregator.settings import TaskSettings
from edgeloop import algorithms, rounds, wire
from edgeloop.algorithm import Algorithm
from edgeloop.cohorts.mqtt import Heard, MqttCohort, Patience
from edgeloop.link import Link
from edgeloop.member import Report
from edgeloop.rounds import Closed, Standing
from edgeloop.task import SERVER, Contract, presence_topic
from edgeloop.wire import Envelope

log = logging.getLogger(__name__)

Loaded = Algorithm[Any, Any, Any]


def contract_of(settings: TaskSettings) -> Contract:
    """Return the contract of a new run of a task."""
    options = {
        **algorithms.variant(settings.algorithm, settings.variant),
        **settings.hyperparameters,
    }
    return Contract(
        task=settings.name,
        run=uuid.uuid4().hex,
        algorithm=settings.algorithm,
        options=options,
        class_names=settings.class_names,
        shape=settings.shape,
        width=settings.width,
        rounds=settings.rounds,
        batch_size=settings.batch_size,
        seed=settings.seed,
        devices=settings.cohort.devices,
    )


def algorithm_of(contract: Contract) -> Loaded:
    """Build the contract's algorithm.

    Raises:
        ConfigError: if there is none of that name, or a hyperparameter is wrong.
    """
    return algorithms.load(
        contract.algorithm,
        classes=len(contract.class_names),
        width=contract.width,
        seed=contract.seed,
        **contract.options,
    )


def serve(settings: TaskSettings) -> Path:
    """Run a task to its end, or go on with it; return where the summary is.

    Raises:
        InputError: if the settings, the folder or the broker are not right.
        TooFewUploadsError: if a round was given up.
    """
    contract = contract_of(settings)
    algorithm_of(contract)  # a wrong hyperparameter is told before anything is written
    settings.folder.mkdir(parents=True, exist_ok=True)
    url = settings.store or f"sqlite:///{settings.folder.absolute() / 'ledger.sqlite'}"
    with Ledger.open(url) as ledger:
        run = _Run(settings, ledger.adopt(contract), ledger)
        server = Server(app(run.status, run.metrics), settings.http.host, settings.http.port)
        server.start()
        log.info("metrics, health and status on http://%s:%d", settings.http.host, server.port)
        try:
            return run.to_its_end()
        finally:
            server.stop()


@dataclass
class _Run:
    """One run of a task: tells its ledger, its metrics and its log what happens."""

    settings: TaskSettings
    contract: Contract
    ledger: Ledger
    metrics: Metrics = field(default_factory=Metrics)
    phase: str = "starting"
    online: set[str] = field(default_factory=set)
    link: Link | None = None
    opened: float = field(default_factory=time.monotonic)

    def to_its_end(self) -> Path:
        algorithm = self._timed(algorithm_of(self.contract))
        standing = self._standing(algorithm)
        link = Link(
            self.settings.broker,
            f"edgeloop.{self.contract.task}.{SERVER}",
            MqttCohort.subscriptions(self.contract.task),
            presence_topic(self.contract.task, SERVER),
        )
        with link:
            self.link = link
            self.phase = "running"
            cohort = MqttCohort[Any, Any](
                link, self.contract, algorithm, self._patience(), self.ledger, self._observe
            )
            log.info("task %s: round %d opens", self.contract.task, standing.rounds)
            standing, reports = rounds.run(
                algorithm, cohort, self.contract.rounds, standing, self._after
            )
        self.ledger.finish()
        self.phase = "finished"
        return self._write(standing, reports)

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
        number, state, broadcast = kept
        return Standing(
            number,
            wire.decode(state, algorithm.state)[algorithm.state],
            wire.decode(broadcast, algorithm.broadcast)[algorithm.broadcast],
        )

    def _frames(self, standing: Standing[Any, Any]) -> tuple[bytes, bytes]:
        envelope = Envelope(self.contract.task, self.contract.run, standing.rounds, SERVER)
        return wire.encode(envelope, standing.state), wire.encode(envelope, standing.broadcast)

    def _timed(self, algorithm: Loaded) -> Loaded:
        def aggregate(state: Any, uploads: Any) -> Any:
            begun = time.monotonic()
            result = algorithm.aggregate(state, uploads)
            self.metrics.aggregated(time.monotonic() - begun)
            return result

        return replace(algorithm, aggregate=aggregate)

    def _observe(self, heard: Heard) -> None:
        if heard.online is not None and heard.device in self.contract.devices:
            (self.online.add if heard.online else self.online.discard)(heard.device)
            self.metrics.online(len(self.online))
        if heard.verdict is not None:
            self.metrics.heard(heard.verdict, heard.size)
            log.info("%s: %s (%d bytes)", heard.device, heard.verdict.value, heard.size)

    def _after(self, closed: Closed[Any, Any, Any]) -> None:
        """Make a round's end safe, then tell of it."""
        reports = {device: answer.report for device, answer in closed.answers.items()}
        counts = RoundCounts(len(reports), *_counts(reports))
        self.ledger.close_round(closed.number, *self._frames(closed.standing), counts)
        seconds, self.opened = time.monotonic() - self.opened, time.monotonic()
        self.metrics.closed(closed.number, counts, seconds)
        log.info(
            "round %d of %d closed: %d answers, accuracy %.4f before it, %.1f s",
            closed.number,
            self.contract.rounds,
            len(reports),
            _accuracy(*_counts(reports)),
            seconds,
        )

    def status(self) -> Status:
        """Return what /status and /readyz tell."""
        raise NotImplementedError

    def _write(self, standing: Standing[Any, Any], reports: Mapping[str, Report]) -> Path:
        """Write the final prototypes and the summary."""
        fields = dataclasses.asdict(standing.broadcast)
        facts = {"task": self.contract.task, "run": self.contract.run}
        (self.settings.folder / "prototypes.safetensors").write_bytes(save(fields, facts))
        accuracies = [row.accuracy for row in self.ledger.history()]
        summary = {
            **facts,
            "algorithm": self.contract.algorithm,
            "rounds": standing.rounds,
            "knowledge_sha256": wire.fingerprint(standing.broadcast),
            "accuracy_by_round": [*accuracies, _accuracy(*_counts(reports))],
            "accuracy_by_device": {
                device: _accuracy(report.test_correct, report.test_samples)
                for device, report in reports.items()
            },
        }
        path = self.settings.folder / "summary.json"
        path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        log.info("finished: accuracy %.4f; see %s", summary["accuracy_by_round"][-1], path)
        return path


def _counts(reports: Mapping[str, Report]) -> tuple[int, int]:
    """Return the correct and all test samples of some devices."""
    return (
        sum(report.test_correct for report in reports.values()),
        sum(report.test_samples for report in reports.values()),
    )
