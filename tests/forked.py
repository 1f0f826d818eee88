"""Processes of commands and of workers, forked from one that has imported what they need.

They are processes of their own, with their own signals, exit codes, environment and output, and do
what the installed command does; only what Python and torch need to start is done once.
"""

import atexit
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection, reduction
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO, Any

PREPARED = (
    "cloud.aggregator.command",
    "edge.agent.command",
    "edge.agent.final_model",
    "edge.agent.service",
    "edge.agent.task_session",
    "cloud.generator_service.bases.command",
    "cloud.generator_service.command",
    "cloud.operator.command",
    "cloud.authority.broker_command",
    "cloud.authority.command",
    "simulations.commands.simulate",
    "pandas",  # which pyarrow imports as it first writes a table
    "torch._dynamo",  # which torch imports as it first trains: more than a second
)
"""What the process that all are forked from imports."""

_context = multiprocessing.get_context("forkserver")
_polled = threading.Lock()  # the first who asks is told the exit code, once
_context.set_forkserver_preload(["tests.forked", *PREPARED])


def start(
    words: Sequence[str | Path],
    *,
    stdout: IO[Any] | None = None,
    stderr: IO[Any] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    group: bool = False,
) -> "Forked":
    """Start a command as `subprocess.Popen` does: `edgeloop ...`, or `python -c CODE ...`.

    With `group` it leads a group of its own.
    """
    outputs = {number: _Output(file) for number, file in ((1, stdout), (2, stderr)) if file}
    where = os.fspath(cwd or Path.cwd())
    process = _context.Process(
        target=_run, args=([*map(str, words)], outputs, dict(env or os.environ), where, group)
    )
    with _polled:
        process.start()
    return Forked(words, process)


def run(
    words: Sequence[str | Path],
    *,
    timeout: float = 240,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = False,
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, as `subprocess.run` does; return what it said, as text."""
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        with running(words, stdout=stdout, stderr=stderr, env=env, cwd=cwd) as process:
            code = process.wait(timeout)
        for each in (stdout, stderr):
            each.seek(0)
        ended = subprocess.CompletedProcess(words, code, stdout.read(), stderr.read())
    if check:
        ended.check_returncode()
    return ended


@contextmanager
def running(words: Sequence[str | Path], **how: Any) -> "Iterator[Forked]":
    """Have a process, and at the end kill it: see `start`."""
    process = start(words, **how)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def speaking(words: Sequence[str | Path], **how: Any) -> "Iterator[tuple[Forked, IO[str]]]":
    """Have a process, and what it says on its standard output, to be read line by line."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as said:
        with os.fdopen(writing, "w") as output:
            process = start(words, stdout=output, **how)
        try:
            yield process, said
        finally:
            process.kill()
            process.wait()


def new_worker(target: Any, arguments: Sequence[Any], *, daemon: bool) -> BaseProcess:
    """Return a worker's process, to be started: as one that is spawned, which has imported all."""
    here = (dict(os.environ), os.fspath(Path.cwd()), target, *arguments)
    return _context.Process(target=_work, args=here, daemon=daemon)


class Forked:
    """A process, spoken to as a `subprocess.Popen`.

    Args:
        words: of its command line.
        process: it.
    """

    def __init__(self, words: Sequence[str | Path], process: Any) -> None:
        self.args = words
        self._process = process
        self.pid: int = process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, or a signal's number below zero; None while it runs."""
        return self.poll()

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""
        with _polled:
            code: int | None = self._process.exitcode
        return code

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code, once it has ended.

        Raises:
            subprocess.TimeoutExpired: if it has not, in so many seconds.
        """
        code = self.poll()
        if code is None and connection.wait([self._process.sentinel], timeout):
            code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended, and its server has not said so yet
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send_signal(signal.SIGKILL)


class _Output:
    """A file of the test's, handed to a process that is being started."""

    def __init__(self, file: IO[Any]) -> None:
        self._number = file.fileno()

    def __reduce__(self) -> tuple[Any, ...]:
        return _taken, (reduction.DupFd(self._number),)


def _taken(output: Any) -> int:
    return int(output.detach())


def _work(env: dict[str, str], cwd: str, target: Any, *arguments: Any) -> None:
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    target(*arguments)


def _run(
    words: list[str], outputs: dict[int, int], env: dict[str, str], cwd: str, group: bool
) -> None:
    """Do in the process what the command does in one that Python has just started."""
    if group:
        os.setsid()
    for number, file in outputs.items():
        os.dup2(file, number)
        os.close(file)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's is ignored
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # a worker's start, which defers them, began all
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    # kubernetes' client looks at the environment as it is imported.
    if kubeconfig := sys.modules.get("kubernetes.config.kube_config"):
        vars(kubeconfig)["KUBE_CONFIG_DEFAULT_LOCATION"] = env.get("KUBECONFIG", "~/.kube/config")
    try:
        if words[:2] == [sys.executable, "-c"]:
            sys.argv = ["-c", *words[3:]]
            exec(compile(words[2], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102
            return
        assert Path(words[0]).name == "edgeloop", words
        sys.argv = list(words)
        sys.exit(importlib.import_module("edgeloop.cli.main").main())
    finally:
        atexit._run_exitfuncs()
