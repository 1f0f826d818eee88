"""A database or a disk that is away for a while ends no aggregator: it waits, and goes on."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from cloud.aggregator import outages
from cloud.aggregator.database_errors import LockedError
from cloud.aggregator.ledger import Ledger, RoundCounts
from edgeloop.errors import RunError, StorageError, TakenError
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.ports import listens
from tests import forked
from tests.chaos import machine
from tests.devices import wait_until
from tests.one_device import EDGELOOP, Aggregator, Task, run_aggregator, write_data
from tests.postgres import Postgres
from tests.world import contract

AWAY = StorageError("the ledger", "was lost", "wait")
CONTRACT = contract(task="cats", run="first", rounds=3)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr(outages, "MOST_SECONDS", 0.02)


def failing(*errors: Exception) -> Callable[[], str]:
    """Return what raises these, one at a time, and then returns."""
    left = list(errors)

    def work() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return work


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("error", [AWAY, LockedError("ledger", "is locked", "close it")])
def test_what_passes_is_waited_for(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    work, renew = failing(error, error), failing(AWAY, TakenError("task", "is taken", "stop it"))
    told: list[str | None] = []
    assert outages.through_outages(work, renew, told.append) == "done"
    assert told == [str(error), None, str(error), None]
    assert f"{error}; waiting until it is back" in caplog.text


@pytest.mark.usefixtures("soon")
def test_what_does_not_pass_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = RunError("the ledger", "is damaged", "restore it")
    with pytest.raises(RunError):
        outages.through_outages(failing(wrong), lambda: None)
    with pytest.raises(RunError):
        outages.through_outages(failing(AWAY), failing(wrong))
    monkeypatch.setattr(outages, "CLAIMED_SECONDS", 0.0)
    taken = TakenError("task", "another aggregator has it", "stop it")
    with pytest.raises(TakenError):
        outages.through_outages(failing(AWAY), failing(taken))


def test_a_file_that_is_removed_or_replaced_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(f"sqlite:///{path}") as ledger:
        ledger.adopt(CONTRACT)
        ledger.begin(b"state", b"broadcast")
        path.rename(tmp_path / "elsewhere")
        for _ in range(2):
            with pytest.raises(RunError, match="was removed or replaced while its aggregator ran"):
                ledger.record(0, "a", "digest", b"payload")
            path.write_bytes((tmp_path / "elsewhere").read_bytes())
        path.unlink()
        (tmp_path / "elsewhere").rename(path)
        ledger.record(0, "a", "digest", b"payload")


# ---- a real PostgreSQL


@pytest.mark.postgresql
def test_a_ledger_is_held_again_after_a_restart(postgres: Postgres) -> None:
    url = postgres.database()
    with Ledger.open(url) as ledger:
        ledger.adopt(CONTRACT)
        ledger.begin(b"state", b"broadcast")
        postgres.control("-m", "immediate", "stop")
        try:
            with pytest.raises(StorageError):
                ledger.record(0, "a", "digest", b"payload")
            with pytest.raises(StorageError):
                ledger.renew()
        finally:
            postgres.start()
        ledger.renew()
        ledger.record(0, "a", "digest", b"payload")
        with Ledger.open(url) as second, pytest.raises(TakenError, match="another aggregator"):
            second.adopt(CONTRACT)
        ledger.close_round(0, b"more", b"broadcast", RoundCounts(1, 1, 2))
        assert ledger.run_state() == (1, b"more", b"broadcast")


@pytest.mark.postgresql
def test_a_task_that_another_has_taken_meanwhile(postgres: Postgres) -> None:
    url = postgres.database()
    with Ledger.open(url) as first, Ledger.open(url) as second:
        first.adopt(CONTRACT)
        postgres.control("-m", "immediate", "restart")
        second.adopt(CONTRACT)
        with pytest.raises(TakenError, match="another aggregator is running task cats"):
            first.renew()


@pytest.mark.postgresql
def test_an_emptied_one_is_no_outage(postgres: Postgres) -> None:
    with Ledger.open(postgres.database()) as ledger:
        ledger.adopt(CONTRACT)
        ledger.forget("cats")
        with pytest.raises(RunError, match="no longer holds run first; restore it from a backup"):
            ledger.renew()


@contextmanager
def agent(task: Task) -> Iterator[forked.Forked]:
    """Run the task's device as a process."""
    device, path = task.device(), task.folder / "agent.toml"
    path.write_text(
        f'name = "{device.name}"\ntask = "{device.task}"\nfolder = "{device.folder}"\n'
        f"broker = {{ port = {task.broker.port} }}\n"
        f"data = {{ source = {json.dumps(str(task.source))} }}\n"
        'training = { architecture = "resnet4", threads = 1, mix = "never" }\n'
        "model = { every_rounds = 0 }\n"
    )
    command = [EDGELOOP, "agent", "--config", str(path)]
    with (
        (task.folder / "agent.log").open("wb") as output,
        forked.running(command, stderr=output) as process,
    ):
        yield process


def opened(task: Task, running: Aggregator) -> None:
    """Wait until a task's first round is open."""

    def is_open() -> bool:
        assert running.process.poll() is None, running.said()
        return "resumes at round 0" in running.said()

    wait_until(is_open)
    time.sleep(1)


def why_not_ready(task: Task) -> str:
    return httpx.get(f"http://127.0.0.1:{task.http}/readyz").text


def kill(postgres: Postgres) -> None:
    """Kill the server as the kernel does that has no memory left."""
    number = int((postgres.data / "postmaster.pid").read_text().split()[0])
    os.kill(number, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{number}").exists())


@pytest.mark.broker
@pytest.mark.postgresql
@pytest.mark.parametrize("how", ["restarted", "killed"])
def test_a_database_that_is_away_in_the_middle_of_a_round(
    tmp_path: Path, broker: BrokerSettings, postgres: Postgres, how: str
) -> None:
    task = Task(tmp_path, write_data(tmp_path / "data"), broker, None, "fedproto", {})
    config = task.config()
    config.write_text(f'{config.read_text()}\nstore = "{postgres.database()}"\n')
    with run_aggregator(config, tmp_path / "log") as running:
        opened(task, running)
        if how == "restarted":
            postgres.control("-m", "immediate", "stop")
        else:
            kill(postgres)
        try:
            with agent(task) as device:
                wait_until(lambda: "waiting until it is back" in running.said())
                ready = httpx.get(f"http://127.0.0.1:{task.http}/readyz")
                assert ready.status_code == 503
                assert "cannot be reached" in ready.text
                time.sleep(3)
                postgres.start()
                assert device.wait(100) == 0
                assert running.process.wait(60) == 0, running.said()
        finally:
            if not listens(postgres.port):  # a killed one leaves its postmaster.pid
                postgres.start()
    assert "Traceback" not in running.said()
    assert "the ledger is back after " in running.said()
    assert (task.folder / "aggregator" / "summary.json").exists()


@pytest.mark.broker
@pytest.mark.skipif(not machine.may_mount(), reason="only root may mount a small disk")
def test_a_disk_that_is_full_in_the_middle_of_a_round(
    tmp_path: Path, broker: BrokerSettings
) -> None:
    task = Task(tmp_path, write_data(tmp_path / "data"), broker, None, "fedproto", {})
    place = tmp_path / "aggregator"
    with (
        machine.small_disk(place, 8 * 2**20),
        run_aggregator(task.config(), tmp_path / "log") as running,
    ):
        opened(task, running)
        machine.fill(place)
        with agent(task) as device:
            wait_until(lambda: "waiting until it is back" in running.said())
            wait_until(lambda: "the disk is full" in why_not_ready(task))
            machine.free(place)
            assert device.wait(100) == 0
            assert running.process.wait(60) == 0, running.said()
        assert (place / "summary.json").exists()
    assert "Traceback" not in running.said()
