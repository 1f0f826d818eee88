"""Runs a simulation from its settings to its folder of results, or continues with one."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop import algorithms, round_history, server_loop
from edgeloop.algorithm import Algorithm
from edgeloop.client import Report
from edgeloop.data import Federation
from edgeloop.errors import ConfigError, EdgeloopError
from edgeloop.participation import ParticipationPolicy, Recorded
from edgeloop.runtime import atomic_files
from edgeloop.server_loop import RoundResult
from edgeloop.training.compute import enough_memory
from simulations.engine import (
    checkpoint,
    companion,
    late_clients,
    mixing,
    run_config,
    run_plan,
    stacking_benchmark,
)
from simulations.engine.checkpoint import Checkpoint, CheckpointSchedule
from simulations.engine.privacy_spending import SimulatedBudget
from simulations.engine.recorder import Recorder
from simulations.results import clients_table, concerns, measurements
from simulations.results.clients_table import Journal
from simulations.results.folder import BESIDE, HISTORY, PARTITION, SUMMARY, claim
from simulations.results.measurements import Row
from simulations.settings import RunSettings
from simulations.sinks import Sink, open_guarded

log = logging.getLogger(__name__)

Watch = Callable[[int, float], None]
"""Told after each round how many are done, and the round's accuracy."""


def simulate(
    settings: RunSettings, folder: Path, watch: Watch, sinks: Sequence[Sink] = ()
) -> dict[str, Any]:
    """Run a simulation and what is to run beside it, or continue where its folder says it stopped.

    Args:
        settings: what to run.
        folder: where its results go; see docs/simulation.md.
        watch: told of every round; those of what runs beside it count on from the run's.
        sinks: told of every row and of the summary; what fails in one never ends the run. They
            are told nothing of what runs beside it.

    Returns:
        the content of summary.json.

    Raises:
        InputError: if the settings, the data or the folder are wrong, or memory runs out.
    """
    with enough_memory(settings.device):
        planned = companion.planned_rounds(settings)
        more = bool(settings.beside) and bool(companion.missing_parts(settings, folder))
        summary = _simulate(settings, folder, watch, sinks, again=more)
        for place, name in enumerate(settings.beside, start=1):
            if name in summary.get(BESIDE, {}):
                continue  # it was told of before
            its = companion.companion_settings(
                settings, name, len(summary["accuracy_by_round"]) - 1
            )
            counted = _counted(watch, sum(planned[:place]), its.rounds, planned[place])
            _simulate(its, companion.companion_folder(folder, name), counted, (), again=True)
            summary = companion.add_comparison(folder, name)
        return summary


def _counted(watch: Watch, before: int, rounds: int, asked: int) -> Watch:
    """Count on from the rounds before; the last one ends as many as were asked for."""
    return lambda done, accuracy: watch(before + (asked if done == rounds else done), accuracy)


def _simulate(
    settings: RunSettings, folder: Path, watch: Watch, sinks: Sequence[Sink], again: bool
) -> dict[str, Any]:
    """Run one algorithm, or continue with it; a finished run is what it is, or refused."""
    settings.check()
    settings = run_config.as_begun(settings, folder)
    everyone = settings.federation()
    divided = late_clients.split_late_clients(everyone, settings.new_clients)
    generator = settings.open_generator()
    base = settings.open_base(divided.early.shape, divided.early.classes)
    plan = run_plan.make_plan(settings, divided.early, generator, base)
    _server(plan, plan.algorithm)
    config = run_config.config(plan, everyone)
    batch = 1 if base is not None else settings.batch_size  # statistics have no batches
    concerned = concerns.data_warnings(divided.early, batch)
    _check_beside(settings, divided.early)
    if claim(folder, config, again):
        return companion.summary(folder)
    _warn(concerned)
    atomic_files.write(folder / PARTITION, measurements.partition_file(divided.early, plan.models))
    worked = measurements.processor_seconds()
    begun = _prepare_run(plan, plan.load(generator), divided.early, folder)
    with open_guarded(sinks, folder, config, begun.saved.rows) as sink:
        recorder = _recorder(begun, sink.row)
        reports, broadcast, mixed = _rounds(begun, recorder, watch)
        ended = _final_warnings(begun, recorder)
        summary = {
            **measurements.summary(config, recorder.rows, reports, broadcast),
            **late_clients.evaluate_late_clients(plan, divided, broadcast),
            **mixed,
            "cohort": begun.chosen,
            "warnings": [*concerned, *ended],
        }
        summary["seconds"]["processor"] = measurements.processor_seconds() - worked
        _write(folder, summary, recorder.rows, broadcast)
        begun.journal.remove()
        sink.end(summary)
    return summary


def _check_beside(settings: RunSettings, federation: Federation) -> None:
    """Find what cannot run beside a run before anything runs.

    Raises:
        InputError: as `simulate`, naming the algorithm.
    """
    for name in settings.beside:
        try:
            its = companion.companion_settings(settings, name, settings.rounds)
            its.check()
            run_plan.make_plan(its, federation, its.open_generator())
        except EdgeloopError as error:
            raise error.within(f"beside {name}") from error


def _warn(sentences: Sequence[str]) -> None:
    for each in sentences:
        log.warning("%s", each)


@dataclass(frozen=True)
class _RunContext:
    """A run that is about to begin, or to continue.

    Attributes:
        plan: the run's.
        algorithm: the run's.
        federation: of those clients that are there from the first round on.
        folder: the run's.
        saved: where it stands.
        journal: every client's rows.
        participation: who takes part in which round; None for everybody.
        chosen: which architectures' clients train together.
        spending: what clients spend of their privacy; None without any.
    """

    plan: run_plan.Plan
    algorithm: Algorithm[Any, Any, Any]
    federation: Federation
    folder: Path
    saved: Checkpoint
    journal: Journal
    participation: ParticipationPolicy | None
    chosen: Mapping[str, stacking_benchmark.StackingDecision]
    spending: SimulatedBudget | None


def _prepare_run(
    plan: run_plan.Plan, algorithm: Algorithm[Any, Any, Any], federation: Federation, folder: Path
) -> _RunContext:
    """Find where a run stands: at its last checkpoint, or at its beginning."""
    new = Checkpoint(server_loop.initial_state(algorithm), (), folder)
    saved = checkpoint.latest(folder, algorithm) or new
    some: ParticipationPolicy | None = plan.participation()
    spending = plan.spending(some)
    some = spending or some
    journal = Journal(folder, plan.models, some, len(saved.rows))
    chosen = stacking_benchmark.load_or_choose(folder, plan, federation)
    return _RunContext(plan, algorithm, federation, folder, saved, journal, some, chosen, spending)


def _final_warnings(begun: _RunContext, recorder: Recorder) -> list[str]:
    """Return what is not as wanted in a run that has ended; say what its clients have met."""
    diverged = concerns.client_warnings(clients_table.read(begun.folder))
    _warn(diverged)
    return [*diverged, *concerns.round_warnings(begun.algorithm, recorder.rows)]


def _recorder(begun: _RunContext, told: Callable[[Row], None]) -> Recorder:
    saved = begun.saved
    return Recorder(
        algorithm=begun.algorithm,
        path=begun.folder / "rounds.csv",
        rows=saved.rows,
        broadcast=saved.run_state.broadcast,
        workers=begun.plan.workers,
        clock=time.perf_counter,
        journal=begun.journal,
        on_row=told,
        spent=None if begun.spending is None else begun.spending.epsilon,
    )


def _rounds(
    begun: _RunContext, recorder: Recorder, watch: Watch
) -> tuple[Mapping[str, Report], Any, Mapping[str, Any]]:
    """Run and record what is left; return the last evaluation, the last broadcast, the mixture."""
    saved, settings = begun.saved, begun.plan.settings
    together = stacking_benchmark.stacked_architectures(begun.chosen)
    with run_plan.open_cohort(begun.plan, begun.federation, together) as cohort:
        if saved.rows:
            cohort.restore(saved.models)
        run_state, reports = server_loop.run_rounds(
            algorithm=_server(begun.plan, recorder.algorithm),
            cohort=cohort,
            rounds=settings.rounds,
            run_state=saved.run_state,
            on_round_end=_round_end(begun, recorder, cohort, watch),
            should_stop=lambda: measurements.has_stalled(recorder.rows, settings.patience),
            participation=begun.participation,
            rule=settings.rule,
        )
        watch(settings.rounds, recorder.finished(reports).accuracy)
        begun.journal.write(cohort.hits())
        mixed = mixing.mixing_summary(begun.plan, cohort, run_state.broadcast, run_state.rounds)
    return reports, run_state.broadcast, mixed


def _server(plan: run_plan.Plan, algorithm: Algorithm[Any, Any, Any]) -> Algorithm[Any, Any, Any]:
    """Return the algorithm that the server's loop has: one that learns sums only, where asked.

    Raises:
        ConfigError: if it needs single uploads, or cryptography is not installed.
    """
    if not plan.settings.secure:
        return algorithm
    try:
        from edgeloop.secure.server import summed
    except ImportError as error:
        problem = "needs cryptography, which is not installed"
        raise ConfigError("secure", problem, "pip install 'edgeloop[cloud]'") from error
    return summed(algorithm, plan.settings.algorithm)


def _round_end(
    begun: _RunContext, recorder: Recorder, cohort: run_plan.SimulatedCohort, watch: Watch
) -> Callable[[RoundResult[Any, Any, Any]], None]:
    """Return what is done at the end of each round; a checkpoint, if one is due."""
    pace, policy = CheckpointSchedule(), begun.participation
    holds = isinstance(policy, Recorded) and policy.delays  # uploads, which no checkpoint has

    def save(closed: RoundResult[Any, Any, Any]) -> None:
        begun.journal.sync()
        checkpoint.save(begun.folder, cohort, closed.run_state, recorder.rows)

    def after(closed: RoundResult[Any, Any, Any]) -> None:
        measures = concerns.round_metrics(begun.algorithm, closed, begun.participation)
        row = recorder.closed(closed, measures)
        concerns.log_new_warnings(begun.algorithm, recorder.rows)
        if begun.plan.settings.history:
            round_history.write_round(begun.folder / HISTORY, closed)
        watch(closed.run_state.rounds, row.accuracy)
        if pace.due() and not holds:
            pace.run(lambda: save(closed))

    return after


def _write(folder: Path, summary: Mapping[str, Any], rows: Sequence[Row], broadcast: Any) -> None:
    """Write the results; the summary last, because it says that the run is finished."""
    config = summary["config"]
    info = algorithms.info(config["algorithm"])
    title = f"{info.title} on {Path(config['data']).name}"
    atomic_files.write(folder / "prototypes.safetensors", measurements.prototypes_file(broadcast))
    atomic_files.write(folder / "accuracy.png", measurements.picture(title, rows))
    atomic_files.write_json(folder / SUMMARY, summary)
    checkpoint.remove(folder)
