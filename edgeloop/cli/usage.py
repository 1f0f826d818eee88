"""Wrong usage, which the command-line library finds, in the form of every other error of ours."""

import re
import sys
from collections.abc import Iterable
from typing import Any

import typer

from edgeloop.errors import EXIT_INPUT, ConfigError, EdgeloopError, choose
from edgeloop.runtime import wording
from edgeloop.runtime.logs import one_line

_KNOWN: Any = sys.modules[typer.BadParameter.__module__]  # click's, or the one within typer
WRONG_USAGE: type[Exception] = _KNOWN.ClickException
"""What the library raises for a command line that it cannot read."""

_NOT_ONE_OF = re.compile(r"(?:Value error, )?'(.*)' is not one of (.*?)\.?", re.DOTALL)


def refuse(error: Any, program: str) -> int:
    """Write what is wrong with a command line, or its help; return the exit code.

    Args:
        error: one of `WRONG_USAGE`.
        program: the command, as its user writes it.
    """
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{error.message}\n")
    else:
        command = error.ctx.command_path if error.ctx is not None else program
        text = one_line(str(ConfigError(*_describe(error, command))))
        sys.stderr.write(f"error: {text}\n")
    return EXIT_INPUT


def by_option(error: EdgeloopError, app: typer.Typer, name: str) -> EdgeloopError:
    """Return an error that names a parameter of the command so that it names its option."""
    command: Any = typer.main.get_command(app)
    commands = getattr(command, "commands", {"": command}).values()
    options = {
        each.name: _longest(each.opts)
        for one in commands
        for each in one.params
        if each.param_type_name == "option"
    }
    place, _, field = error.field.rpartition(": ")
    own = not place or place.removeprefix("edgeloop ").startswith(name)
    option = options.get(field.replace("-", "_")) if own else None
    return error if option is None else type(error)(option, error.problem, error.remedy)


def _describe(error: Any, command: str) -> tuple[str, str, str]:
    """Return what was wrong on the command line: the field, the problem, the remedy."""
    see = f"see `{command} --help`"
    if isinstance(error, _KNOWN.NoSuchOption):
        known = [each for param in error.ctx.command.params for each in param.opts]
        meant = choose(error.option_name, known)
        remedy = meant if meant.startswith("did") else see
        return error.option_name, "there is no such option", remedy
    if isinstance(error, _KNOWN.BadOptionUsage):
        if "does not take a value" in error.message:
            return error.option_name, "takes no value", f"give {error.option_name} alone"
        return error.option_name, "has no value", f"give one behind it, or {see}"
    if isinstance(error, _KNOWN.MissingParameter) and error.param is not None:
        return _name(error.param), "is missing", f"give it, or {see}"
    if isinstance(error, _KNOWN.BadParameter) and error.param is not None:
        return (_name(error.param), *_bad_value(error, see))
    return _misplaced(error, command, see)


def _bad_value(error: Any, see: str) -> tuple[str, str]:
    """Return the problem and the remedy of a value that its parameter cannot have."""
    if found := _NOT_ONE_OF.fullmatch(error.message):
        known = re.findall(r"'([^']*)'", found[2])
        return f"there is no {found[1]!r}", choose(found[1], known)
    findings = getattr(error.__cause__, "errors", None)
    if findings is not None:
        return wording.explain(findings()[0])
    return _clause(error.message), f"give another value, or {see}"


def _misplaced(error: Any, command: str, see: str) -> tuple[str, str, str]:
    """Return what is wrong with a word that is at no place of its own."""
    if found := re.match(r"No such command '(.*?)'", error.message, re.DOTALL):
        return found[1], "there is no such command", choose(found[1], error.ctx.command.commands)
    if found := re.match(r"Got unexpected extra argument\S* \((.*)\)", error.message, re.DOTALL):
        return found[1], "is more than the command takes", f"leave it out, or {see}"
    if error.message.startswith("Missing command"):
        return command, "is no whole command", choose("", error.ctx.command.commands)
    return command, _clause(error.format_message()), see


def _name(param: Any) -> str:
    if param.param_type_name == "option":
        return _longest(param.opts)
    return str(param.metavar or param.name.upper())


def _longest(names: Iterable[str]) -> str:
    return max(names, key=len)


def _clause(sentence: str) -> str:
    """Return a sentence as a clause: no capital, no full stop."""
    text = " ".join(sentence.split()).rstrip(".")
    return text[:1].lower() + text[1:]
