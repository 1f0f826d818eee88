"""Reads an aggregator's own folder: what its ledger, its history and its summary have.

The run may be going on: the ledger is only read, and the report shows the rounds that are closed.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from edgeloop import round_history
from edgeloop.errors import RunError
from edgeloop.runtime import wording
from edgeloop.showing.rounds import damaged, read_round
from simulations.report.losses import TRAIN_LOSS
from simulations.report.report_data import Device, ReportData, Timing, Traffic

M = TypeVar("M", bound=BaseModel)

LEDGER, SUMMARY, HISTORY = "ledger.sqlite", "summary.json", "history"


class Agreed(BaseModel):
    """As much of a run's contract as a report tells."""

    task: str
    run: str
    algorithm: str
    rounds: int
    class_names: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    options: dict[str, Any] = Field(default_factory=dict)
    devices: tuple[str, ...] = ()


class _Ended(BaseModel):
    accuracy_by_round: list[float | None] = Field(default_factory=list)
    train_loss_by_round: list[float | None] = Field(default_factory=list)
    measures_by_round: dict[str, list[float | None]] = Field(default_factory=dict)
    accuracy_by_device: dict[str, float | None] = Field(default_factory=dict)


class Beside(BaseModel):
    """As much of a run of Local as is laid beside a task."""

    accuracy_by_round: list[float | None] = Field(default_factory=list)
    accuracy_by_client: dict[str, float] = Field(default_factory=dict)
    samples_by_client: dict[str, dict[str, int]] = Field(default_factory=dict)

    def by_device(self, names: list[str], values: Mapping[str, Any]) -> dict[str, Any]:
        """Return clients' values by device: of the same names, or all in the names' order."""
        if set(values) & set(names) or len(values) != len(names):
            return {name: values[name] for name in names if name in values}
        return dict(zip(sorted(names), (values[each] for each in sorted(values)), strict=True))


def is_one(folder: Path) -> bool:
    """Return whether a folder is an aggregator's."""
    return (folder / LEDGER).is_file() or _is_summary(folder / SUMMARY)


def _is_summary(path: Path) -> bool:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and "accuracy_by_device" in found


def read_aggregator(folder: Path, beside: Path | None = None) -> ReportData:
    """Read what an aggregator keeps.

    Args:
        folder: the aggregator's.
        beside: folder of a finished run of Local on the same data; None for none.

    Raises:
        RunError: if it is no aggregator's, or one of its files is damaged.
    """
    ended = _parsed(folder / SUMMARY, _Ended) or _Ended()
    alone = Beside()
    if beside is not None:
        found = _parsed(beside / SUMMARY, Beside)
        if found is None:
            raise RunError(str(beside), "is no finished run", "name a run of Local for --beside")
        alone = found
    agreed, closed, sent = _ledger(folder / LEDGER)
    if agreed is None:
        agreed = _parsed(folder / SUMMARY, Agreed)
    if agreed is None:
        problem = f"has neither {LEDGER} nor {SUMMARY}"
        remedy = "give an aggregator's folder, or the URL of an edgeloop server"
        raise RunError(str(folder), problem, remedy)
    return replace(
        report_data_of(agreed, ended.accuracy_by_device, alone),
        federated={**_accuracies(closed), **_numbered(ended.accuracy_by_round)},
        history=tuple(
            read_round(round_history.file_of(folder / HISTORY, number))
            for number in round_history.kept(folder / HISTORY)
        ),
        traffic=sent,
        timings=_timings(closed),
        losses={
            TRAIN_LOSS: _numbered(ended.train_loss_by_round),
            **{name: _numbered(each) for name, each in ended.measures_by_round.items()},
        },
    )


def report_data_of(
    agreed: Agreed, last: Mapping[str, float | None], alone: Beside, **more: str
) -> ReportData:
    """Return what there is to tell without rounds: what was agreed on, devices, what is beside it.

    Args:
        agreed: of the run.
        last: accuracy by device, after the last round.
        alone: the run of Local beside it.
        more: further facts.
    """
    names = sorted({*agreed.devices, *last})
    own = alone.by_device(names, alone.accuracy_by_client)
    samples = alone.by_device(names, alone.samples_by_client)
    options = {key: str(value) for key, value in agreed.options.items()}
    facts = {"algorithm": agreed.algorithm, "task": agreed.task, "run": agreed.run}
    return ReportData(
        title=f"{agreed.task}: {agreed.algorithm}, {agreed.rounds} rounds",
        class_names=agreed.class_names,
        shape=agreed.shape,
        alone=_numbered(alone.accuracy_by_round),
        devices=tuple(
            _device(name, last.get(name), own.get(name), samples.get(name, {})) for name in names
        ),
        facts={**facts, "rounds": str(agreed.rounds), **options, **more},
    )


def _device(
    name: str, federated: float | None, alone: float | None, samples: Mapping[str, int]
) -> Device:
    counts = samples.get("train"), samples.get("test")
    return Device(name, None, *counts, alone, federated)


def _numbered(values: list[float | None]) -> dict[int, float]:
    return {number: value for number, value in enumerate(values) if value is not None}


def _parsed(path: Path, kind: type[M]) -> M | None:
    """Return what a file says; None if there is none."""
    if not path.exists():
        return None
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise damaged(path, wording.first_problem(error.errors())) from error
    except OSError as error:
        raise damaged(path, str(error)) from error


Closed = list[sqlite3.Row]
Sent = dict[str, dict[int, Traffic]]


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        address = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=10)) as connection:
            connection.row_factory = sqlite3.Row
            yield connection
    except sqlite3.Error as error:
        raise damaged(path, str(error)) from error


def _ledger(path: Path) -> tuple[Agreed | None, Closed, Sent]:
    """Read a ledger: what was agreed on, the closed rounds, bytes by device and round."""
    if not path.is_file():
        return None, [], {}
    with _opened(path) as connection:
        held = connection.execute("SELECT run, contract FROM runs ORDER BY created LIMIT 1")
        row = held.fetchone()
        if row is None:
            return None, [], {}
        mine = "WHERE run = ?"
        closed = connection.execute(
            f"SELECT * FROM rounds {mine} AND closed IS NOT NULL ORDER BY number",  # noqa: S608 - no text of others
            (row["run"],),
        ).fetchall()
        sent: Sent = {}
        query = f"SELECT device, round, size FROM uploads {mine} ORDER BY device, round"  # noqa: S608 - likewise
        for each in connection.execute(query, (row["run"],)):
            sent.setdefault(each["device"], {})[each["round"]] = Traffic(each["size"], 0)
    try:
        contract = json.loads(row["contract"]) | {"run": row["run"]}
        return Agreed.model_validate(contract), closed, sent
    except (ValueError, TypeError) as error:
        raise damaged(path, str(error).splitlines()[0]) from error


def _accuracies(closed: Closed) -> dict[int, float]:
    return {
        row["number"]: row["test_correct"] / row["test_samples"]
        for row in closed
        if row["test_samples"]
    }


def _timings(closed: Closed) -> tuple[Timing, ...]:
    def moment(text: str) -> datetime:
        return datetime.fromisoformat(text)

    rounds = {
        row["number"]: max(0.0, (moment(row["closed"]) - moment(row["opened"])).total_seconds())
        for row in closed
    }
    return (Timing("federated: whole round", rounds),) if rounds else ()
