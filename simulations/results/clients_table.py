"""What every client did in every round: kept line by line as the run goes, parquet at its end."""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from edgeloop.client import Answer, Report
from edgeloop.errors import RunError
from edgeloop.participation import ParticipationPolicy
from edgeloop.runtime import atomic_files

JOURNAL = "clients.csv"
TABLE = "clients.parquet"
HITS = "test_hits"
"""The table's last column: of the last evaluation, a bit for each test sample, 1 where it is right,
the first sample's the highest of the first byte; null in all other rows."""


@dataclass(frozen=True)
class ClientRow:
    """One client in one round; its evaluation came before its training.

    Attributes:
        round: its number; that of the last evaluation is the number of rounds of training.
        client: its name.
        model: its architecture.
        test_correct: test samples classified right.
        test_samples: test samples.
        accuracy: the share of them; NaN, in the file null, where there are none.
        auc: `edgeloop.training.evaluation.micro_auc`; NaN, in the file null, where it has no value.
        train_samples: training samples.
        trained: whether it trained in this round; not without a whole batch.
        arrived: whether its upload came to the server.
        seconds_training: its own.
        seconds_evaluating: its own.
        bytes_up: of the frame that it sent, with its report; nothing after the last evaluation.
        bytes_down: of the broadcast's frame.
        floats_up: numbers in its upload, as papers count them.
    """

    round: int
    client: str
    model: str
    test_correct: int
    test_samples: int
    accuracy: float
    auc: float
    train_samples: int
    trained: bool
    arrived: bool
    seconds_training: float
    seconds_evaluating: float
    bytes_up: int
    bytes_down: int
    floats_up: int

    def line(self) -> str:
        """Return the row as a line of the journal."""
        return ",".join(str(getattr(self, column)) for column in COLUMNS) + "\n"


_TYPES = {int: pa.int64(), str: pa.string(), float: pa.float64(), bool: pa.bool_()}
COLUMNS = {field.name: _TYPES[field.type] for field in fields(ClientRow)}  # type: ignore[index]  # a type, no text
"""Of the journal and the table, with pyarrow's types."""
_HEADER = ",".join(COLUMNS) + "\n"


@dataclass(frozen=True)
class SentSize:
    """What a client sent in a round: its frame's length, and its upload's floats."""

    bytes: int = 0
    floats: int = 0


class Journal:
    """The rows so far, in a file that grows by a round at a time.

    A kill leaves whole rounds that are later than the checkpoint, and maybe half a line: both are
    taken out when the run continues. What a checkpoint relies on is on the disk before it.

    Args:
        folder: of the run.
        models: each client's architecture, by the client's name.
        participation: who takes part; None for everybody.
        rounds: how many are done.
        batch_size: samples that a client must have to train at all.

    Raises:
        RunError: if rows of those rounds are missing.
    """

    def __init__(
        self,
        folder: Path,
        models: Mapping[str, str],
        participation: ParticipationPolicy | None,
        rounds: int = 0,
        batch_size: int = 1,
    ) -> None:
        self._batch_size = batch_size
        self._path = folder / JOURNAL
        self._models = models
        self._participation = participation
        try:
            kept = "".join(self._kept(rounds)) if rounds else ""
        except ValueError:  # no text, or no number where a line begins
            kept = ""
        if kept.count("\n") != rounds * len(models):
            remedy = "remove the run's folder: it then starts again"
            raise RunError(str(self._path), f"does not hold {rounds} rounds", remedy)
        atomic_files.write(self._path, (_HEADER + kept).encode())

    def _kept(self, rounds: int) -> Iterator[str]:
        if not self._path.exists():
            return
        with self._path.open(encoding="utf-8", newline="") as file:
            next(file, None)
            for line in file:
                if line.endswith("\n") and int(line.partition(",")[0]) < rounds:
                    yield line

    def closed(
        self,
        number: int,
        answers: Mapping[str, Answer[Any]],
        sent: Mapping[str, SentSize],
        down: int,
    ) -> None:
        """Add a round of training.

        Args:
            number: of the round.
            answers: by client.
            sent: by client.
            down: bytes of the broadcast's frame.
        """
        uploads = [name for name, answer in answers.items() if answer.upload is not None]
        who = self._participation
        arrived = uploads if who is None else who.arriving(number, uploads)
        self._add(
            self._row(
                number,
                name,
                each.report,
                sent[name],
                down,
                trained=name in uploads and each.report.train_samples >= self._batch_size,
                arrived=name in arrived,
            )
            for name, each in answers.items()
        )

    def finished(self, number: int, reports: Mapping[str, Report], down: int) -> None:
        """Add the last evaluation."""
        self._add(
            self._row(number, name, report, SentSize(), down, trained=False, arrived=False)
            for name, report in reports.items()
        )

    def _row(  # noqa: PLR0913 - a row's cells
        self,
        number: int,
        client: str,
        report: Report,
        sent: SentSize,
        down: int,
        trained: bool,
        arrived: bool,
    ) -> ClientRow:
        return ClientRow(
            round=number,
            client=client,
            model=self._models[client],
            test_correct=report.test_correct,
            test_samples=report.test_samples,
            accuracy=report.accuracy if report.test_samples else math.nan,
            auc=report.test_auc,
            train_samples=report.train_samples,
            trained=trained,
            arrived=arrived,
            seconds_training=report.seconds_training,
            seconds_evaluating=report.seconds_evaluating,
            bytes_up=sent.bytes,
            bytes_down=down,
            floats_up=sent.floats,
        )

    def _add(self, rows: Iterator[ClientRow]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write("".join(row.line() for row in rows))

    def sync(self) -> None:
        """Have the disk hold all rows when this returns."""
        atomic_files.sync(self._path)

    def write(self, hits: Mapping[str, bytes] | None = None) -> None:
        """Write clients.parquet with all rows.

        Args:
            hits: what the last evaluation has right, by client; see `HITS`.
        """
        options = pa.csv.ConvertOptions(column_types=COLUMNS)
        with self._path.open("rb") as rows:  # pyarrow takes no path that is not UTF-8
            table = pa.csv.read_csv(rows, convert_options=options)
        if hits is not None:
            rounds, clients = (table[column].to_pylist() for column in ("round", "client"))
            pairs, last = zip(rounds, clients, strict=True), max(rounds)
            kept = [hits[client] if number == last else None for number, client in pairs]
            table = table.append_column(HITS, pa.array(kept, pa.binary()))
        content = io.BytesIO()
        pa.parquet.write_table(table, content)
        atomic_files.write(self._path.with_name(TABLE), content.getvalue())

    def remove(self) -> None:
        """Remove the journal, once the table is there."""
        self._path.unlink(missing_ok=True)


def read(folder: Path) -> Sequence[ClientRow]:
    """Return all rows of a finished run, by round and then in the order of the clients.

    Raises:
        RunError: if they are not there, or cannot be read.
    """
    path = folder / TABLE
    try:
        table = pa.parquet.read_table(io.BytesIO(path.read_bytes()), columns=list(COLUMNS))
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error
    known: list[dict[str, Any]] = [
        {key: math.nan if value is None else value for key, value in row.items()}
        for row in table.to_pylist()
    ]
    return [ClientRow(**row) for row in known]


def hits(folder: Path) -> dict[str, list[bool]]:
    """Return which test samples a finished run's last evaluation has right, by client.

    A run that another version made, which did not keep them, has none.

    Raises:
        RunError: if the table is not there, or cannot be read.
    """
    path = folder / TABLE
    try:
        if HITS not in pa.parquet.read_schema(path).names:
            return {}
        rows = pa.parquet.read_table(path, columns=["client", "test_samples", HITS]).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error
    return {row["client"]: _unpacked(row) for row in rows if row[HITS] is not None}


def _unpacked(row: Mapping[str, Any]) -> list[bool]:
    bits = np.unpackbits(np.frombuffer(row[HITS], np.uint8), count=row["test_samples"])
    return [bool(bit) for bit in bits]


def _unreadable(path: Path, error: Exception) -> RunError:
    return RunError(str(path), f"cannot be read ({error})", "run it again into a new folder")
