"""Processes that work for this one: each has a pipe of its own, and they end with this process.

They share no lock and no queue, so that one that is killed, at whatever moment, disturbs no other.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from edgeloop.errors import UnavailableError

STOPS = (signal.SIGINT, signal.SIGTERM)
KILLED = (-signal.SIGKILL, -signal.SIGTERM)
"""How a process ends that the system, or a guard of its memory, has ended."""

Serve = Callable[..., None]
"""What a worker does, until an EOFError: with its end of the pipe, and further arguments."""


class WorkerDiedError(RuntimeError):
    """A worker process ended without an answer, and nobody killed it."""


def killed_error() -> UnavailableError:
    """Return what to say where a worker was killed: nearly always, memory ran out."""
    problem = "one was killed, as the system does where memory runs out"
    return UnavailableError("workers", problem, "run it again with fewer: what is done is kept")


def new_process(target: Serve, arguments: Sequence[Any], *, daemon: bool) -> BaseProcess:
    """Return a process, to be started: spawned, so that nothing of this one's threads is in it."""
    context = multiprocessing.get_context("spawn")
    return context.Process(target=target, args=tuple(arguments), daemon=daemon)


class Worker:
    """A process of its own, which `worker_processes` starts and ends.

    Attributes:
        end: of the pipe to it; `multiprocessing.connection.wait` tells when there is an answer.
    """

    def __init__(self, serve: Serve, arguments: Sequence[Any], *, daemon: bool) -> None:
        self.end, theirs = multiprocessing.Pipe()
        words = (serve, theirs, *arguments)
        self._process = new_process(_serve_until_closed, words, daemon=daemon)
        with theirs:
            self._process.start()

    def send(self, message: Any) -> None:
        """Send it something; if it has ended, `receive` tells."""
        with contextlib.suppress(ConnectionError):
            self.end.send(message)

    def receive(self) -> Any:
        """Wait for its next answer.

        Raises:
            UnavailableError: if it was killed.
            WorkerDiedError: if it has ended in another way.
        """
        try:
            return self.end.recv()
        except (EOFError, OSError) as error:  # at the start of an answer, or within it
            self._process.join()
            if self._process.exitcode in KILLED:
                raise killed_error() from error
            raise WorkerDiedError("a worker process ended before it answered") from error

    def kill(self) -> None:
        """Have it end, whatever it does."""
        self._process.kill()

    def close(self) -> None:
        """Wait until it has ended."""
        self._process.join()
        self._process.close()
        self.end.close()


@contextmanager
def worker_processes(
    serve: Serve, arguments: Sequence[Sequence[Any]], *, daemon: bool = False
) -> Iterator[list[Worker]]:
    """Start workers; when the block ends, in whatever way, they have ended: what they do is lost.

    Args:
        serve: called in each; must be picklable.
        arguments: further ones, of each worker.
        daemon: whether they also end with a process that leaves the block open, and start none.
    """
    workers: list[Worker] = []
    resource_tracker.ensure_running()  # with the first worker it would let a stop in again
    try:
        with _signals_deferred():
            for each in arguments:
                workers.append(Worker(serve, each, daemon=daemon))
        yield workers
    finally:
        with _signals_deferred():
            for worker in workers:
                worker.kill()
        for worker in workers:
            worker.close()


@contextmanager
def _signals_deferred() -> Iterator[None]:
    """Put a stop off: who is started here is known when it comes, and hears nothing of it yet."""
    heard: list[int] = []
    with ExitStack() as stack:
        stack.callback(_forward_signals, heard)
        if threading.current_thread() is threading.main_thread():  # which hears for all threads
            for number in STOPS:
                stack.callback(signal.signal, number, signal.getsignal(number))
                signal.signal(number, lambda number, frame: heard.append(number))
        # Those that start here inherit what is blocked.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        stack.callback(signal.pthread_sigmask, signal.SIG_SETMASK, before)
        yield


def _forward_signals(heard: Sequence[int]) -> None:
    for number in heard:
        signal.raise_signal(number)


def _serve_until_closed(serve: Serve, end: "Connection[Any, Any]", *arguments: Any) -> None:
    """Serve until the other end is closed, or its process is gone, even a killed one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - it has made this process

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
    with contextlib.suppress(EOFError, ConnectionError):
        serve(end, *arguments)
