import csv
import math
import os
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from edgeloop.client import Answer, Report
from edgeloop.errors import RunError
from edgeloop.knowledge.prototypes import PrototypeUpload
from edgeloop.participation import Participation
from simulations.engine.run import simulate
from simulations.results import clients_table
from simulations.results.clients_table import COLUMNS, JOURNAL, Journal, SentSize
from simulations.settings import RunSettings

MODELS = {"client-00": "cnn", "client-01": "resnet-4"}
UPLOAD = PrototypeUpload(np.array([0]), np.array([2]), np.ones((1, 3), np.float32))
REPORTS = {
    "client-00": Report(1, 4, 30, 0.125, 0.5, 0.75),
    "client-01": Report(0, 0, 10, 0.25, 0.0),
}
ANSWERS = {
    "client-00": Answer(UPLOAD, REPORTS["client-00"]),
    "client-01": Answer(None, REPORTS["client-01"]),
}
SENT = {"client-00": SentSize(900, 3), "client-01": SentSize(200)}
FIRST = ("client-00", "cnn", 1, 4, 0.25, 0.75, 30, True, True, 0.5, 0.125, 900, 70, 3)


def _filled(folder: Path, rounds: int) -> Journal:
    journal = Journal(folder, MODELS, None)
    for number in range(rounds):
        journal.closed(number, ANSWERS, SENT, 70)
    return journal


def test_the_table_has_every_round_and_client(tmp_path: Path) -> None:
    journal = _filled(tmp_path, 1)
    journal.finished(1, REPORTS, 80)
    journal.write()
    rows = [astuple(row) for row in clients_table.read(tmp_path)]
    assert rows[0] == (0, *FIRST)
    second = (0, "client-01", "resnet-4", 0, 0, math.nan, math.nan, 10, False, False, 0.0, 0.25)
    assert repr(rows[1]) == repr((*second, 200, 70, 0))
    assert rows[2] == (1, *FIRST[:7], False, False, 0.5, 0.125, 0, 80, 0)
    assert len(rows) == 4
    table = pyarrow.parquet.read_table(tmp_path / "clients.parquet")
    assert {field.name: field.type for field in table.schema} == COLUMNS
    assert table["auc"].to_pylist() == [0.75, None, 0.75, None]  # null, where others see NaN
    assert table["accuracy"].to_pylist() == [0.25, None, 0.25, None]


def test_a_folder_may_have_a_name_that_is_no_utf_8(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    journal = _filled(folder, 1)
    journal.finished(1, REPORTS, 80)
    journal.write()
    assert len(clients_table.read(folder)) == 4


def test_what_came_after_the_checkpoint_is_taken_out(tmp_path: Path) -> None:
    _filled(tmp_path, 3)
    with (tmp_path / JOURNAL).open("a") as file:
        file.write("3,client-00,cn")  # half a line
    again = Journal(tmp_path, MODELS, None, rounds=2)
    assert len((tmp_path / JOURNAL).read_text().splitlines()) == 1 + 2 * 2
    again.closed(2, ANSWERS, SENT, 70)
    again.write()
    assert [row.round for row in clients_table.read(tmp_path)] == [0, 0, 1, 1, 2, 2]


def test_a_journal_without_the_checkpoint_s_rounds_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not hold 2 rounds; remove the run's folder"):
        Journal(tmp_path, MODELS, None, rounds=2)
    _filled(tmp_path, 1)
    with pytest.raises(RunError, match="does not hold 2 rounds"):
        Journal(tmp_path, MODELS, None, rounds=2)


def test_lost_uploads_are_marked(tmp_path: Path) -> None:
    both = {name: Answer(UPLOAD, report) for name, report in REPORTS.items()}
    who = Participation(tuple(MODELS), drop_rate=0.5, seed=4)
    journal = Journal(tmp_path, MODELS, who)
    for number in range(8):
        journal.closed(number, both, SENT, 70)
    journal.write()
    rows = clients_table.read(tmp_path)
    assert all(row.trained for row in rows)
    arrived = [{row.client for row in rows if row.round == n and row.arrived} for n in range(8)]
    assert arrived == [who.arriving(number, both) for number in range(8)]
    assert len(set(map(frozenset, arrived))) == 2


def test_a_run_s_table_adds_up_to_its_rounds(settings: RunSettings, tmp_path: Path) -> None:
    half = settings.model_copy(update={"join_ratio": 0.7})
    summary = simulate(half, tmp_path / "run", lambda done, _: None)
    rows = clients_table.read(tmp_path / "run")
    last = [row for row in rows if row.round == 2]
    assert {row.client: row.accuracy for row in last} == summary["accuracy_by_client"]
    assert {row.client: row.model for row in last} == summary["model_by_client"]
    assert [sum(row.trained for row in rows if row.round == n) for n in range(3)] == [2, 2, 0]
    sent = sum(row.bytes_up for row in rows)
    assert sent == pytest.approx(summary["bytes_up_per_client"] * 3 * 2)
    aucs = [(row.auc, row.test_samples) for row in last]
    mean = sum(auc * samples for auc, samples in aucs) / sum(samples for _, samples in aucs)
    assert summary["auc_by_round"][-1] == pytest.approx(mean, abs=1e-12)
    assert summary["auc_by_round"][0] is None  # no prototypes yet


@pytest.mark.parametrize(
    "few",
    [{"join_ratio": 0.34}, {"drop_rate": 0.7}, {"deadline": 0.01}, {"random_join_ratio": True}],
)
def test_feddbe_measures_everybody_s_mean(
    few: dict[str, float], settings: RunSettings, tmp_path: Path
) -> None:
    """As its authors' initialisation period does, whoever takes part in the rounds after it."""
    changes = {"algorithm": "feddbe", "models": "cnn", "rounds": 3, "options": {}, **few}
    if "random_join_ratio" in few:
        changes |= {"join_ratio": 0.34}
    simulate(settings.model_copy(update=changes), tmp_path / "run", lambda done, _: None)
    rows = clients_table.read(tmp_path / "run")
    first = [row for row in rows if row.round == 0]
    assert [(row.trained, row.arrived) for row in first] == [(True, True)] * len(first)
    later = [row for row in rows if row.round in (1, 2)]
    assert not all(row.trained and row.arrived for row in later)


@pytest.mark.parametrize(
    "lost", [{"deadline": 1.5, "slow_rate": 0.5}, {"drop_rate": 0.5}, {"join_ratio": 0.5}]
)
def test_both_tables_count_the_bytes_of_late_and_lost_uploads(
    lost: dict[str, float], settings: RunSettings, tmp_path: Path
) -> None:
    simulate(settings.model_copy(update=lost), tmp_path / "run", lambda done, _: None)
    rows = clients_table.read(tmp_path / "run")
    assert not all(row.arrived for row in rows if row.round < 2)
    with (tmp_path / "run" / "rounds.csv").open(encoding="utf-8") as file:
        for line in csv.DictReader(file):
            mine = [row for row in rows if row.round == int(line["round"])]
            assert sum(row.bytes_up for row in mine) == int(line["bytes_up"])
            assert sum(row.bytes_down for row in mine) == int(line["bytes_down"])


def test_a_table_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be read"):
        clients_table.read(tmp_path)
