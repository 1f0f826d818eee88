"""The `edgeloop` command: finds its subcommands among the installed entry points.

It knows no door by name and needs nothing but the standard library, so that a device without torch
can run `edgeloop predict`.
"""

import difflib
import errno
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points, version

from edgeloop.errors import EdgeloopError

GROUP = "edgeloop.commands"
_STOPPED = "stopped by Ctrl-C; run the same command again to go on"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; bad input ends with exit code 2 and one clear sentence."""
    _print_all_names()
    words = list(sys.argv[1:] if arguments is None else arguments)
    with _interruptible():
        commands = {point.name: point for point in entry_points(group=GROUP)}
    if not words or words[0] in ("-h", "--help"):
        with _interruptible():
            return _say(_usage(commands))
    if words[0] == "--version":
        return _say(f"edgeloop {version('edgeloop')}")
    if words[0] not in commands:
        close = difflib.get_close_matches(words[0], commands, n=1)
        meant = f"did you mean {close[0]}" if close else f"choose one of {', '.join(commands)}"
        return _fail(f"{words[0] or repr(words[0])}: there is no such command; {meant}")
    return _run(commands[words[0]], words[1:])


def _run(point: EntryPoint, words: list[str]) -> int:
    try:
        with _interruptible():
            command = point.load()
    except (ImportError, OSError) as error:
        return _fail(_needed(point, error))
    try:
        return int(command(words) or 0)
    except EdgeloopError as error:
        return _fail(str(error))
    except ImportError as error:  # of what a command imports only where it is needed
        return _fail(_needed(point, error))
    except OSError as error:
        told = _unusable(error)
        if told is None:
            raise
        return _fail(told)
    except KeyboardInterrupt:
        return _fail(_STOPPED, code=130)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end the process at once: an exception within an import would be anything."""

    def stop(*_: object) -> None:
        os.write(2, f"error: {_STOPPED}\n".encode())
        os._exit(130)

    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not ours or threading.current_thread() is not threading.main_thread():
        yield  # somebody else's, or none, as of a job in the background
        return
    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _unusable(error: OSError) -> str | None:
    """Say what is wrong with a file or a disk; None where the error is of something else."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        place = "the disk" if error.filename is None else os.fsdecode(error.filename)
        return f"{place}: cannot be written ({error.strerror}); free space there, and start again"
    if error.filename is None:
        return None
    problem = f"cannot be read or written ({error.strerror})"
    return f"{os.fsdecode(error.filename)}: {problem}; fix its rights, or name another path"


def _print_all_names() -> None:
    """Have standard output take names that are no text in its encoding, as standard error does."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _needed(point: EntryPoint, error: ImportError | OSError) -> str:
    return f"{point.name}: {_lack(error)}; pip install 'edgeloop[{_extra(point)}]'"


def _extra(point: EntryPoint) -> str:
    """Return the extra that brings what a command needs."""
    if point.name == "predict":
        return "edge-infer"
    if point.name in ("demo", "generator", "operator"):
        return point.name
    doors = {"cloud": "cloud", "edge": "edge", "simulations": "sim"}
    return doors[point.module.partition(".")[0]]


def _usage(commands: dict[str, EntryPoint]) -> str:
    lines = ["usage: edgeloop COMMAND [OPTIONS]", "", "commands:"]
    lines += [f"  {name:<12}{_summary(point)}" for name, point in sorted(commands.items())]
    return "\n".join([*lines, "", "edgeloop COMMAND --help tells a command's options"])


def _summary(point: EntryPoint) -> str:
    try:
        return (importlib.import_module(point.module).__doc__ or "").split("\n")[0]
    except (ImportError, OSError) as error:
        return f"({_lack(error)})"


def _lack(error: ImportError | OSError) -> str:
    """Say what a command needs and this environment lacks."""
    if isinstance(error, ModuleNotFoundError):
        return f"needs {error.name}, which is not installed"
    return f"cannot be loaded ({str(error).partition(chr(10))[0]})"


def _say(text: str) -> int:
    sys.stdout.write(text + "\n")
    return 0


def _fail(text: str, code: int = 2) -> int:
    sys.stderr.write(f"error: {text}\n")
    return code
