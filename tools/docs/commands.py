"""A page for each command of `edgeloop`, from what the command itself is made of."""

import argparse
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import typer

from edge.agent import predict
from edge.device.command import SUBCOMMANDS
from edgeloop.cli import console
from edgeloop.cli.main import GROUP
from edgeloop.runtime import config, modules
from tools.docs.markdown import code, page, plain, table

FURTHER: Mapping[str, Sequence[str]] = {
    "agent": tuple(SUBCOMMANDS),
    "operator": ("certificates",),
    "simulate": ("ktl",),
}
"""First words that a command gives to another function than its own."""

_KINDS: Mapping[object, str] = {int: "integer", float: "number", str: "text", Path: "path"}

Found = dict[str, Callable[..., None]]
COLUMNS = ("option", "value", "default", "meaning")


def pages() -> dict[str, str]:
    """Return the pages of all commands by their paths, and the list of them."""
    points = sorted(entry_points(group=GROUP), key=lambda each: each.name)
    ours = [each for each in points if each.dist is not None and each.dist.name == "edgeloop"]
    made = {f"reference/commands/{each.name}.md": _page(each) for each in ours}
    rows = [(f"[edgeloop {each.name}]({each.name}.md)", plain(_summary(each))) for each in ours]
    text = "Every command also says this itself: `edgeloop COMMAND --help`."
    exits = "What a command ends with: [exit codes](../../exit-codes.md)."
    index = page("Commands", text, table(("command", "what it does"), rows), exits)
    return {"reference/commands/index.md": index, **made}


def _page(point: EntryPoint) -> str:
    if point.name == "predict":
        return page("edgeloop predict", plain(_summary(point)), _arguments(predict._parser()))
    found = functions(point)
    several = len(found) > 1
    parts = [_section(f"edgeloop {words}", each, several) for words, each in found.items()]
    return page(f"edgeloop {point.name}", plain(_summary(point)) if several else "", *parts)


def _summary(point: EntryPoint) -> str:
    return (modules.docstring(point.module) or "").split("\n")[0]


def functions(point: EntryPoint) -> Found:
    """Return a command's functions by the words that run them.

    The command is called, and what it would give to `edgeloop.cli.console` is kept instead.
    """
    found: Found = {}
    with _kept(found):
        for words in ([], *([word] for word in FURTHER.get(point.name, ()))):
            point.load()([*words, "--help"])
    return found


@contextmanager
def _kept(found: Found) -> Iterator[None]:
    def run(function: Callable[..., None], name: str, arguments: Sequence[str]) -> int:
        found[name] = function
        return 0

    def run_many(
        functions: Mapping[str, Callable[..., None]],
        name: str,
        arguments: Sequence[str],
        about: str | None = None,
    ) -> int:
        found.update({f"{name} {word}": function for word, function in functions.items()})
        return 0

    before = console.run, console.run_many
    console.run, console.run_many = run, run_many
    try:
        yield
    finally:
        console.run, console.run_many = before


def _section(words: str, function: Callable[..., None], titled: bool) -> str:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(words)(function)
    command: Any = typer.main.get_command(app)
    given = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option"]
    usage = " ".join([words, *(_metavar(each) for each in given), "[OPTIONS]"])
    parts = [f"## {words}"] if titled else []
    parts += [f"```text\n{usage}\n```", plain(inspect.getdoc(function) or "")]
    parts.append(table(("argument", "meaning"), [_argument(each) for each in given]))
    parts.append(table(COLUMNS, [_option(each) for each in options if "--help" not in each.opts]))
    return "\n\n".join(part for part in parts if part)


def _metavar(argument: Any) -> str:
    name = str(argument.metavar or argument.name.upper())
    more = "..." if argument.nargs == -1 else ""
    return f"{name}{more}" if argument.required else f"[{name}]{more}"


def _argument(argument: Any) -> tuple[str, str]:
    return code(_metavar(argument)), plain(argument.help or "")


def _option(option: Any) -> tuple[str, str, str, str]:
    words = ", ".join(code(word) for word in [*option.opts, *option.secondary_opts])
    text = plain(option.help or "")
    more = ["May be repeated."] if option.multiple and "repeated" not in text else []
    if option.envvar:
        more.append(f"Environment: {code(option.envvar)}.")
    return words, _value(option), _default(option), " ".join([text, *more])


def _value(option: Any) -> str:
    """Return what a value of an option may be; a metavar says it itself."""
    if option.is_flag:
        return ""
    if option.metavar:
        return ", ".join(code(word) for word in option.metavar.strip("<>").lower().split("|"))
    kinds = [each for each in config.parts(option.type_descriptor.annotation) if each in _KINDS]
    kind = " or ".join(dict.fromkeys(_KINDS[each] for each in kinds)) or "text"
    low, high = ([] if each is None else [each] for each in (option.min, option.max))
    return ", ".join([kind, *(f"at least {e:,}" for e in low), *(f"at most {e:,}" for e in high)])


def _default(option: Any) -> str:
    if option.required:
        return "required"
    value = option.default
    if value is None or callable(value) or value in ((), [], ""):
        return ""
    if option.is_flag:
        return "on" if value is True and option.secondary_opts else ""
    return code(getattr(value, "value", value))


def _arguments(parser: argparse.ArgumentParser) -> str:
    usage = f"```text\n{parser.format_usage().removeprefix('usage: ').strip()}\n```"
    rows = [
        (code(", ".join(each.option_strings) or each.metavar or each.dest), plain(each.help or ""))
        for each in parser._actions
        if "--help" not in each.option_strings
    ]
    return f"{usage}\n\n{table(('word', 'meaning'), rows)}"
