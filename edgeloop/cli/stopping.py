"""How a command ends that is stopped: by Ctrl-C, or by SIGTERM, which is how a service ends."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from edgeloop.errors import EXIT_INTERRUPTED, EXIT_TERMINATED

SERVICES = frozenset(
    [("agent",), ("aggregator",), ("operator",), ("up",), ("base", "serve"), ("generator", "serve")]
)
"""The commands that run until they are stopped, or may: SIGTERM ends them with 0."""

_ERRANDS = frozenset(["--check", "--forget", "--forget-device", "--leave"])
"""Options that make an errand of a service: stopped, it has not done what it was asked for."""

STOPPED = "stopped"
"""The last line of a service that SIGTERM has ended; `edgeloop up` knows it by that."""

_CONTINUE = "run the same command again to go on"


class TerminatedError(KeyboardInterrupt):
    """A SIGTERM, raised in the main thread as Ctrl-C is."""


def is_service(words: Sequence[str]) -> bool:
    """Return whether a command line runs a service, and no errand of one.

    Args:
        words: of the command line, the command's name first.
    """
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
    """Have SIGTERM raise a `TerminatedError` in the main thread."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TerminatedError

    with _handling({signal.SIGTERM: stop}):
        yield


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
