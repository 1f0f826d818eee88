"""What a person sees: progress (rich on a terminal, plain lines elsewhere), tables."""

import functools
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from edgeloop.cli import stopping, usage, usage_line
from edgeloop.errors import EdgeloopError
from edgeloop.runtime import logs


class _InterruptedError(Exception):
    """A stop, carried past typer, which would turn it into an exit code of its own.

    Args:
        stop: as it was raised.
    """

    def __init__(self, stop: KeyboardInterrupt) -> None:
        super().__init__()
        self.stop = stop


def run(function: Callable[..., None], name: str, arguments: Sequence[str]) -> int:
    """Run a function as a command line of its own; wrong usage is an `InputError`."""
    app = _app()
    app.command(name, cls=usage_line.Command)(_carried(function))
    return _ended(app, name, arguments)


def run_many(
    functions: Mapping[str, Callable[..., None]],
    name: str,
    arguments: Sequence[str],
    about: str | None = None,
) -> int:
    """Run one of several functions, by its subcommand's name, as `run` does.

    Args:
        functions: by their subcommands.
        name: of the command.
        arguments: of the command line.
        about: what they do, for `--help`.
    """
    app = _app()
    app.callback(no_args_is_help=True, help=about)(lambda: None)
    for subcommand, function in functions.items():
        app.command(subcommand, cls=usage_line.Command)(_carried(function))
    return _ended(app, name, arguments)


def _app() -> typer.Typer:
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def _carried(function: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(function)
    def carried(*positional: Any, **named: Any) -> None:
        try:
            function(*positional, **named)
        except KeyboardInterrupt as error:
            raise _InterruptedError(error) from error

    return carried


def _ended(app: typer.Typer, name: str, arguments: Sequence[str]) -> int:
    program = f"edgeloop {name}"
    try:
        with stopping.terminable():
            return int(app(list(arguments), prog_name=program, standalone_mode=False) or 0)
    except SystemExit as end:
        return int(end.code or 0)
    except _InterruptedError as error:
        raise error.stop from error
    except usage.WRONG_USAGE as error:
        return usage.refuse(error, program)
    except EdgeloopError as error:
        raise usage.by_option(error, app, name) from error


@contextmanager
def serving() -> Iterator[None]:
    """Let SIGTERM end what is done within, with a word; Ctrl-C ends the command as ever."""
    try:
        yield
    except stopping.TerminatedError as stop:
        stop.heed()
        note(stopping.STOPPED)


LogFormat = Annotated[
    logs.Format,
    typer.Option(
        envvar="EDGELOOP_LOG_FORMAT",
        help="Format of log lines: plain, or json with one object a line.",
    ),
]
"""The option of every command that runs for long."""


@contextmanager
def progress(title: str, total: int, done: int = 0) -> Iterator[Callable[[int, str], None]]:
    """Show how far something long has come.

    Args:
        title: what it is.
        total: steps in all.
        done: steps done before.

    Yields:
        a function to call with the number of steps done and a word on how it goes.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain(title, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[word]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total, completed=done, word="")
        yield lambda steps, word: bar.update(task, completed=steps, word=word)


def _plain(title: str, total: int) -> Callable[[int, str], None]:
    """Return a reporter that writes news at most every two seconds, and the last ones at once."""
    last, said = -float("inf"), ""

    def report(steps: int, word: str) -> None:
        nonlocal last, said
        line = f"{title}: {steps}/{total} {word}\n"
        if line != said and (steps == total or time.monotonic() - last >= 2.0):
            last, said = time.monotonic(), line
            sys.stderr.write(line)
            sys.stderr.flush()

    return report


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a table to standard output, as wide as it needs where that is no terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    shown = Table(title=_literal(title))
    for column in columns:
        shown.add_column(_literal(column), overflow="fold")
    for row in rows:
        shown.add_row(*map(_literal, row))
    console.print(shown)


def _literal(cell: object) -> Text:
    """Return a cell as it is written, line by line: no markup, and no control characters."""
    return Text("\n".join(map(logs.one_line, str(cell).split("\n"))))


def say(text: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(logs.printable(text) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Write a line on how something goes to standard error."""
    sys.stderr.write(logs.printable(text) + "\n")
    sys.stderr.flush()
