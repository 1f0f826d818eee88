"""Runs on a real Ray cluster of this machine; a worker that is killed loses nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgeloop.errors import ConfigError
from simulations.engine import cluster
from simulations.engine.run import simulate
from simulations.settings import RunSettings
from tests.processes import running

ROUNDS = 60
# A process of its own: Ray's threads and warnings stay out of the tests'.
PROGRAM = """
import json, sys
from pathlib import Path
from simulations.engine.batch import Job, run_all
from simulations.settings import RunSettings

settings = RunSettings.model_validate(json.loads(sys.argv[1]))
jobs = {n: Job(settings.model_copy(update={"seed": n}), Path(sys.argv[2]) / f"{n}") for n in (0, 1)}
found = run_all(jobs, 1, lambda key, summary: None, cluster="local")
print(json.dumps([found[n]["knowledge_sha256"] for n in (0, 1)]))
"""


@contextmanager
def start(settings: RunSettings, folder: Path) -> "Iterator[subprocess.Popen[str]]":
    """Have two runs on a cluster in a process, which ends with the block.

    Ray's workers are polite: beside anything else they would wait for minutes.
    """
    words = [sys.executable, "-c", PROGRAM, settings.model_dump_json(), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with running(words, env=environment, **pipes) as process:
        yield process


def workers(driver: int) -> list[int]:
    """Return the processes of the driver's cluster that run a task."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            names[int(folder.name)] = (folder / "cmdline").read_text()
        except (OSError, UnicodeDecodeError):
            continue
        parents[int(folder.name)] = int(fields[1])
    return [
        number
        for number, name in names.items()
        if name.startswith("ray::_call") and descends(number, driver, parents)
    ]


def descends(number: int, ancestor: int, parents: dict[int, int]) -> bool:
    while number in parents and number != ancestor:
        number = parents[number]
    return number == ancestor


@pytest.fixture
def long(settings: RunSettings, signals: Path) -> RunSettings:
    return settings.model_copy(update={"rounds": ROUNDS, "data": str(signals)})


def saved_rows(folder: Path) -> dict[str, str]:
    """Return the first rounds of the runs that have a checkpoint, with the seconds they took."""
    runs = {path.parent for path in folder.glob("*/checkpoint-*")}
    return {run.name: first_row(run) for run in runs}


def first_row(run: Path) -> str:
    return (run / "rounds.csv").read_text().splitlines()[1]


def test_killed_workers_lose_nothing(long: RunSettings, tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    with start(long, folder) as process:
        deadline = time.monotonic() + 240
        while not any(folder.glob("*/checkpoint-*")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        killed = workers(process.pid)
        for each in killed:
            os.kill(each, signal.SIGKILL)
        begun = saved_rows(folder)
        words, problems = process.communicate(timeout=240)
    assert process.returncode == 0, problems
    assert killed
    assert begun
    rows = {name: first_row(folder / name) for name in begun}
    assert rows == begun  # they went on, rather than begin again
    found = json.loads(words.splitlines()[-1])  # Ray tells of the lost workers before
    for seed in (0, 1):
        whole = long.model_copy(update={"seed": seed})
        expected = simulate(whole, tmp_path / f"{seed}", lambda done, _: None)
        held = json.loads((folder / f"{seed}" / "summary.json").read_text())
        assert found[seed] == expected["knowledge_sha256"]
        assert held["accuracy_by_round"] == expected["accuracy_by_round"]


def test_a_wrong_run_is_one_sentence(settings: RunSettings, tmp_path: Path) -> None:
    wrong = settings.model_copy(update={"data": str(tmp_path / "nowhere")})
    with start(wrong, tmp_path / "cluster") as process:
        _, problems = process.communicate(timeout=240)
    last = problems.strip().splitlines()[-1]
    assert last.startswith("edgeloop.errors.DataError: ")
    assert "no such file or folder; check the path" in last


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"cluster: needs Ray.*pip install 'edgeloop\[ray\]'"):
        cluster.run_tasks({}, "local", 1, lambda key, summary: None)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nowhere", "a:b"])
def test_no_cluster_at_the_address(address: str) -> None:
    with pytest.raises(ConfigError, match=f"cluster: there is no Ray cluster at {address}"):
        cluster.run_tasks({}, address, 1, lambda key, summary: None)
