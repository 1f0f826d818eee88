"""Runs a simulation from its settings to its folder of results, or continues with one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeloop import algorithms
from edgeloop.data import Federation
from edgeloop.errors import EdgeloopError
from edgeloop.runtime import atomic_files
from edgeloop.training.compute import enough_memory
from simulations.engine import checkpoint, companion, extension, late_clients, run_config
from simulations.engine.execution import Execution, Watch, server_algorithm
from simulations.engine.run_plan import Plan
from simulations.results import concerns, measurements
from simulations.results.folder import BESIDE, PARTITION, SUMMARY, claim, held
from simulations.results.measurements import Row
from simulations.settings import RunSettings
from simulations.sinks import Sink, open_guarded


def simulate(
    settings: RunSettings,
    folder: Path,
    watch: Watch,
    sinks: Sequence[Sink] = (),
    again: bool = False,
) -> dict[str, Any]:
    """Run a simulation and what is to run beside it, or continue where its folder says it stopped.

    A run of fewer rounds goes on to more (`extension`).

    Args:
        settings: what to run.
        folder: where its results go; see docs/simulation.md.
        watch: called after every round; those of what runs beside it count on from the run's.
        sinks: get every row and the summary; what fails in one never ends the run. They get nothing
            of what runs beside it.
        again: take a finished run, too, which is then as it is.

    Returns:
        the content of summary.json.

    Raises:
        InputError: if the settings, the data or the folder are wrong, or memory runs out.
    """
    with enough_memory(settings.device):
        planned = settings.planned_rounds()
        more = bool(settings.beside) and bool(companion.missing_parts(settings, folder))
        summary = _simulate(settings, folder, watch, sinks, again=again or more)
        companions = settings.companions(rounds=len(summary["accuracy_by_round"]) - 1)
        for place, its in enumerate(companions, start=1):
            name = its.algorithm
            if name in summary.get(BESIDE, {}):
                continue  # it was compared before
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
    settings = run_config.as_begun(settings, folder)
    everyone = settings.federation()
    divided = late_clients.split_late_clients(everyone, settings.new_clients)
    generator = settings.open_generator()
    base = settings.open_base(divided.early.shape, divided.early.classes)
    plan = Plan(settings, divided.early, generator, base)
    server_algorithm(plan, plan.clients.algorithm)  # or an error, before anything is written
    config = run_config.config(plan, everyone)
    found = concerns.data_warnings(divided.early, plan.clients.least_samples)
    _check_beside(settings, divided.early)
    with held(folder):
        extension.extend(folder, plan, config)
        if claim(folder, config, again):
            return companion.summary(folder)
        concerns.log_all(found)
        return _execute(plan, divided, folder, config, found, sinks, watch)


def _execute(  # noqa: PLR0913 - a run in all its parts
    plan: Plan,
    divided: late_clients.LateSplit,
    folder: Path,
    config: Mapping[str, Any],
    found: Sequence[str],
    sinks: Sequence[Sink],
    watch: Watch,
) -> dict[str, Any]:
    """Run the rounds in a folder that is this run's, and write its results."""
    shares = measurements.partition_file(divided.early, plan.clients.models)
    atomic_files.write(folder / PARTITION, shares)
    worked = measurements.processor_seconds()
    execution = Execution(plan, plan.clients.load(plan.generator), divided.early, folder)
    with open_guarded(sinks, folder, config, execution.rows) as sink:
        ended = execution.run(sink.row, watch)
        warnings = [*found, *execution.final_warnings()]
        summary = {
            **measurements.summary(config, execution.rows, ended.reports, ended.broadcast),
            **late_clients.evaluate_late_clients(plan.clients, divided, ended.broadcast),
            **ended.mixed,
            **({} if plan.schedule is None else {"virtual_time_by_round": plan.schedule.ends}),
            "cohort": execution.stacking,
            "warnings": warnings,
        }
        summary["seconds"]["processor"] = measurements.processor_seconds() - worked
        _write(folder, summary, execution.rows, ended.broadcast)
        if not plan.course.keep:
            execution.journal.remove()
        sink.end(summary)
    return summary


def _check_beside(settings: RunSettings, federation: Federation) -> None:
    """Find what cannot run beside a run before anything runs.

    Raises:
        InputError: as `simulate`, naming the algorithm.
    """
    for its in settings.companions(settings.rounds):
        try:
            its.check()
            Plan(its, federation, its.open_generator())
        except EdgeloopError as error:
            raise error.within(f"beside {its.algorithm}") from error


def _write(folder: Path, summary: Mapping[str, Any], rows: Sequence[Row], broadcast: Any) -> None:
    """Write the results; the summary last, because it says that the run is finished."""
    config = summary["config"]
    info = algorithms.info(config["algorithm"])
    title = f"{info.title} on {Path(config['data']).name}"
    atomic_files.write(folder / "prototypes.safetensors", measurements.prototypes_file(broadcast))
    if measures := measurements.measures_file(rows):
        atomic_files.write(folder / "measures.csv", measures.encode())
    atomic_files.write(folder / "accuracy.png", measurements.picture(title, rows))
    atomic_files.write_json(folder / SUMMARY, summary)
    if not config.get("keep"):
        checkpoint.remove(folder)
