import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from simulations.engine.run import simulate
from simulations.results import clients_table
from simulations.results.clients_table import ClientRow
from simulations.settings import RunSettings
from tests.forks import Forks

MEASURED = {"seconds_per_round", "seconds", "peak_memory_bytes"}
ROUNDS = 60


def command(settings: RunSettings, folder: Path) -> list[str]:
    words = ["simulate", settings.algorithm, "--data", settings.data, "--width", "16"]
    words += ["--rounds", str(settings.rounds), "--set", "server_epochs=2"]
    words += ["--workers", str(settings.workers)]
    words += ["--models", settings.models] if settings.models else []
    words += ["--cohort", settings.cohort] if settings.cohort else []
    return [*words, "--out", str(folder)]


def stop(forks: Forks, settings: RunSettings, folder: Path, how: signal.Signals) -> tuple[int, str]:
    """Start a run, stop it after its first checkpoint, and return its exit status and its words."""
    started = forks.start(folder.parent, *command(settings, folder))
    deadline = time.monotonic() + 120
    while not list(folder.glob("checkpoint-*")):
        assert time.monotonic() < deadline, started.said.read_text()
        time.sleep(0.005)
    os.kill(started.pid, how)
    return forks.ended(started), started.said.read_text()


def lasting(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must not depend on how often a run was stopped, nor on its workers."""
    config = {key: value for key, value in summary["config"].items() if key != "workers"}
    kept = {key: value for key, value in summary.items() if key not in MEASURED}
    return {**kept, "config": config}


def untimed(folder: Path) -> list[list[str]]:
    """Return the columns of rounds.csv that are no seconds."""
    lines = (folder / "rounds.csv").read_text().splitlines()
    return [[*line.split(",")[:3], *line.split(",")[-3:]] for line in lines]


def of_clients(folder: Path) -> list[ClientRow]:
    """Return the rows of clients.parquet without their seconds."""
    rows = clients_table.read(folder)
    return [replace(row, seconds_training=0.0, seconds_evaluating=0.0) for row in rows]


@pytest.fixture
def long(settings: RunSettings, signals: Path) -> RunSettings:
    return settings.model_copy(update={"rounds": ROUNDS, "data": str(signals)})


def test_a_killed_run_goes_on_to_the_same_results(
    forks: Forks, long: RunSettings, tmp_path: Path
) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    workers = long.model_copy(update={"workers": 2})
    status, _ = stop(forks, workers, killed, signal.SIGKILL)
    assert status == -signal.SIGKILL
    assert not (killed / "summary.json").exists()
    rounds: list[int] = []
    resumed = simulate(long, killed, lambda done, _: rounds.append(done))
    assert rounds[0] > 1  # it went on, rather than begin again
    expected = simulate(long, whole, lambda done, _: None)
    assert lasting(resumed) == lasting(expected)
    assert json.loads((killed / "summary.json").read_text()) == resumed
    assert not list(killed.glob("*checkpoint*"))
    assert untimed(killed) == untimed(whole)
    assert of_clients(killed) == of_clients(whole)
    assert len(of_clients(whole)) == (ROUNDS + 1) * 3
    assert not (killed / "clients.csv").exists()
    knowledge = [(each / "prototypes.safetensors").read_bytes() for each in (killed, whole)]
    assert knowledge[0] == knowledge[1]


def test_so_does_one_of_stacked_clients(forks: Forks, long: RunSettings, tmp_path: Path) -> None:
    """Their steps are recorded again where the run continues."""
    together = long.model_copy(update={"cohort": "stacked", "models": "harcnn-s1"})
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    stop(forks, together, killed, signal.SIGKILL)
    assert not (killed / "summary.json").exists()
    resumed = simulate(together, killed, lambda done, _: None)
    expected = simulate(together, whole, lambda done, _: None)
    choices = [each.pop("cohort")["harcnn-s1"]["stacked"] for each in (resumed, expected)]
    assert choices == [True, True]
    assert lasting(resumed) == lasting(expected)
    assert of_clients(killed) == of_clients(whole)


def test_ctrl_c_leaves_a_checkpoint(forks: Forks, long: RunSettings, tmp_path: Path) -> None:
    status, words = stop(forks, long, tmp_path / "run", signal.SIGINT)
    assert status == 130
    assert "run the same command again" in words
    assert "Traceback" not in words
    (saved,) = (tmp_path / "run").glob("checkpoint-*")
    models = sorted(path.name for path in (saved / "models").iterdir())
    assert models == [f"client-0{number}.safetensors" for number in range(3)]
