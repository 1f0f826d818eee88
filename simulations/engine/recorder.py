"""Makes a row of every round: what the clients did, what was sent, how long it took."""

import dataclasses
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeloop.algorithm import Algorithm
from edgeloop.client import Answer, Report
from edgeloop.protocol import wire
from edgeloop.protocol.task import SERVER
from edgeloop.protocol.wire import Envelope
from edgeloop.runtime import atomic_files
from edgeloop.server_loop import RoundResult
from simulations.results import measurements
from simulations.results.clients_table import Journal, SentSize
from simulations.results.measurements import COLUMNS, Row


class Recorder:
    """Makes a row of every round and adds it to rounds.csv.

    Args:
        algorithm: of the run.
        path: of rounds.csv; written again with the rows so far.
        rows: of the rounds so far.
        broadcast: what the next round opens with.
        workers: that the clients' seconds are divided by.
        clock: seconds.
        journal: gets a row of every client too.
        on_row: called with every row, as soon as it is written.
        spent: after so many rounds to epsilon; None without privacy.
    """

    def __init__(  # noqa: PLR0913 - what a test replaces comes after the five that a run has
        self,
        algorithm: Algorithm[Any, Any, Any],
        path: Path,
        rows: Sequence[Row],
        broadcast: Any,
        workers: int,
        clock: Callable[[], float] = time.perf_counter,
        journal: Journal | None = None,
        on_row: Callable[[Row], None] = lambda row: None,
        spent: Callable[[int], float] | None = None,
    ) -> None:
        self._spent = spent
        self.train_loss: float | None = None  # of the round that is recorded next
        self._journal = journal
        self._on_row = on_row
        self.rows = list(rows)
        self.algorithm = dataclasses.replace(algorithm, aggregate=self._aggregate)
        self._timed = algorithm.aggregate
        self._aggregating = 0.0
        self._broadcast = broadcast
        self._workers = workers
        self._path = path
        self._clock = clock
        header = ",".join(COLUMNS) + "\n"
        atomic_files.write(path, "".join([header, *(row.line() for row in rows)]).encode())
        self._last = clock()

    def _aggregate(self, state: Any, uploads: Sequence[Any]) -> Any:
        begun = self._clock()
        result = self._timed(state, uploads)
        self._aggregating = self._clock() - begun
        return result

    def closed(
        self,
        closed: RoundResult[Any, Any, Any],
        measures: Mapping[str, float] | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> Row:
        """Record a round of training, the algorithm's own numbers of it, and further metrics."""
        number, answers = closed.number, closed.answers
        sent = {name: _sent(number, name, answer) for name, answer in answers.items()}
        down = self._down(number)
        if self._journal is not None:
            self._journal.closed(number, answers, sent, down)
        reports = [answer.report for answer in answers.values()]
        told = {"measures": dict(measures or {}), "metrics": dict(metrics or {})}
        row = self._row(number, reports, sent.values(), down, number + 1, told)
        self._broadcast = closed.run_state.broadcast
        return row

    def finished(
        self, reports: Mapping[str, Report], metrics: Mapping[str, float] | None = None
    ) -> Row:
        """Record the last evaluation, and further metrics of it."""
        number = len(self.rows)
        down = self._down(number)
        if self._journal is not None:
            self._journal.finished(number, reports, down)
        told = {"metrics": dict(metrics or {})}
        return self._row(number, list(reports.values()), (), down, number, told)

    def _down(self, number: int) -> int:
        return len(wire.encode(_envelope(number, SERVER), self._broadcast))

    def _row(
        self,
        number: int,
        reports: Sequence[Report],
        sent: Collection[SentSize],
        down: int,
        trained: int,
        told: Mapping[str, Mapping[str, float]],
    ) -> Row:
        begun, self._last = self._last, self._clock()
        row = Row(
            round=number,
            accuracy=measurements.accuracy(reports),
            accuracy_std=measurements.accuracy_std(reports),
            seconds=self._last - begun,
            seconds_training=sum(r.seconds_training for r in reports) / self._workers,
            seconds_evaluating=sum(r.seconds_evaluating for r in reports) / self._workers,
            seconds_aggregating=self._aggregating,
            bytes_up=sum(each.bytes for each in sent),
            bytes_down=down * len(reports),
            floats_up=sum(each.floats for each in sent),
            floats_down=measurements.floats(self._broadcast) * len(reports),
            auc=measurements.mean_auc(reports),
            epsilon=None if self._spent is None else self._spent(trained),
            train_loss=self.train_loss,
            **told,
        )
        self._aggregating, self.train_loss = 0.0, None
        self.rows.append(row)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(row.line())
        self._on_row(row)
        return row


def _sent(number: int, name: str, answer: Answer[Any]) -> SentSize:
    floats = 0 if answer.upload is None else measurements.floats(answer.upload)
    return SentSize(len(wire.encode(_envelope(number, name), *_messages(answer))), floats)


def _messages(answer: Answer[Any]) -> tuple[Any, ...]:
    """Return what a client sends: its report, and its upload if it trained."""
    return (answer.report,) if answer.upload is None else (answer.upload, answer.report)


def _envelope(number: int, sender: str) -> Envelope:
    return Envelope("simulation", "simulation", number, sender)
