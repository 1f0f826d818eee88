"""Tasks in processes of this machine: they can be stopped and killed at any moment."""

import contextlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import psutil
import pytest

from edgeloop.errors import UnavailableError
from edgeloop.runtime import worker_processes
from edgeloop.runtime.worker_processes import WorkerDiedError
from simulations.engine.pool import run_tasks

PROGRAM = """
import signal, threading, time
from functools import partial
from simulations.engine.pool import run_tasks

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's is ignored
threading.Thread(target=time.sleep, args=[600], daemon=True).start()  # as of a progress bar
try:
    print("starts", flush=True)
    run_tasks({n: partial(time.sleep, 600) for n in range(9)}, 3, lambda key, result: None)
except KeyboardInterrupt:
    raise SystemExit(130)
"""


SPAWNED = worker_processes.new_process


@pytest.fixture(autouse=True)
def _spawned(monkeypatch: pytest.MonkeyPatch) -> None:
    """As users' are, not forked as other tests' workers."""
    monkeypatch.setattr(worker_processes, "new_process", SPAWNED)


class StopError(Exception):
    """Somebody wants to stop."""


def nap(seconds: float) -> str:
    time.sleep(seconds)
    return "x" * 200_000  # more than a pipe holds


def die(number: int) -> None:
    os.kill(os.getpid(), number)


def fail(what: Callable[[], Exception]) -> None:
    raise what()


def names(_: int) -> tuple[int, Any]:
    return os.getpid(), signal.getsignal(signal.SIGINT)


def ignore(key: object, result: object) -> None:
    pass


def test_a_process_does_one_task_after_another() -> None:
    found: dict[int, tuple[int, Any]] = {}
    run_tasks({n: partial(names, n) for n in range(6)}, 2, found.__setitem__)
    assert sorted(found) == list(range(6))
    processes = {process for process, _ in found.values()}
    assert len(processes) <= 2
    assert os.getpid() not in processes
    assert {handler for _, handler in found.values()} == {signal.SIG_IGN}


def test_nothing_to_do() -> None:
    run_tasks({}, None, ignore)


def test_stopped_at_any_moment_it_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    draws = random.Random(3)  # noqa: S311 - moments
    before = threading.active_count()

    def stop(last: int, key: int, result: str) -> None:
        if key >= last:
            raise StopError

    for last in range(8):
        tasks = {n: partial(nap, draws.uniform(0, 0.005)) for n in range(40)}
        with pytest.raises(StopError):
            run_tasks(tasks, 3, partial(stop, last))
        assert not multiprocessing.active_children()
        assert threading.active_count() <= before
    assert not raised


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_is_told_with_its_likely_cause(number: int) -> None:
    with pytest.raises(UnavailableError, match=r"workers: one was killed, .* memory runs out; run"):
        run_tasks({0: partial(nap, 60), 1: partial(die, number)}, 2, ignore)
    assert not multiprocessing.active_children()


def test_a_process_that_ends_is_no_endless_wait() -> None:
    with pytest.raises(WorkerDiedError, match="ended before it answered"):
        run_tasks({0: partial(os._exit, 9), 1: partial(nap, 60)}, 2, ignore)


def test_an_error_tells_where_it_was_raised() -> None:
    with pytest.raises(FileNotFoundError, match="gone") as caught:
        run_tasks({0: partial(fail, partial(FileNotFoundError, "gone"))}, 1, ignore)
    assert "in fail" in caught.value.__notes__[0]


def working(group: int) -> list[str]:
    """Return what still runs of a process group."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(str(process))
    return found


def test_ctrl_c_while_they_start() -> None:
    """A terminal tells all of its processes; those that are starting say nothing to it."""
    for moment in range(40):
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(moment * 0.003)
            os.killpg(process.pid, signal.SIGINT)
            _, said = process.communicate(timeout=60)
        assert (process.returncode, said) == (130, "")
        deadline = time.monotonic() + 60
        while left := working(process.pid):
            assert time.monotonic() < deadline, left
            time.sleep(0.01)  # between looks at what ends with it
