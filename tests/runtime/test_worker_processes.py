"""Processes that work for this one."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

import psutil
import pytest

from edgeloop.errors import UnavailableError
from edgeloop.runtime import worker_processes as workers_module
from edgeloop.runtime.worker_processes import worker_processes

PROGRAM = """
import os, signal
from edgeloop.runtime.worker_processes import worker_processes
from tests.runtime.test_worker_processes import busy

with worker_processes(busy, [(), ()]) as workers:
    print(*(worker.receive() for worker in workers), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


SPAWNED = workers_module.new_process


@pytest.fixture(autouse=True)
def _spawned(monkeypatch: pytest.MonkeyPatch) -> None:
    """As users' are, not forked as other tests' workers."""
    monkeypatch.setattr(workers_module, "new_process", SPAWNED)


def echo(end: "Connection[Any, Any]", word: str) -> None:
    while True:
        end.send((word, end.recv()))


def half(end: "Connection[Any, Any]") -> None:
    """Die within an answer, as who is killed while it sends much."""
    os.write(end.fileno(), (1000).to_bytes(4) + b"x")
    os.kill(os.getpid(), signal.SIGKILL)


def busy(end: "Connection[Any, Any]") -> None:
    end.send(os.getpid())
    time.sleep(600)


def test_each_answers_on_its_own_pipe() -> None:
    with worker_processes(echo, [("a",), ("b",)]) as (first, second):
        second.send(2)
        first.send(1)
        assert (first.receive(), second.receive()) == (("a", 1), ("b", 2))
    assert not multiprocessing.active_children()


def test_one_that_is_killed_within_its_answer_is_no_endless_wait() -> None:
    with (
        worker_processes(half, [()]) as (worker,),
        pytest.raises(UnavailableError, match="workers: one was killed"),
    ):
        worker.receive()


def test_who_has_ended_is_told_of_by_its_answer() -> None:
    with worker_processes(echo, [("a",), ("b",)]) as (first, second):
        first.kill()
        for _ in range(100):
            first.send("x" * 100_000)
        with pytest.raises(UnavailableError, match="workers: one was killed"):
            first.receive()
        second.send(1)
        assert second.receive() == ("b", 1), "it has heard nothing of that"


def test_one_that_cannot_start_ends_the_others() -> None:
    unfit: Any = lambda: None  # noqa: E731 - cannot be pickled
    with pytest.raises(Exception, match="lambda"), worker_processes(echo, [("a",), (unfit,)]):
        raise AssertionError
    assert not multiprocessing.active_children()


def runs(process: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    return False


def test_they_end_with_a_killed_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        workers = [int(word) for word in process.stdout.readline().split()]
        assert process.wait(60) == -signal.SIGKILL
    assert len(workers) == 2
    deadline = time.monotonic() + 60
    while any(map(runs, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.01)  # between looks
