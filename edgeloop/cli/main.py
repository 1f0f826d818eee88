"""The `edgeloop` command: finds its subcommands among the installed entry points.

It knows no door by name and needs nothing but the standard library, so that a device without torch
can run `edgeloop predict`. `--help` imports no door: it reads the first line of each one's source.
"""

import errno
import importlib.util
import io
import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

import edgeloop
from edgeloop.cli import stopping
from edgeloop.errors import EXIT_INPUT, EXIT_UNAVAILABLE, EdgeloopError, choose
from edgeloop.runtime import logs, modules

GROUP = "edgeloop.commands"
_NEEDS = {
    "sim": ("torch", "pyarrow", "matplotlib"),
    "cloud": ("torch", "fastapi", "sqlalchemy"),
    "edge": ("paho", "onnxruntime"),
    "edge-infer": ("onnxruntime", "PIL"),
    "generator": ("torch", "onnxruntime"),
    "demo": ("torch", "fastapi", "paho"),
    "operator": ("kopf", "kubernetes"),
    "authority": ("cryptography", "fastapi", "sqlalchemy"),
    "enroll": ("cryptography", "typer"),
    "algorithms": ("typer", "pydantic"),
    "models": ("typer",),
    "client": ("urllib3", "pydantic", "typer"),
}
"""What tells whether a command, or its extra, is installed: `--help` says what it lacks."""
_SUMMARIES = {
    "backup": "Copies what a stack must not lose into a new folder, while the stack runs.",
    "device": "Lists, shows and evicts devices, by asking an edgeloop server.",
    "model": "Lists and shows the files that tasks have made, by asking an edgeloop server.",
    "task": "Lists, shows, watches and acts on tasks, by asking an edgeloop server.",
}
"""Of commands that share a module with others."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; an error ends it with one clear sentence, and a code for its meaning."""
    _print_all_names()
    words = list(sys.argv[1:] if arguments is None else arguments)
    with stopping.terminable():
        return _main(words)


def _main(words: list[str]) -> int:
    with stopping.ended_at_once(words):
        commands = {point.name: point for point in entry_points(group=GROUP)}
    if not words or words[0] in ("-h", "--help"):
        with stopping.ended_at_once(words):
            return _say(_usage(commands))
    if words[0] == "--version":
        return _say(f"edgeloop {edgeloop.__version__}")
    if words[0] not in commands:
        what = "option" if words[0].startswith("-") else "command"
        meant = choose(words[0], ("--help", "--version") if what == "option" else commands)
        return _fail(f"{words[0] or repr(words[0])}: there is no such {what}; {meant}")
    return _run(commands[words[0]], words)


def _run(point: EntryPoint, words: list[str]) -> int:
    try:
        with stopping.ended_at_once(words):
            command = point.load()
    except (ImportError, OSError) as error:
        return _fail(_needed(point, error))
    try:
        return int(command(words[1:]) or 0)
    except EdgeloopError as error:
        return _fail(str(error), error.exit_code)
    except SystemExit as end:  # a library's, of a command line that it cannot read
        return end.code if isinstance(end.code, int) else 0
    except ImportError as error:  # of what a command imports only where it is needed
        return _fail(_needed(point, error))
    except OSError as error:
        sentence = _unusable(error)
        if sentence is None:
            raise
        return _fail(sentence, EXIT_UNAVAILABLE if error.errno in _FULL else EXIT_INPUT)
    except KeyboardInterrupt as stop:
        return stopping.say_stopped(words, stop)


def _unusable(error: OSError) -> str | None:
    """Say what is wrong with a file or a disk; None where the error is of something else."""
    if error.errno in _FULL:
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
    extra = _extra(point)
    remedy = f"pip install 'edgeloop[{extra}]'" if extra else "ask who made the command"
    return f"{point.name}: {_lack(error)}; {remedy}"


def _extra(point: EntryPoint) -> str:
    """Return the extra that brings what a command needs; empty for a command of another's."""
    if point.name in ("predict", "serve"):
        return "edge-infer"
    if point.name == "enroll":
        return "edge-lite"
    if point.name in ("demo", "generator", "operator"):
        return point.name
    if point.name in ("broker", "ca"):
        return "authority"
    doors = {"cloud": "cloud", "edge": "edge", "simulations": "sim", "edgeloop": "client"}
    return doors.get(point.module.partition(".")[0], "")


def _usage(commands: dict[str, EntryPoint]) -> str:
    lines = ["usage: edgeloop COMMAND [OPTIONS]", "", "commands:"]
    lines += [f"  {name:<12}{_summary(point)}" for name, point in sorted(commands.items())]
    return "\n".join([*lines, "", "edgeloop COMMAND --help shows a command's options"])


def _summary(point: EntryPoint) -> str:
    """Return the first line of a command's module, or what it lacks here; imports nothing."""
    try:
        for package in _NEEDS.get(point.name, _NEEDS.get(_extra(point), ())):
            if importlib.util.find_spec(package) is None:
                raise ModuleNotFoundError(name=package)
    except (ImportError, OSError) as error:
        return f"({_lack(error)})"
    said = _SUMMARIES.get(point.name) or modules.docstring(point.module) or "(cannot be found)"
    return said.split("\n")[0]


def _lack(error: ImportError | OSError) -> str:
    """Say what a command needs and this environment lacks."""
    if isinstance(error, ModuleNotFoundError):
        return f"needs {error.name}, which is not installed"
    return f"cannot be loaded ({str(error).partition(chr(10))[0]})"


def _say(text: str) -> int:
    sys.stdout.write(text + "\n")
    return 0


def _fail(text: str, code: int = EXIT_INPUT) -> int:
    sys.stderr.write(f"error: {logs.one_line(text)}\n")
    return code
