"""Runs a simulation from its settings to its folder of results, or goes on with one."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeloop import algorithms, files, rounds, wire
from edgeloop.algorithm import Algorithm
from edgeloop.member import Answer, Report
from edgeloop.participation import Participation
from edgeloop.rounds import Closed
from edgeloop.task import SERVER
from edgeloop.wire import Envelope
from simulations import checkpoint, engine, newcomers, results
from simulations.checkpoint import Checkpoint, Pace
from simulations.folder import SUMMARY, claim
from simulations.results import COLUMNS, Row
from simulations.settings import RunSettings

Watch = Callable[[int, float], None]
"""Told after each round how many are done, and the round's accuracy."""


class Recorder:
    """Makes a row of every round and adds it to rounds.csv.

    Args:
        algorithm: the run's.
        path: of rounds.csv; written anew with the rows so far.
        rows: of the rounds so far.
        broadcast: what the next round opens with.
        workers: that the clients' seconds are divided by.
        clock: seconds.
    """

    def __init__(
        self,
        algorithm: Algorithm[Any, Any, Any],
        path: Path,
        rows: Sequence[Row],
        broadcast: Any,
        workers: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.rows = list(rows)
        self.algorithm = dataclasses.replace(algorithm, aggregate=self._aggregate)
        self._timed = algorithm.aggregate
        self._aggregating = 0.0
        self._broadcast = broadcast
        self._workers = workers
        self._path = path
        self._clock = clock
        header = ",".join(COLUMNS) + "\n"
        files.write(path, "".join([header, *(row.line() for row in rows)]).encode())
        self._last = clock()

    def _aggregate(self, state: Any, uploads: Sequence[Any]) -> Any:
        begun = self._clock()
        result = self._timed(state, uploads)
        self._aggregating = self._clock() - begun
        return result

    def closed(self, closed: Closed[Any, Any, Any]) -> Row:
        """Record a round of training."""
        number = closed.number
        answers = closed.answers
        row = self._row(
            number,
            [answer.report for answer in answers.values()],
            bytes_up=sum(
                len(wire.encode(_envelope(number, name), *_messages(answer)))
                for name, answer in answers.items()
            ),
            floats_up=sum(
                results.floats(answer.upload)
                for answer in answers.values()
                if answer.upload is not None
            ),
        )
        self._broadcast = closed.standing.broadcast
        return row

    def finished(self, reports: Mapping[str, Report]) -> Row:
        """Record the last evaluation."""
        return self._row(len(self.rows), list(reports.values()), bytes_up=0, floats_up=0)

    def _row(self, number: int, reports: Sequence[Report], bytes_up: int, floats_up: int) -> Row:
        begun, self._last = self._last, self._clock()
        down = wire.encode(_envelope(number, SERVER), self._broadcast)
        row = Row(
            round=number,
            accuracy=results.accuracy(reports),
            accuracy_std=results.spread(reports),
            seconds=self._last - begun,
            seconds_training=sum(r.seconds_training for r in reports) / self._workers,
            seconds_evaluating=sum(r.seconds_evaluating for r in reports) / self._workers,
            seconds_aggregating=self._aggregating,
            bytes_up=bytes_up,
            bytes_down=len(down) * len(reports),
            floats_up=floats_up,
            floats_down=results.floats(self._broadcast) * len(reports),
        )
        self._aggregating = 0.0
        self.rows.append(row)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(row.line())
        return row


def _messages(answer: Answer[Any]) -> tuple[Any, ...]:
    """Return what a client sends: its report, and its upload if it trained."""
    return (answer.report,) if answer.upload is None else (answer.upload, answer.report)


def _envelope(number: int, sender: str) -> Envelope:
    return Envelope("simulation", "simulation", number, sender)


def simulate(settings: RunSettings, folder: Path, watch: Watch) -> dict[str, Any]:
    """Run a simulation, or go on with it where its folder says it stopped.

    Args:
        settings: what to run.
        folder: where its results go; see docs/simulation.md.
        watch: told of every round.

    Returns:
        the content of summary.json.

    Raises:
        InputError: if the settings, the data or the folder are wrong.
    """
    settings.check()
    everyone = settings.federation()
    divided = newcomers.divide(everyone, settings.new_clients)
    federation = divided.early
    generator = settings.opened()
    plan = engine.plan(settings, federation, generator)
    config = results.config(plan, everyone)
    claim(folder, config)
    algorithm = plan.load(generator)
    saved = checkpoint.latest(folder, algorithm) or _beginning(algorithm, folder)
    with engine.cohort(plan, federation) as crew:
        if saved.rows:
            crew.restore(saved.models)
        some = plan.participation(federation)
        rows, reports, broadcast = _rounds(plan, crew, algorithm, saved, folder, watch, some)
    summary = {
        **results.summary(config, rows, reports, broadcast),
        **newcomers.joined(plan, divided, broadcast),
    }
    _write(folder, summary, rows, broadcast)
    return summary


def _beginning(algorithm: Algorithm[Any, Any, Any], folder: Path) -> Checkpoint:
    return Checkpoint(rounds.beginning(algorithm), (), folder)


def _rounds(
    plan: engine.Plan,
    crew: engine.Crew,
    algorithm: Algorithm[Any, Any, Any],
    saved: Checkpoint,
    folder: Path,
    watch: Watch,
    some: Participation | None,
) -> tuple[list[Row], Mapping[str, Report], Any]:
    """Run what is left; return all rows, the last evaluation and the last broadcast."""
    broadcast = saved.standing.broadcast
    recorder = Recorder(algorithm, folder / "rounds.csv", saved.rows, broadcast, plan.workers)
    pace = Pace()

    def after(closed: Closed[Any, Any, Any]) -> None:
        row = recorder.closed(closed)
        watch(closed.standing.rounds, row.accuracy)
        if pace.due():
            pace.run(lambda: checkpoint.save(folder, crew, closed.standing, recorder.rows))

    settings = plan.settings
    standing, reports = rounds.run(
        *(recorder.algorithm, crew, settings.rounds, saved.standing, after),
        lambda: results.stalled(recorder.rows, settings.patience),
        some,
    )
    watch(settings.rounds, recorder.finished(reports).accuracy)
    return recorder.rows, reports, standing.broadcast


def _write(folder: Path, summary: Mapping[str, Any], rows: Sequence[Row], broadcast: Any) -> None:
    """Write the results; the summary last, because it says that the run is finished."""
    config = summary["config"]
    card = algorithms.card(config["algorithm"])
    title = f"{card.title} on {Path(config['data']).name}"
    files.write(folder / "prototypes.safetensors", results.prototypes_file(broadcast))
    files.write(folder / "accuracy.png", results.picture(title, rows))
    files.write_json(folder / SUMMARY, summary)
    checkpoint.remove(folder)
