"""A run that is killed again and again ends with the results of an undisturbed one."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.forks import Forks, Started
from tests.simulations.engine.test_resume import lasting, untimed

KILLS = 8
ROUNDS = 60


def start(forks: Forks, data: Path, folder: Path, workers: int = 1) -> Started:
    """Start the run of this folder, or continue with it."""
    words = ["simulate", "fedtgp", "--data", str(data), "--width", "16"]
    words += ["--rounds", str(ROUNDS), "--set", "server_epochs=1", "--workers", str(workers)]
    words += ["--join-ratio", "0.7", "--drop-rate", "0.3", "--out", str(folder)]
    return forks.start(data.parent, *words)


def reached(folder: Path) -> int:
    """Return the round of the newest checkpoint."""
    rounds = [int(path.name.removeprefix("checkpoint-")) for path in folder.glob("checkpoint-*")]
    return max(rounds, default=0)


def kill_after_progress(forks: Forks, started: Started, folder: Path, pause: float) -> None:
    """Wait until a run has a newer checkpoint, and a little longer; kill it."""
    before = reached(folder)
    deadline = time.monotonic() + 100
    while reached(folder) == before:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(pause)
    os.kill(started.pid, signal.SIGKILL)
    assert forks.ended(started) == -signal.SIGKILL


def summary(folder: Path) -> dict[str, Any]:
    return lasting(json.loads((folder / "summary.json").read_text()))


def test_killed_again_and_again_it_ends_the_same(
    forks: Forks, signals: Path, tmp_path: Path
) -> None:
    """At a moment drawn again each time: in a round, in a checkpoint, between two of them.

    Now and then in worker processes: that changes nothing either.
    """
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    pauses = np.random.default_rng(7).uniform(0, 0.05, KILLS)
    for kill, pause in enumerate(pauses):
        started = start(forks, signals, killed, workers=2 if kill == 5 else 1)
        kill_after_progress(forks, started, killed, pause)
    assert not (killed / "summary.json").exists()
    for folder in (killed, whole):
        assert forks.ended(start(forks, signals, folder)) == 0
    assert summary(killed) == summary(whole)
    assert untimed(killed) == untimed(whole)
    knowledge = [(each / "prototypes.safetensors").read_bytes() for each in (killed, whole)]
    assert knowledge[0] == knowledge[1]
