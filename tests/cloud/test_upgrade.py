"""A rolling update in the middle of a round: the old aggregator stops, a new one continues.

There has been one schema so far. The new edgeloop is this one with a migration more, so that the
schema that is deployed today is the previous one.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

import pytest
import tomli_w
from sqlalchemy import create_engine, inspect

from edgeloop.runtime.child_processes import START, bound
from edgeloop.runtime.config import BrokerSettings
from tests import forked
from tests.cloud.stack import stacks
from tests.cloud.stack.stacks import DEVICES, TASK
from tests.devices import wait_until
from tests.postgres import Postgres

pytestmark = pytest.mark.broker
ROOT = Path(__file__).parents[2]

MIGRATION = '''
"""When an upload was first looked at."""

import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = "{head}"


def upgrade() -> None:
    with op.batch_alter_table("uploads") as uploads:
        uploads.add_column(sa.Column("seen", sa.DateTime(timezone=True)))
'''


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.database()


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """A folder with the next edgeloop's cloud side: it has one migration more."""
    folder = tmp_path / "newer"
    shutil.copytree(ROOT / "cloud", folder / "cloud")
    versions = folder / "cloud" / "aggregator" / "migrations" / "versions"
    head = sorted(path.stem.partition("_")[0] for path in versions.glob("0*.py"))[-1]
    (versions / "next_seen.py").write_text(MIGRATION.format(head=head).lstrip())
    return folder


class Machine:
    """Starts the doors as processes, each with a log."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack

    def start(self, door: str, name: str, config: Path, code: Path = ROOT) -> "Started":
        log = self._folder / f"{name}.log"
        # Nobody else's signal: neither the terminal's, nor one to the whole group of the tests.
        command = [sys.executable, "-c", START, door, "--config", str(config)]
        environment = {**os.environ, "PYTHONPATH": f"{code}{os.pathsep}{ROOT}"}
        where: Any = {"env": environment, "cwd": self._folder}
        process: forked.Forked | subprocess.Popen[bytes]
        with log.open("wb") as output:
            if code == ROOT:
                process = forked.start(command, stderr=output, **where)
            else:
                process = subprocess.Popen(
                    bound(command, SIGKILL), stderr=output, start_new_session=True, **where
                )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return Started(process, log)

    def write(self, name: str, table: dict[str, object]) -> Path:
        path = self._folder / f"{name}.toml"
        path.write_text(tomli_w.dumps(table))
        return path


class Started:
    """A process and what it says."""

    def __init__(self, process: forked.Forked | subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    def wait_for(self, text: str) -> None:
        wait_until(lambda: text in self.log.read_text() or self.process.poll() is not None, 200)
        assert text in self.log.read_text(), self.log.read_text()

    def end(self, number: int | None = None) -> int:
        if number is not None:
            self.process.send_signal(number)
        return self.process.wait(200)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with ExitStack() as stack:
        yield Machine(tmp_path, stack)


def test_the_open_round_ends_with_the_uploads_from_before_the_upgrade(
    tmp_path: Path, store: str, newer: Path, broker: BrokerSettings, machine: Machine
) -> None:
    shared = {"broker": {"port": broker.port}}
    task = stacks.task(folder=str(tmp_path / "task"), store=store, rounds=1, **shared)
    config = machine.write(TASK, task)
    one, two = (
        machine.write(name, stacks.device(number, folder=str(tmp_path / name), **shared))
        for number, name in enumerate(DEVICES)
    )
    old = machine.start("aggregator", "old", config)
    device = machine.start("agent", "one-before", one)
    old.wait_for("one: accepted")
    assert "round 0 of 1 closed" not in old.log.read_text()
    assert device.end(SIGKILL) == -SIGKILL  # only the ledger has its upload now
    assert old.end(SIGTERM) == 0
    assert "seen" not in _columns(store)

    new = machine.start("aggregator", "new", config, newer)
    new.wait_for("resumes at round 0")
    assert "seen" in _columns(store)
    other = machine.start("agent", "two", two)
    new.wait_for("round 0 of 1 closed: 2 answers")
    assert "one: accepted" not in new.log.read_text()
    again = machine.start("agent", "one-after", one)
    for each in (new, other, again):
        assert each.end() == 0, each.log.read_text()
    summary = json.loads((tmp_path / "task" / "summary.json").read_text())
    assert sorted(summary["accuracy_by_device"]) == sorted(DEVICES)

    back = machine.start("aggregator", "back", config)
    assert back.end() == 2
    assert "was written by a newer edgeloop; update edgeloop" in back.log.read_text()


def _columns(store: str) -> set[str]:
    engine = create_engine(store.replace("postgresql:", "postgresql+psycopg:"))
    try:
        return {column["name"] for column in inspect(engine).get_columns("uploads")}
    finally:
        engine.dispose()
