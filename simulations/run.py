"""Runs a simulation from its settings to its folder of results, or goes on with one."""

import dataclasses
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeloop import algorithms, files, history, rounds, wire
from edgeloop.algorithm import Algorithm
from edgeloop.member import Answer, Report
from edgeloop.participation import Participation
from edgeloop.rounds import Closed
from edgeloop.task import SERVER
from edgeloop.wire import Envelope
from simulations import checkpoint, choosing, engine, newcomers, results
from simulations.checkpoint import Checkpoint, Pace
from simulations.clients_table import Journal, Sent
from simulations.folder import HISTORY, PARTITION, SUMMARY, claim
from simulations.results import COLUMNS, Row
from simulations.settings import RunSettings
from simulations.sinks import Sink, guarded

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
        journal: gets a row of every client too.
        told: called with every row, as soon as it is written.
    """

    def __init__(
        self,
        algorithm: Algorithm[Any, Any, Any],
        path: Path,
        rows: Sequence[Row],
        broadcast: Any,
        workers: int,
        clock: Callable[[], float] = time.perf_counter,
        journal: Journal | None = None,
        told: Callable[[Row], None] = lambda row: None,
    ) -> None:
        self._journal = journal
        self._told = told
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
        number, answers = closed.number, closed.answers
        sent = {name: _sent(number, name, answer) for name, answer in answers.items()}
        down = self._down(number)
        if self._journal is not None:
            self._journal.closed(number, answers, sent, down)
        row = self._row(number, [answer.report for answer in answers.values()], sent.values(), down)
        self._broadcast = closed.standing.broadcast
        return row

    def finished(self, reports: Mapping[str, Report]) -> Row:
        """Record the last evaluation."""
        number = len(self.rows)
        down = self._down(number)
        if self._journal is not None:
            self._journal.finished(number, reports, down)
        return self._row(number, list(reports.values()), (), down)

    def _down(self, number: int) -> int:
        return len(wire.encode(_envelope(number, SERVER), self._broadcast))

    def _row(
        self, number: int, reports: Sequence[Report], sent: Collection[Sent], down: int
    ) -> Row:
        begun, self._last = self._last, self._clock()
        row = Row(
            round=number,
            accuracy=results.accuracy(reports),
            accuracy_std=results.spread(reports),
            seconds=self._last - begun,
            seconds_training=sum(r.seconds_training for r in reports) / self._workers,
            seconds_evaluating=sum(r.seconds_evaluating for r in reports) / self._workers,
            seconds_aggregating=self._aggregating,
            bytes_up=sum(each.bytes for each in sent),
            bytes_down=down * len(reports),
            floats_up=sum(each.floats for each in sent),
            floats_down=results.floats(self._broadcast) * len(reports),
            auc=results.mean_auc(reports),
        )
        self._aggregating = 0.0
        self.rows.append(row)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(row.line())
        self._told(row)
        return row


def _sent(number: int, name: str, answer: Answer[Any]) -> Sent:
    floats = 0 if answer.upload is None else results.floats(answer.upload)
    return Sent(len(wire.encode(_envelope(number, name), *_messages(answer))), floats)


def _messages(answer: Answer[Any]) -> tuple[Any, ...]:
    """Return what a client sends: its report, and its upload if it trained."""
    return (answer.report,) if answer.upload is None else (answer.upload, answer.report)


def _envelope(number: int, sender: str) -> Envelope:
    return Envelope("simulation", "simulation", number, sender)


def simulate(
    settings: RunSettings, folder: Path, watch: Watch, sinks: Sequence[Sink] = ()
) -> dict[str, Any]:
    """Run a simulation, or go on with it where its folder says it stopped.

    Args:
        settings: what to run.
        folder: where its results go; see docs/simulation.md.
        watch: told of every round.
        sinks: told of every row and of the summary; what fails in one never ends the run.

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
    files.write(folder / PARTITION, results.partition_file(federation, plan.models))
    algorithm = plan.load(generator)
    saved = checkpoint.latest(folder, algorithm) or _beginning(algorithm, folder)
    some = plan.participation(federation)
    journal = Journal(folder, plan.models, some, len(saved.rows))
    with guarded(sinks, folder, config, saved.rows) as sink:
        recorder = Recorder(
            *(algorithm, folder / "rounds.csv", saved.rows, saved.standing.broadcast),
            *(plan.workers, time.perf_counter, journal, sink.row),
        )
        chosen = choosing.settled(folder, plan, federation)
        with engine.cohort(plan, federation, choosing.stacked(chosen)) as crew:
            if saved.rows:
                crew.restore(saved.models)
            reports, broadcast = _rounds(plan, crew, recorder, journal, saved, folder, watch, some)
        summary = {
            **results.summary(config, recorder.rows, reports, broadcast),
            **newcomers.joined(plan, divided, broadcast),
            "cohort": chosen,
        }
        journal.write()
        _write(folder, summary, recorder.rows, broadcast)
        journal.remove()
        sink.end(summary)
    return summary


def _beginning(algorithm: Algorithm[Any, Any, Any], folder: Path) -> Checkpoint:
    return Checkpoint(rounds.beginning(algorithm), (), folder)


def _rounds(
    plan: engine.Plan,
    crew: engine.Crew,
    recorder: Recorder,
    journal: Journal,
    saved: Checkpoint,
    folder: Path,
    watch: Watch,
    some: Participation | None,
) -> tuple[Mapping[str, Report], Any]:
    """Run and record what is left; return the last evaluation and the last broadcast."""
    pace = Pace()
    settings = plan.settings

    def save(closed: Closed[Any, Any, Any]) -> None:
        journal.sync()
        checkpoint.save(folder, crew, closed.standing, recorder.rows)

    def after(closed: Closed[Any, Any, Any]) -> None:
        row = recorder.closed(closed)
        if settings.history:
            history.write(folder / HISTORY, closed)
        watch(closed.standing.rounds, row.accuracy)
        if pace.due():
            pace.run(lambda: save(closed))

    standing, reports = rounds.run(
        *(recorder.algorithm, crew, settings.rounds, saved.standing, after),
        lambda: results.stalled(recorder.rows, settings.patience),
        some,
    )
    watch(settings.rounds, recorder.finished(reports).accuracy)
    return reports, standing.broadcast


def _write(folder: Path, summary: Mapping[str, Any], rows: Sequence[Row], broadcast: Any) -> None:
    """Write the results; the summary last, because it says that the run is finished."""
    config = summary["config"]
    card = algorithms.card(config["algorithm"])
    title = f"{card.title} on {Path(config['data']).name}"
    files.write(folder / "prototypes.safetensors", results.prototypes_file(broadcast))
    files.write(folder / "accuracy.png", results.picture(title, rows))
    files.write_json(folder / SUMMARY, summary)
    checkpoint.remove(folder)
