"""Many runs: each once, in a process of its own."""

import multiprocessing
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edgeloop.errors import ConfigError, InputError, UnavailableError
from simulations.engine.batch import Job, run_all
from simulations.settings import RunSettings
from tests.forks import Forks

LONG = """
title = "Long"
question = "Does it stop?"
source = "ours"
settings = {{ data = "{data}", algorithm = "local", rounds = 100000, width = 8 }}
rows = [{{ name = "Local" }}]
columns = [{{ name = "" }}]
seeds = 5
"""


def test_each_run_once_and_in_order(settings: RunSettings, tmp_path: Path) -> None:
    jobs = {
        seed: Job(settings.model_copy(update={"seed": seed}), tmp_path / "runs" / f"{seed}")
        for seed in (1, 0)
    }
    told: list[int] = []
    found = run_all(jobs, 2, lambda key, summary: told.append(key))
    assert list(found) == [1, 0]
    assert sorted(told) == [0, 1]
    assert [found[seed]["config"]["seed"] for seed in found] == [1, 0]
    times = [(job.folder / "rounds.csv").stat().st_mtime_ns for job in jobs.values()]
    told.clear()
    assert run_all(jobs, 2, lambda key, summary: told.append(key)) == found
    assert told == [1, 0]
    assert [(job.folder / "rounds.csv").stat().st_mtime_ns for job in jobs.values()] == times


def test_an_error_comes_back(settings: RunSettings, tmp_path: Path) -> None:
    wrong = settings.model_copy(update={"options": {"server_epoch": 1}})
    with pytest.raises(ConfigError, match=r"^run: server_epoch: .* did you mean server_epochs"):
        run_all({0: Job(wrong, tmp_path / "run")}, 1, lambda key, summary: None)


def test_an_error_stops_the_others_and_nothing_is_left_of_them(
    settings: RunSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a thread raised afterwards was told of at whatever test came next."""
    raised: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    wrong = settings.model_copy(update={"data": str(tmp_path / "nowhere")})
    long = settings.model_copy(update={"rounds": 100_000})
    jobs = {0: Job(long, tmp_path / "under-way"), 1: Job(wrong, tmp_path / "wrong")}
    jobs |= {key: Job(long, tmp_path / f"waits-{key}") for key in range(2, 6)}
    before = threading.active_count()
    for _ in range(2):
        with pytest.raises(InputError, match=r"^wrong: .*nowhere"):
            run_all(jobs, 2, lambda key, summary: None)
        assert not multiprocessing.active_children()
        assert threading.active_count() <= before
    assert not (tmp_path / "waits-5").exists()
    assert not raised


def test_ctrl_c_stops_all(settings: RunSettings, tmp_path: Path, forks: Forks) -> None:
    scenario = tmp_path / "long.toml"
    scenario.write_text(LONG.format(data=settings.data))
    words = ["reproduce", str(scenario), "--out", str(tmp_path / "out"), "--workers", "2"]
    started = forks.start(tmp_path, *words)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("out/runs/*/checkpoint-*")):
        assert time.monotonic() < deadline, started.said.read_text()
        time.sleep(0.01)
    started.stop(signal.SIGINT)  # as a terminal does: all of its processes
    status, said = forks.ended(started), started.said.read_text()
    assert status == 130, said
    assert "run the same command again to go on" in said
    assert "Traceback" not in said
    assert len(list((tmp_path / "out" / "runs").iterdir())) <= 2, "nothing begins afterwards"


def test_a_killed_run_is_told_with_its_likely_cause(settings: RunSettings, tmp_path: Path) -> None:
    long = settings.model_copy(update={"rounds": 1000})
    jobs = {0: Job(settings, tmp_path / "short"), 1: Job(long, tmp_path / "long")}

    def kill(key: int, summary: Mapping[str, Any]) -> None:
        for process in multiprocessing.active_children():
            process.kill()

    with pytest.raises(UnavailableError, match="workers: one was killed"):
        run_all(jobs, 1, kill)
    assert (tmp_path / "short" / "summary.json").exists()
