"""The rounds of a simulation, from where its folder says that it stands to its end."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edgeloop import round_history, server_loop
from edgeloop.algorithm import Algorithm
from edgeloop.answers import Report, mean_loss
from edgeloop.data import Federation
from edgeloop.errors import ConfigError
from edgeloop.participation import ParticipationPolicy, Recorded
from edgeloop.server_loop import DelayedUploads, RoundResult
from simulations.engine import checkpoint, mixing, run_cohort, stacking_benchmark
from simulations.engine.checkpoint import Checkpoint, CheckpointSchedule
from simulations.engine.cluster_cohort import ClusterCohort
from simulations.engine.recorder import Recorder
from simulations.engine.run_plan import Plan
from simulations.results import clients_table, concerns, measurements
from simulations.results.clients_table import Journal
from simulations.results.folder import HISTORY
from simulations.results.measurements import Row

Watch = Callable[[int, float | None], None]
"""Called after each round with how many are done, and the round's accuracy, None without tests."""


class Ended(NamedTuple):
    """What a run's rounds led to.

    Attributes:
        reports: of the last evaluation, by client.
        broadcast: the last one.
        mixed: the summary's part on each client's own weight; empty where nothing is mixed.
    """

    reports: Mapping[str, Report]
    broadcast: Any
    mixed: Mapping[str, Any]


class Execution:
    """A run that is about to begin, or to continue at its last checkpoint.

    Args:
        plan: of the run.
        algorithm: with its server's half.
        federation: of those clients that are there from the first round on.
        folder: of the run.

    Attributes:
        rows: of the rounds so far.
        stacking: which architectures' clients train together, and why.
        journal: every client's rows.
    """

    def __init__(
        self, plan: Plan, algorithm: Algorithm[Any, Any, Any], federation: Federation, folder: Path
    ) -> None:
        self._plan, self._algorithm = plan, algorithm
        self._federation, self._folder = federation, folder
        new = Checkpoint(server_loop.initial_state(algorithm), (), folder)
        self._saved = checkpoint.latest(folder, algorithm) or new
        self.rows: Sequence[Row] = self._saved.rows
        drawn = plan.participation()
        self._spending = plan.spending(drawn)
        self._participation: ParticipationPolicy | None = self._spending or drawn
        self._delayed = (
            DelayedUploads[Any](self._participation, self._saved.held)
            if isinstance(self._participation, Recorded)
            else None
        )
        done, least = len(self.rows), plan.clients.least_samples
        self.journal = Journal(folder, plan.clients.models, self._participation, done, least)
        self.stacking = stacking_benchmark.load_or_choose(folder, plan, federation)
        self._distant: list[int] = []  # uploads out of the rule's reach, of rounds that had any

    def run(self, on_row: Callable[[Row], None], watch: Watch) -> Ended:
        """Run and record what is left.

        Args:
            on_row: called with each row, as soon as it is written.
            watch: called after each round.
        """
        saved, course = self._saved, self._plan.course
        together = stacking_benchmark.stacked_architectures(self.stacking)
        with run_cohort.open_cohort(self._plan, self._federation, together) as cohort:
            recorder = self._recorder(on_row, cohort)
            self.rows = recorder.rows
            if saved.rows:
                cohort.restore(saved.models)
            run_state, reports = server_loop.run_rounds(
                algorithm=server_algorithm(self._plan, recorder.algorithm),
                cohort=cohort,
                rounds=course.rounds,
                run_state=saved.run_state,
                on_round_end=self._on_round_end(recorder, cohort, watch),
                should_stop=lambda: measurements.has_stalled(recorder.rows, course.patience),
                participation=self._participation,
                rule=course.rule,
                delayed=self._delayed,
            )
            measured = self._measured(cohort, reports)
            watch(course.rounds, recorder.finished(reports, measured).accuracy)
            self.journal.write(cohort.hits())
            clients, done = self._plan.clients, run_state.rounds
            mixed = mixing.mixing_summary(clients, cohort, run_state.broadcast, done)
        return Ended(reports, run_state.broadcast, mixed)

    def _measured(
        self, cohort: run_cohort.SimulatedCohort, reports: Mapping[str, Report]
    ) -> Mapping[str, float]:
        """Return the means of the further metrics of the last evaluation, if there are any."""
        if not self._plan.clients.training.metrics:
            return {}
        told = cohort.map_clients(_told)
        return measurements.mean_metrics(reports, {name: told[name] for name in reports})

    def _recorder(
        self, on_row: Callable[[Row], None], cohort: run_cohort.SimulatedCohort
    ) -> Recorder:
        workers = cohort.workers if isinstance(cohort, ClusterCohort) else self._plan.workers
        return Recorder(
            algorithm=self._algorithm,
            path=self._folder / "rounds.csv",
            rows=self._saved.rows,
            broadcast=self._saved.run_state.broadcast,
            workers=workers,
            clock=time.perf_counter,
            journal=self.journal,
            on_row=on_row,
            spent=None if self._spending is None else self._spending.epsilon,
        )

    def _on_round_end(
        self, recorder: Recorder, cohort: run_cohort.SimulatedCohort, watch: Watch
    ) -> Callable[[RoundResult[Any, Any, Any]], None]:
        """Return what is done at the end of each round; a checkpoint, if one is due."""
        pace, policy, course = CheckpointSchedule(), self._participation, self._plan.course

        def save(closed: RoundResult[Any, Any, Any]) -> None:
            self.journal.sync()
            held = {} if self._delayed is None else self._delayed.held
            checkpoint.save(self._folder, cohort, closed.run_state, recorder.rows, held)

        def after(closed: RoundResult[Any, Any, Any]) -> None:
            self._distant += [len(closed.distant)] if closed.distant else []
            measures = concerns.round_metrics(self._algorithm, closed, policy)
            reports = {name: answer.report for name, answer in closed.answers.items()}
            recorder.train_loss = _train_loss(cohort, closed)
            row = recorder.closed(closed, measures, self._measured(cohort, reports))
            concerns.log_new_warnings(self._algorithm, recorder.rows)
            if course.history:
                round_history.write_round(self._folder / HISTORY, closed)
            watch(closed.run_state.rounds, row.accuracy)
            last = course.keep and closed.run_state.rounds == course.rounds
            if last or pace.due():
                pace.run(lambda: save(closed))

        return after

    def final_warnings(self) -> list[str]:
        """Return what is not as wanted in a run that has ended; log what its clients have met."""
        diverged = concerns.client_warnings(clients_table.read(self._folder))
        distant = concerns.rule_warnings(self._plan.course.rule, self._distant)
        concerns.log_all([*diverged, *distant])
        return [*diverged, *distant, *concerns.round_warnings(self._algorithm, self.rows)]


def _told(name: str, client: Any) -> dict[str, float]:
    """Return what a client's last evaluation has measured."""
    return dict(getattr(client, "measured", {}))


def _train_loss(
    cohort: run_cohort.SimulatedCohort, closed: RoundResult[Any, Any, Any]
) -> float | None:
    """Return the mean loss of those who trained in a round."""
    trained = {
        name: answer.report for name, answer in closed.answers.items() if answer.upload is not None
    }
    return mean_loss(trained, cohort.map_clients(_client_loss))


def _client_loss(name: str, client: Any) -> float | None:
    found: float | None = getattr(client, "training_loss", None)
    return found


def server_algorithm(plan: Plan, algorithm: Algorithm[Any, Any, Any]) -> Algorithm[Any, Any, Any]:
    """Return the algorithm that the server's loop has: one that learns sums only, where asked.

    Raises:
        ConfigError: if it needs single uploads, or cryptography is not installed.
    """
    if not plan.course.secure:
        return algorithm
    try:
        from edgeloop.secure.server import summed
    except ImportError as error:
        problem = "needs cryptography, which is not installed"
        raise ConfigError("secure", problem, "pip install 'edgeloop[cloud]'") from error
    return summed(algorithm, plan.clients.training.algorithm)
