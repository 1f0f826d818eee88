"""Shows what a round of a task has exchanged, by asking an edgeloop server."""

from typing import Annotated

import typer

from edgeloop.cli import console
from edgeloop.errors import InputError
from edgeloop.remote.command import (
    HERE,
    CaFile,
    Json,
    Server,
    TaskName,
    TokenFile,
    connected,
    show,
)

_CLASS = ("label", "name", "count", "spread", "nearest", "margin", "apart")


def knowledge(
    task: TaskName,
    round_number: Annotated[
        int | None, typer.Option("--round", min=0, help="The round. [default: the newest one]")
    ] = None,
    server: Server = HERE,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Show how far a task's classes are apart, by the prototypes of a round."""
    with connected(server, token_file, ca_file) as client:
        kept = client.knowledge(task).rounds
        if not kept:
            problem = "keeps no history, or has closed no round"
            raise InputError(task, problem, "set history = true in its aggregator's file")
        found = client.round_knowledge(task, kept[-1] if round_number is None else round_number)
    if as_json:
        console.say(found.model_dump_json(indent=1))
        return
    show(f"round {found.number}", _CLASS, found.classes, False)
