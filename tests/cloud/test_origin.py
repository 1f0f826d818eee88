"""A ledger that has lost its run is refused in a sentence: it would begin anew without a word."""

import json
import sqlite3
from pathlib import Path

import pytest

from cloud.aggregator import origin
from cloud.aggregator.forgetting import forget
from cloud.aggregator.ledger import Ledger
from cloud.aggregator.settings import TaskSettings
from edgeloop.errors import RunError
from edgeloop.runtime import config
from edgeloop.runtime.config import BrokerSettings
from tests.postgres import Postgres
from tests.world import contract

TASK, OTHER = contract(task="t", run="first"), contract(task="t", run="second")
TABLES = ("asked", "steps", "late", "members", "departures", "uploads", "rounds", "runs")


def begun(folder: Path, url: str, run: str = "first") -> None:
    """Begin a task's run, or go on with it, as its aggregator does."""
    folder.mkdir(exist_ok=True)
    with Ledger.open(url) as ledger:
        origin.check(folder, "t", ledger)
        assert ledger.adopt(TASK.model_copy(update={"run": run})).run == run
        origin.note(folder, "t", ledger)


def here(folder: Path) -> str:
    return f"sqlite:///{folder / 'ledger.sqlite'}"


def test_who_goes_on_finds_its_run(tmp_path: Path) -> None:
    for _ in range(2):
        begun(tmp_path, here(tmp_path))
    noted = (tmp_path / "run.json").read_text()
    assert '"run": "first"' in noted
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    begun(moved, here(moved))
    assert (moved / "run.json").read_text() == noted


def lose(folder: Path, *statements: str) -> None:
    connection = sqlite3.connect(folder / "ledger.sqlite")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    "statements",
    [
        [f"delete from {table}" for table in TABLES],  # noqa: S608 - ours
        [*(f"drop table {table}" for table in TABLES), "drop table alembic_version"],
    ],
)
def test_an_emptied_file_is_refused(tmp_path: Path, statements: list[str]) -> None:
    begun(tmp_path, here(tmp_path))
    lose(tmp_path, *statements)
    for _ in range(2):
        with pytest.raises(RunError, match="held run first of task t, and holds no run of it now"):
            begun(tmp_path, here(tmp_path), "second")
    (tmp_path / "run.json").unlink()
    begun(tmp_path, here(tmp_path), "second")


@pytest.mark.parametrize("table", TABLES)
def test_one_that_lacks_a_table_is_one_sentence(tmp_path: Path, table: str) -> None:
    begun(tmp_path, here(tmp_path))
    lose(tmp_path, "pragma foreign_keys = off", f"drop table {table}")

    def used() -> None:
        with Ledger.open(here(tmp_path)) as ledger:
            ledger.adopt(TASK)
            ledger.forget("t")

    with pytest.raises(RunError, match=r"without all of its tables; restore a backup"):
        used()


def test_another_runs_file_is_refused(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    begun(one, here(one))
    begun(other, here(other), "second")
    (other / "ledger.sqlite").replace(one / "ledger.sqlite")
    with pytest.raises(
        RunError, match="held run first of task t, and holds run second now"
    ) as told:
        begun(one, here(one))
    assert f"to go on without that run remove {one / 'run.json'}" in str(told.value)


def test_a_file_that_is_gone_is_a_new_one(tmp_path: Path) -> None:
    begun(tmp_path, here(tmp_path))
    (tmp_path / "ledger.sqlite").unlink()
    begun(tmp_path, here(tmp_path), "second")
    begun(tmp_path, here(tmp_path), "second")


def test_another_ledger_is_no_emptied_one(tmp_path: Path) -> None:
    begun(tmp_path, here(tmp_path))
    begun(tmp_path, f"sqlite:///{tmp_path / 'new.sqlite'}", "second")


@pytest.mark.parametrize("text", ["", "[1]", '{"run": "third", "checksum": "x"}', "\xff"])
def test_a_damaged_note_ends_nothing(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    begun(tmp_path, here(tmp_path))
    (tmp_path / "run.json").write_text(text, encoding="latin-1")
    begun(tmp_path, here(tmp_path))
    assert "is damaged" in caplog.text
    assert '"run": "first"' in (tmp_path / "run.json").read_text()


@pytest.mark.postgresql
def test_an_emptied_database_is_refused(tmp_path: Path, postgres: Postgres) -> None:
    url = postgres.database()
    begun(tmp_path, url)
    with postgres.connect(url.rpartition("/")[2]) as connection:
        connection.execute("drop schema public cascade")
        connection.execute("create schema public")
    with pytest.raises(RunError, match="held run first of task t, and holds no run of it now"):
        begun(tmp_path, url, "second")


@pytest.mark.broker
def test_a_task_that_is_forgotten_begins_anew(tmp_path: Path, broker: BrokerSettings) -> None:
    path = tmp_path / "task.toml"
    path.write_text(
        f'name = "t"\nalgorithm = "fedproto"\nclass_names = ["a", "b"]\nshape = [1, 28, 28]\n'
        f"rounds = 1\nfolder = {json.dumps(str(tmp_path))}\n"
        f'broker = {{ port = {broker.port} }}\ncohort = {{ devices = ["one"] }}\n'
    )
    settings = config.read(path, TaskSettings)
    begun(tmp_path, here(tmp_path))
    forget(settings)
    begun(tmp_path, here(tmp_path), "second")
