"""The `edgeloop` command: finds its subcommands among the installed entry points.

It knows no door by name and needs nothing but the standard library, so that a device without torch
can run `edgeloop predict`.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points, version

from edgeloop.errors import InputError

GROUP = "edgeloop.commands"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; bad input ends with exit code 2 and one clear sentence."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    commands = {point.name: point for point in entry_points(group=GROUP)}
    if not words or words[0] in ("-h", "--help"):
        return _say(_usage(commands))
    if words[0] == "--version":
        return _say(f"edgeloop {version('edgeloop')}")
    if words[0] not in commands:
        return _fail(f"{words[0]}: there is no such command; choose one of {', '.join(commands)}")
    return _run(commands[words[0]], words[1:])


def _run(point: EntryPoint, words: list[str]) -> int:
    try:
        command = point.load()
    except (ImportError, OSError) as error:
        return _fail(_needed(point, error))
    try:
        return int(command(words) or 0)
    except InputError as error:
        return _fail(str(error))
    except ImportError as error:  # of what a command imports only where it is needed
        return _fail(_needed(point, error))
    except KeyboardInterrupt:
        return _fail("stopped by Ctrl-C; run the same command again to go on", code=130)


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
