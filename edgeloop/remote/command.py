"""Lists, shows, watches and acts on tasks, devices and models, by asking an edgeloop server."""

# Over 320 lines: a function for each subcommand, and none has more than its words.

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel

from edgeloop.cli import console
from edgeloop.errors import ConfigError
from edgeloop.remote.client import Console, connect
from edgeloop.remote.models import Act, Device, Task
from edgeloop.runtime.config import first_line

TOKEN = "EDGELOOP_TOKEN"  # noqa: S105 - the name of a variable

Server = Annotated[str, typer.Option(envvar="EDGELOOP_SERVER", help="URL of the edgeloop server.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        envvar="EDGELOOP_TOKEN_FILE", help=f"File whose first line is a token; or set {TOKEN}."
    ),
]
CaFile = Annotated[
    Path | None,
    typer.Option(
        envvar="EDGELOOP_CA_FILE",
        help="Certificate of the authority that signed the server's, PEM.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Most = Annotated[int, typer.Option(min=1, help="Largest number of entries to list.")]
TaskName = Annotated[str, typer.Argument(help="Name of the task.", metavar="TASK")]
DeviceName = Annotated[str, typer.Argument(help="Name of the device.", metavar="DEVICE")]
OfTask = Annotated[str | None, typer.Option(help="Only what belongs to this task.")]

HERE = "http://127.0.0.1:8600"

_TASK = ("name", "state", "algorithm", "round", "rounds", "accuracy", "online", "devices", "waits")
_DEVICE = ("task", "name", "state", "round", "accuracy", "answered", "version", "reason")
_MODEL = ("task", "device", "file", "size", "written", "sha256")


def task_main(arguments: Sequence[str]) -> int:
    """Run `edgeloop task` with these arguments."""
    from edgeloop.remote.knowledge_command import knowledge  # which needs this module
    from edgeloop.remote.task_creation import create_task

    functions: dict[str, Callable[..., None]] = {
        "list": list_tasks,
        "show": show_task,
        "watch": watch_tasks,
        "create": create_task,
        "start": start,
        "pause": pause,
        "resume": resume,
        "cancel": cancel,
        "knowledge": knowledge,
        "refusals": refusals,
        "audit": audit,
    }
    return console.run_many(
        functions,
        "task",
        arguments,
        "Lists tasks, and starts, watches, pauses and cancels them, on an edgeloop server.",
    )


def device_main(arguments: Sequence[str]) -> int:
    """Run `edgeloop device` with these arguments."""
    functions: dict[str, Callable[..., None]] = {
        "list": list_devices,
        "show": show_device,
        "evict": evict,
    }
    return console.run_many(
        functions,
        "device",
        arguments,
        "Lists devices and takes them out of tasks, on an edgeloop server.",
    )


def model_main(arguments: Sequence[str]) -> int:
    """Run `edgeloop model` with these arguments."""
    functions: dict[str, Callable[..., None]] = {"list": list_models, "show": show_model}
    return console.run_many(
        functions,
        "model",
        arguments,
        "Lists the model files that tasks have made, on an edgeloop server.",
    )


@contextmanager
def connected(server: str, token_file: Path | None, ca_file: Path | None) -> Iterator[Console]:
    """Ask a server while a block runs; errors as those of `Console`."""
    token = None if token_file is None else first_line(token_file, "--token-file").strip()
    with connect(server, token=token, ca_file=ca_file) as found:
        yield found


def list_tasks(
    server: Server = HERE,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    as_json: Json = False,
    most: Most = 1000,
) -> None:
    """List the tasks."""
    with connected(server, token_file, ca_file) as client:
        show("tasks", _TASK, islice(client.tasks(), most), as_json)


def show_task(
    task: TaskName,
    server: Server = HERE,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Show a task and its closed rounds."""
    with connected(server, token_file, ca_file) as client:
        found = client.task(task)
        rounds = list(client.rounds(found.run)) if found.run else []
    if as_json:
        rows = [each.model_dump(mode="json") for each in rounds]
        console.say(json.dumps({**found.model_dump(mode="json"), "closed": rows}, indent=1))
        return
    show("task", _TASK, [found], False)
    show("rounds", ("number", "participants", "accuracy", "seconds"), rounds, False)


def watch_tasks(
    task: Annotated[
        str | None, typer.Argument(help="Name of the task. [default: all tasks]")
    ] = None,
    server: Server = HERE,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Report each change of the tasks' state, until Ctrl-C or a named task has ended."""
    with connected(server, token_file, ca_file) as client:
        found = list(client.tasks()) if task is None else [client.task(task)]
        for each in found:
            _say_line(each, as_json)
        if task is not None and _is_over(found[0]):
            return
        for names in client.changes():
            for name in names if task is None else [each for each in names if each == task]:
                now = client.task(name)
                _say_line(now, as_json)
                if task is not None and _is_over(now):
                    return


def _is_over(task: Task) -> bool:
    return task.state in ("Finished", "Cancelled")


def _say_line(task: Task, as_json: bool) -> None:
    if as_json:
        console.say(task.model_dump_json())
        return
    accuracy = "" if task.accuracy is None else f", accuracy {task.accuracy:.4f}"
    waits = f"; waits: {task.waits}" if task.waits else ""
    place = f"round {task.round} of {task.rounds}{accuracy}"
    console.say(
        f"{task.name}: {task.state}, {place}, {task.online} of {task.devices} online{waits}"
    )


def _acting(name: str, text: str) -> Callable[..., None]:
    def act(
        task: TaskName,
        server: Server = HERE,
        token_file: TokenFile = None,
        ca_file: CaFile = None,
        as_json: Json = False,
    ) -> None:
        with connected(server, token_file, ca_file) as client:
            say_act(getattr(client, name)(task), as_json)

    act.__doc__ = text
    return act


start = _acting("start", "Start a task.")
pause = _acting("pause", "Stop a task's aggregator; its devices wait.")
resume = _acting("resume", "Resume a paused task.")
cancel = _acting("cancel", "Stop a task permanently.")


def evict(
    task: TaskName,
    device: DeviceName,
    server: Server = HERE,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Exclude a device from a task; what it has contributed stays."""
    with connected(server, token_file, ca_file) as client:
        say_act(client.evict(task, device), as_json)


def refusals(
    task: OfTask = None,
    server: Server = HERE,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    as_json: Json = False,
    most: Most = 100,
) -> None:
    """List answers that were refused, and why; empty if aggregators do not report them."""
    with connected(server, token_file, ca_file) as client:
        columns = ("at", "task", "device", "round", "verdict", "reason")
        show("refusals", columns, islice(client.refusals(task), most), as_json)


def audit(
    server: Server = HERE,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    as_json: Json = False,
    most: Most = 100,
) -> None:
    """List what was done and refused, the newest first; for admins."""
    with connected(server, token_file, ca_file) as client:
        columns = ("at", "actor", "act", "subject", "outcome", "detail")
        show("audit", columns, islice(client.audit(), most), as_json)


def list_devices(  # noqa: PLR0913 - an option each
    task: OfTask = None,
    state: Annotated[str | None, typer.Option(help="Only devices in this state.")] = None,
    server: Server = HERE,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    as_json: Json = False,
    most: Most = 1000,
) -> None:
    """List devices."""
    with connected(server, token_file, ca_file) as client:
        show("devices", _DEVICE, islice(client.devices(task, state), most), as_json)


def show_device(
    task: TaskName,
    device: DeviceName,
    server: Server = HERE,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Show a device of a task."""
    with connected(server, token_file, ca_file) as client:
        _show_one(client.device(task, device), as_json)


def list_models(
    task: OfTask = None,
    server: Server = HERE,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    as_json: Json = False,
    most: Most = 1000,
) -> None:
    """List the files that tasks have made: what all share, and devices' own networks."""
    with connected(server, token_file, ca_file) as client:
        show("models", _MODEL, islice(client.models(task), most), as_json)


def show_model(
    task: TaskName,
    device: Annotated[
        str, typer.Argument(help="Name of the device. [default: all of the task]")
    ] = "",
    server: Server = HERE,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Show the files of a task, or of one of its devices."""
    with connected(server, token_file, ca_file) as client:
        found = [each for each in client.models(task) if device in ("", each.device)]
    if not found:
        problem = "has no model on the server's machine"
        raise ConfigError(device or task, problem, "see edgeloop model list")
    show("models", _MODEL, found, as_json)


def say_act(act: Act, as_json: bool) -> None:
    """Print what came of an act."""
    if as_json:
        console.say(act.model_dump_json())
    else:
        console.say(act.detail)


def _show_one(found: Device, as_json: bool) -> None:
    if as_json:
        console.say(found.model_dump_json(indent=1))
    else:
        rows = [(key, _cell(value)) for key, value in found]
        console.table(f"{found.name} of {found.task}", ("what", "value"), rows)


def show(title: str, columns: Sequence[str], found: Iterable[BaseModel], as_json: bool) -> None:
    """Print a table of some fields, or all fields as JSON."""
    if as_json:
        console.say(json.dumps([each.model_dump(mode="json") for each in found], indent=1))
        return
    rows = [[_cell(getattr(each, column)) for column in columns] for each in found]
    console.table(title, columns, rows)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
