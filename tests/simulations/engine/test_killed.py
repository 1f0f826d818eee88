"""A run that is killed twenty times ends with the results of an undisturbed one."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.simulations.engine.test_resume import lasting, untimed

PROGRAM = """
import json, os, sys
from edgeloop.cli.main import main
import simulations.commands.simulate

for line in sys.stdin:
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(main(json.loads(line)))
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Starts runs, each a process of its own, without loading torch again for each."""

KILLS = 20
ROUNDS = 150


class Starter:
    """Starts runs, one at a time."""

    def __init__(self, process: "subprocess.Popen[str]", data: Path) -> None:
        self._process = process
        self._data = data

    def start(self, folder: Path, workers: int) -> int:
        """Start the run of this folder, or continue with it; return its process's number."""
        words = ["simulate", "fedtgp", "--data", str(self._data), "--width", "16"]
        words += ["--rounds", str(ROUNDS), "--set", "server_epochs=1", "--workers", str(workers)]
        words += ["--join-ratio", "0.7", "--drop-rate", "0.3", "--out", str(folder)]
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return self._number()

    def ended(self) -> int:
        """Wait for the run to end, and return its exit status."""
        return self._number()

    def _number(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


@pytest.fixture
def starter(signals: Path) -> Iterator[Starter]:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        yield Starter(process, signals)


def reached(folder: Path) -> int:
    """Return the round of the newest checkpoint."""
    rounds = [int(path.name.removeprefix("checkpoint-")) for path in folder.glob("checkpoint-*")]
    return max(rounds, default=0)


def kill_after_progress(starter: Starter, folder: Path, workers: int, pause: float) -> None:
    """Start the run, wait for a newer checkpoint, and a little longer; kill it."""
    before = reached(folder)
    process = starter.start(folder, workers)
    deadline = time.monotonic() + 100
    while reached(folder) == before:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(pause)
    os.kill(process, signal.SIGKILL)
    assert starter.ended() == -signal.SIGKILL


def summary(folder: Path) -> dict[str, Any]:
    return lasting(json.loads((folder / "summary.json").read_text()))


def test_killed_twenty_times_it_ends_the_same(starter: Starter, tmp_path: Path) -> None:
    """At a moment drawn again each time: in a round, in a checkpoint, between two of them.

    Now and then in worker processes: that changes nothing either.
    """
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    pauses = np.random.default_rng(7).uniform(0, 0.05, KILLS)
    for kill, pause in enumerate(pauses):
        kill_after_progress(starter, killed, 2 if kill % 10 == 5 else 1, pause)
    assert not (killed / "summary.json").exists()
    for folder in (killed, whole):
        starter.start(folder, 1)
        assert starter.ended() == 0
    assert summary(killed) == summary(whole)
    assert untimed(killed) == untimed(whole)
    knowledge = [(each / "prototypes.safetensors").read_bytes() for each in (killed, whole)]
    assert knowledge[0] == knowledge[1]
