"""Many runs: each once, in a process of its own."""

import multiprocessing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edgeloop.errors import ConfigError, RunError
from simulations.batch import Job, run_all
from simulations.settings import RunSettings


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
    with pytest.raises(ConfigError, match="did you mean server_epochs"):
        run_all({0: Job(wrong, tmp_path / "run")}, 1, lambda key, summary: None)


def test_a_killed_run_is_told_with_its_likely_cause(settings: RunSettings, tmp_path: Path) -> None:
    long = settings.model_copy(update={"rounds": 1000})
    jobs = {0: Job(settings, tmp_path / "short"), 1: Job(long, tmp_path / "long")}

    def kill(key: int, summary: Mapping[str, Any]) -> None:
        for process in multiprocessing.active_children():
            process.kill()

    with pytest.raises(RunError, match="workers: one was killed"):
        run_all(jobs, 1, kill)
    assert (tmp_path / "short" / "summary.json").exists()
