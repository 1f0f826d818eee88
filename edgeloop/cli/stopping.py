"""How a command ends that is stopped: by Ctrl-C, or by SIGTERM, which is how a service ends."""

import os
import signal
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from edgeloop.errors import EXIT_INTERRUPTED, EXIT_TERMINATED

SERVICES = frozenset(
    [
        *[
            ("agent",),
            ("aggregator",),
            ("ingest",),
            ("operator",),
            ("serve",),
            ("server",),
            ("up",),
        ],
        *[("base", "serve"), ("generator", "serve"), ("ca", "serve"), ("broker", "sync")],
    ]
)
"""The commands that run until they are stopped, or may: SIGTERM ends them with 0."""

_ERRANDS = frozenset(["--check", "--evict", "--forget", "--forget-device", "--leave"])
"""Options that make an errand of a service: stopped, it has not done what it was asked for."""

_ERRANDS_OF_AGENT = frozenset(
    ["init", "doctor", "install", "status", "logs", "rollback", "uninstall"]
)
"""Subcommands of `edgeloop agent`, which is a service itself."""

STOPPED = "stopped"
"""The last line of a service that SIGTERM has ended; `edgeloop up` knows it by that."""

_NUDGE = signal.SIGURG  # means nothing to anybody: it comes with data that no socket of ours has
_NUDGE_SECONDS = 0.5  # between two attempts to wake the main thread

_CONTINUE = "run the same command again to go on"


class TerminatedError(KeyboardInterrupt):
    """A SIGTERM, raised in the main thread as Ctrl-C is; raised again, if it comes to nothing."""

    def __init__(self, dropped: Callable[[], object] | None = None) -> None:
        """Have a function called when nobody has the exception any more."""
        self._finalizer = weakref.finalize(self, dropped or (lambda: None))
        self._finalizer.atexit = False

    def heed(self) -> None:
        """Say that it has come to something: who caught it ends the command."""
        self._finalizer.detach()


def is_service(words: Sequence[str]) -> bool:
    """Return whether a command line runs a service, and no errand of one.

    Args:
        words: of the command line, the command's name first.
    """
    if words[0] == "agent" and any(word in _ERRANDS_OF_AGENT for word in words[1:2]):
        return False
    named = tuple(words[:1]) in SERVICES or tuple(words[:2]) in SERVICES
    return named and not any(word.partition("=")[0] in _ERRANDS for word in words)


def ending(words: Sequence[str], terminated: bool) -> tuple[int, str]:
    """Return the exit code of a command that is stopped, and its last line."""
    if not terminated:
        return EXIT_INTERRUPTED, f"error: stopped by Ctrl-C; {_CONTINUE}"
    if is_service(words):
        return 0, STOPPED
    return EXIT_TERMINATED, f"error: stopped by SIGTERM; {_CONTINUE}"


def say_stopped(words: Sequence[str], stop: KeyboardInterrupt) -> int:
    """Write a stopped command's last line; return its exit code."""
    code, line = ending(words, isinstance(stop, TerminatedError))
    sys.stderr.write(f"{line}\n")
    return code


@contextmanager
def terminable() -> Iterator[None]:
    """Have SIGTERM raise a `TerminatedError` in the main thread, whatever that waits for.

    A Ctrl-C reaches it as well.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waker = _Waker()

    def stop(number: int, frame: FrameType | None) -> None:
        raise TerminatedError(lambda: waker.dropped.append(signal.SIGTERM))

    def nothing(number: int, frame: FrameType | None) -> None:
        """To be interrupted is all it is for."""

    with _handling({signal.SIGTERM: stop, _NUDGE: nothing}), waker.running(), waker.noticing():
        yield


class _Waker:
    """Sees to it that a signal reaches the main thread, from a thread of its own.

    The kernel may hand a signal to any thread; the main thread, which alone acts on it, then goes
    on to wait for its lock. And an exception that is raised within a finalizer is dropped.

    Attributes:
        dropped: the signals whose exceptions have come to nothing.
    """

    def __init__(self) -> None:
        self._main = threading.get_ident()
        self._over = threading.Event()
        self.dropped: deque[signal.Signals] = deque()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Wake the main thread when a signal comes, until the block ends."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        thread = threading.Thread(target=self._run, args=(reading,), name="signals", daemon=True)
        thread.start()
        before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            self._over.set()
            os.close(writing)
            thread.join()
            os.close(reading)

    def _run(self, reading: int) -> None:
        os.read(reading, 1)
        while not self._over.wait(_NUDGE_SECONDS):
            number = self.dropped.popleft() if self.dropped else _NUDGE
            signal.pthread_kill(self._main, number)

    @contextmanager
    def noticing(self) -> Iterator[None]:
        """Note a Ctrl-C that a finalizer or a weak reference's callback drops, until the end."""
        before = sys.unraisablehook

        def notice(found: "sys.UnraisableHookArgs") -> None:
            if found.exc_type is KeyboardInterrupt:
                self.dropped.append(signal.SIGINT)
            else:
                before(found)

        sys.unraisablehook = notice
        try:
            yield
        finally:
            sys.unraisablehook = before


@contextmanager
def ended_at_once(words: Sequence[str]) -> Iterator[None]:
    """Have a stop end the process at once: an exception within an import would be anything."""

    def stop(number: int, frame: FrameType | None) -> None:
        code, line = ending(words, number == signal.SIGTERM)
        os.write(2, f"{line}\n".encode())
        os._exit(code)

    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        numbers.append(signal.SIGINT)  # else somebody else's, or ignored, as in the background
    with _handling(dict.fromkeys(numbers, stop)):
        yield


@contextmanager
def _handling(handlers: dict[signal.Signals, Callable[..., Any]]) -> Iterator[None]:
    """Handle signals meanwhile; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
