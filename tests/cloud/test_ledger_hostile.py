"""A ledger or a summary that says what none says: a sentence, or what is good of it."""

import logging
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from cloud.aggregator import standing
from cloud.aggregator.ledger import RoundCounts
from cloud.aggregator.service import Run
from edgeloop import algorithms, server_loop
from edgeloop.errors import RunError
from edgeloop.protocol import wire
from edgeloop.protocol.task import SERVER
from edgeloop.protocol.wire import Envelope
from edgeloop.runtime import atomic_files
from tests.cloud.test_poisoned import answers, huge, opened, settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An aggregator's folder after a round, which was its last."""
    with opened(settings(tmp_path)) as run:
        run_state = run._load_state(algorithms.load_for_contract(run.contract))
        for name, payload in answers(run, huge(1.0)).items():
            run.ledger.record(0, name, wire.digest(payload), payload)
        frames = standing.frames(
            run.contract, server_loop.RunState(1, run_state.state, run_state.broadcast)
        )
        run.ledger.close_round(0, *frames, RoundCounts(3, 1, 3))
    return tmp_path


def changed(folder: Path, statement: str, *values: Any) -> None:
    connection = sqlite3.connect(folder / "ledger.sqlite")
    connection.execute(statement, values)
    connection.commit()
    connection.close()


def gone_on(run: Run) -> server_loop.RunState[Any, Any]:
    """Do what an aggregator does with its ledger when it is started."""
    run.metrics.run_started(run.contract, run.settings, run.ledger.committed())
    run.ledger.finished()
    run.status()
    return run._load_state(algorithms.load_for_contract(run.contract))


@pytest.mark.parametrize(
    "statement",
    [
        "update rounds set opened = 'yesterday'",
        "update rounds set opened = 5",
        "update rounds set test_correct = 'many' where number = 0",
        "update rounds set number = 'x' where number = 1",
        "update rounds set number = 9000000000000000000 where number = 1",
        "update runs set finished = 'x'",
        "update runs set contract = '{'",
    ],
)
def test_what_no_ledger_holds_is_told_in_a_sentence(folder: Path, statement: str) -> None:
    changed(folder, statement)
    with pytest.raises(RunError, match=r"is damaged|cannot read"):  # noqa: SIM117
        with opened(settings(folder)) as run:
            gone_on(run)


@pytest.mark.parametrize("value", [5, 5.5, "text", b"", None])
@pytest.mark.parametrize("column", ["state", "broadcast"])
def test_it_goes_on_from_before_what_is_no_frame(
    folder: Path, column: str, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    changed(folder, f"update rounds set {column} = ? where number = 1", value)  # noqa: S608
    with opened(settings(folder)) as run:
        assert gone_on(run).rounds == (0 if (column, value) == ("state", None) else 1)
        if value is not None:
            assert "resuming with the state of round 0" in caplog.text


@pytest.mark.parametrize("value", [5, 5.5, "text", b""])
def test_an_upload_that_is_no_frame_is_no_answer(folder: Path, value: Any) -> None:
    changed(folder, "update uploads set payload = ? where device = 'a'", value)
    with opened(settings(folder)) as run:
        stored = run.ledger.recall(0)
    assert sorted(stored) == ["a", "b", "c"]
    assert stored["a"] == b""


@pytest.mark.parametrize("changes", [{"width": 5}, {"classes": 3}, {"run": "x"}, {"task": "x"}])
def test_a_state_of_another_size_or_run_is_not_taken(folder: Path, changes: Any) -> None:
    with opened(settings(folder)) as run:
        ours = {"task": "poisoned", "run": run.contract.run, "classes": 2, "width": 4}
    theirs = {**ours, **changes}
    envelope = Envelope(theirs.pop("task"), theirs.pop("run"), 1, SERVER)
    began = server_loop.initial_state(algorithms.load("fedtgp", **theirs))
    frames = [wire.encode(envelope, each) for each in (began.state, began.broadcast)]
    changed(folder, "update rounds set state = ?, broadcast = ? where number = 1", *frames)
    with opened(settings(folder)) as run, pytest.raises(RunError, match="cannot read"):
        gone_on(run)


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b"{}",
        b"[]",
        b'{"accuracy_by_round": []}',
        b'{"accuracy_by_round": ["x"]}',
        b"\xff",
    ],
)
def test_a_damaged_summary_ends_nothing(
    folder: Path, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    changed(folder, "update runs set finished = '2026-01-01 00:00:00'")
    (folder / "summary.json").write_bytes(text)
    with opened(settings(folder)) as run:
        assert run.run_to_end() == folder / "summary.json"
        assert run.status().accuracy == pytest.approx(1 / 3)
    assert "is damaged" in caplog.text


def test_a_run_that_has_ended_tells_what_its_summary_says(folder: Path) -> None:
    changed(folder, "update runs set finished = '2026-01-01 00:00:00'")
    told = {"accuracy_by_round": [0.25, 0.5], "epsilon": 1.5}
    atomic_files.write_checked_json(folder / "summary.json", told)
    with opened(settings(folder)) as run:
        run.run_to_end()
        assert (run.status().accuracy, run.status().epsilon) == (0.5, 1.5)


def test_an_emptied_file_is_no_new_ledger(folder: Path) -> None:
    """Its run would begin anew without a word; what is gone is a new one, and what never was."""
    file = folder / "ledger.sqlite"
    for left in folder.glob("ledger.sqlite-*"):
        left.unlink()
    file.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(RunError, match="was a ledger and is an empty file now"):
            gone_on_in(folder)
    assert file.read_bytes() == b""
    file.unlink()
    gone_on_in(folder)


def test_a_ledger_that_was_killed_before_its_first_write_begins(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"")
    gone_on_in(tmp_path)


def gone_on_in(folder: Path) -> None:
    with opened(settings(folder)) as run:
        gone_on(run)
