"""What every command that asks an edgeloop server has: where it is, who asks, how it answers."""

import functools
import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel

from edgeloop.cli import console
from edgeloop.remote.client import Console, connect
from edgeloop.remote.models import Act
from edgeloop.runtime.config import first_line

TOKEN = "EDGELOOP_TOKEN"  # noqa: S105 - the name of a variable
HERE = "http://127.0.0.1:8600"

Most = Annotated[int, typer.Option(min=1, help="Largest number of entries to list.")]
TaskName = Annotated[str, typer.Argument(help="Name of the task.", metavar="TASK")]
DeviceName = Annotated[str, typer.Argument(help="Name of the device.", metavar="DEVICE")]
OfTask = Annotated[str | None, typer.Option(help="Only what belongs to this task.")]


@dataclass(frozen=True)
class Asking:
    """The options that all commands have which ask a server; each is declared here, and only here.

    Attributes:
        server: its URL.
        token_file: whose first line is a token.
        ca_file: the certificate of the authority that signed the server's.
        as_json: whether answers are printed as JSON.
    """

    server: Annotated[
        str, typer.Option(envvar="EDGELOOP_SERVER", help="URL of the edgeloop server.")
    ] = HERE
    token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="EDGELOOP_TOKEN_FILE", help=f"File whose first line is a token; or set {TOKEN}."
        ),
    ] = None
    ca_file: Annotated[
        Path | None,
        typer.Option(
            envvar="EDGELOOP_CA_FILE",
            help="Certificate of the authority that signed the server's, PEM.",
        ),
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False

    @contextmanager
    def connected(self) -> Iterator[Console]:
        """Ask the server while a block runs; errors as those of `Console`."""
        token = None
        if self.token_file is not None:
            token = first_line(self.token_file, "--token-file").strip()
        with connect(self.server, token=token, ca_file=self.ca_file) as found:
            yield found

    def show(self, title: str, columns: Sequence[str], found: Iterable[BaseModel]) -> None:
        """Print a table of some fields, or all fields as JSON."""
        if self.as_json:
            console.say(json.dumps([each.model_dump(mode="json") for each in found], indent=1))
        else:
            show(title, columns, found)

    def say_act(self, act: Act) -> None:
        """Print what came of an act."""
        console.say(act.model_dump_json() if self.as_json else act.detail)


def asks(function: Callable[..., None]) -> Callable[..., None]:
    """Make a command of a function that asks a server.

    Args:
        function: its keyword `asking` stands for the options of `Asking`, which have its place
            among the function's own in `--help`.
    """
    options = inspect.signature(Asking, eval_str=True).parameters

    @functools.wraps(function)
    def command(**given: object) -> None:
        asking = {name: given.pop(name) for name in options}
        function(**given, asking=Asking(**asking))  # type: ignore[arg-type]  # as typer has read them

    parameters: list[inspect.Parameter] = []
    for each in inspect.signature(function, eval_str=True).parameters.values():
        parameters += options.values() if each.name == "asking" else [each]
    parameters = [each.replace(kind=each.KEYWORD_ONLY) for each in parameters]
    command.__dict__["__signature__"] = inspect.Signature(parameters)
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command


def show(title: str, columns: Sequence[str], found: Iterable[BaseModel]) -> None:
    """Print a table of some fields."""
    rows = [[cell(getattr(each, column)) for column in columns] for each in found]
    console.table(title, columns, rows)


def cell(value: object) -> str:
    """Return a value as it stands in a table."""
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
