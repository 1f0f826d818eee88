"""Shows what a round of a task has exchanged, by asking an edgeloop server."""

from typing import Annotated

import typer

from edgeloop.cli import console
from edgeloop.errors import InputError
from edgeloop.remote.asking import Asking, TaskName, asks, show

_CLASS = ("label", "name", "count", "spread", "nearest", "margin", "apart")


@asks
def knowledge(
    task: TaskName,
    round_number: Annotated[
        int | None, typer.Option("--round", min=0, help="The round. [default: the newest one]")
    ] = None,
    *,
    asking: Asking,
) -> None:
    """Show how far a task's classes are apart, by the prototypes of a round."""
    with asking.connected() as client:
        kept = client.knowledge(task).rounds
        if not kept:
            problem = "keeps no history, or has closed no round"
            raise InputError(task, problem, "set history = true in its aggregator's file")
        found = client.round_knowledge(task, kept[-1] if round_number is None else round_number)
    if asking.as_json:
        console.say(found.model_dump_json(indent=1))
        return
    show(f"round {found.number}", _CLASS, found.classes)
