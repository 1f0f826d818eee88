"""Lists, shows, watches and acts on tasks, devices and models, by asking an edgeloop server."""

import json
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Annotated

import typer

from edgeloop.cli import console
from edgeloop.errors import ConfigError
from edgeloop.remote.asking import Asking, DeviceName, Most, OfTask, TaskName, asks, cell, show
from edgeloop.remote.knowledge_command import knowledge
from edgeloop.remote.models import Device, Task
from edgeloop.remote.task_creation import create_task

_TASK = ("name", "state", "algorithm", "round", "rounds", "accuracy", "online", "devices", "waits")
_DEVICE = ("task", "name", "state", "round", "accuracy", "answered", "version", "reason")
_MODEL = ("task", "device", "file", "size", "written", "sha256")


def task_main(arguments: Sequence[str]) -> int:
    """Run `edgeloop task` with these arguments."""
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


@asks
def list_tasks(
    *,
    asking: Asking,
    most: Most = 1000,
) -> None:
    """List the tasks."""
    with asking.connected() as client:
        asking.show("tasks", _TASK, islice(client.tasks(), most))


@asks
def show_task(
    task: TaskName,
    *,
    asking: Asking,
) -> None:
    """Show a task and its closed rounds."""
    with asking.connected() as client:
        found = client.task(task)
        rounds = list(client.rounds(found.run)) if found.run else []
    if asking.as_json:
        rows = [each.model_dump(mode="json") for each in rounds]
        console.say(json.dumps({**found.model_dump(mode="json"), "closed": rows}, indent=1))
        return
    show("task", _TASK, [found])
    show("rounds", ("number", "participants", "accuracy", "seconds"), rounds)


@asks
def watch_tasks(
    task: Annotated[
        str | None, typer.Argument(help="Name of the task. [default: all tasks]")
    ] = None,
    *,
    asking: Asking,
) -> None:
    """Report each change of the tasks' state, until Ctrl-C or a named task has ended."""
    with asking.connected() as client:
        found = list(client.tasks()) if task is None else [client.task(task)]
        for each in found:
            _say_line(each, asking.as_json)
        if task is not None and _is_over(found[0]):
            return
        for names in client.changes():
            for name in names if task is None else [each for each in names if each == task]:
                now = client.task(name)
                _say_line(now, asking.as_json)
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
    @asks
    def act(
        task: TaskName,
        *,
        asking: Asking,
    ) -> None:
        with asking.connected() as client:
            asking.say_act(getattr(client, name)(task))

    act.__doc__ = text
    return act


start = _acting("start", "Start a task.")
pause = _acting("pause", "Stop a task's aggregator; its devices wait.")
resume = _acting("resume", "Resume a paused task.")
cancel = _acting("cancel", "Stop a task permanently.")


@asks
def evict(
    task: TaskName,
    device: DeviceName,
    *,
    asking: Asking,
) -> None:
    """Exclude a device from a task; what it has contributed stays."""
    with asking.connected() as client:
        asking.say_act(client.evict(task, device))


@asks
def refusals(
    task: OfTask = None,
    *,
    asking: Asking,
    most: Most = 100,
) -> None:
    """List answers that were refused, and why; empty if aggregators do not report them."""
    with asking.connected() as client:
        columns = ("at", "task", "device", "round", "verdict", "reason")
        asking.show("refusals", columns, islice(client.refusals(task), most))


@asks
def audit(
    *,
    asking: Asking,
    most: Most = 100,
) -> None:
    """List what was done and refused, the newest first; for admins."""
    with asking.connected() as client:
        columns = ("at", "actor", "act", "subject", "outcome", "detail")
        asking.show("audit", columns, islice(client.audit(), most))


@asks
def list_devices(
    task: OfTask = None,
    state: Annotated[str | None, typer.Option(help="Only devices in this state.")] = None,
    *,
    asking: Asking,
    most: Most = 1000,
) -> None:
    """List devices."""
    with asking.connected() as client:
        asking.show("devices", _DEVICE, islice(client.devices(task, state), most))


@asks
def show_device(
    task: TaskName,
    device: DeviceName,
    *,
    asking: Asking,
) -> None:
    """Show a device of a task."""
    with asking.connected() as client:
        _show_one(client.device(task, device), asking.as_json)


@asks
def list_models(
    task: OfTask = None,
    *,
    asking: Asking,
    most: Most = 1000,
) -> None:
    """List the files that tasks have made: what all share, and devices' own networks."""
    with asking.connected() as client:
        asking.show("models", _MODEL, islice(client.models(task), most))


@asks
def show_model(
    task: TaskName,
    device: Annotated[
        str, typer.Argument(help="Name of the device. [default: all of the task]")
    ] = "",
    *,
    asking: Asking,
) -> None:
    """Show the files of a task, or of one of its devices."""
    with asking.connected() as client:
        found = [each for each in client.models(task) if device in ("", each.device)]
    if not found:
        problem = "has no model on the server's machine"
        raise ConfigError(device or task, problem, "see edgeloop model list")
    asking.show("models", _MODEL, found)


def _show_one(found: Device, as_json: bool) -> None:
    if as_json:
        console.say(found.model_dump_json(indent=1))
    else:
        rows = [(key, cell(value)) for key, value in found]
        console.table(f"{found.name} of {found.task}", ("what", "value"), rows)
