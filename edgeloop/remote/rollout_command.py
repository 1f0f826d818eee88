"""Rolls things out to devices, by asking an edgeloop server."""

import json
import tomllib
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from edgeloop.cli import console
from edgeloop.errors import ConfigError
from edgeloop.remote.asking import Asking, Most, OfTask, asks, show
from edgeloop.remote.client import Console
from edgeloop.remote.rollouts import NewGroup, NewRollout, Rollout, RolloutVerb
from edgeloop.runtime import wording

RolloutName = Annotated[str, typer.Argument(help="Id of the roll-out.", metavar="ROLLOUT")]

_COLUMNS = ("rollout", "name", "task", "kind", "state", "begun", "reason")
_GROUP = (
    "number",
    "name",
    "state",
    "devices",
    "waiting",
    "fetching",
    "applied",
    "failed",
    "rolled_back",
)
_DEVICE = ("device", "group", "action", "state", "changed", "reason")

Group = Annotated[
    list[str] | None,
    typer.Option(
        help="A group: share=0.1,success=0.9,error=0.1,pattern=press-*,name=canary,labels.site=a,"
        "devices=press-1+press-2; may be repeated. [default: share=0.1, then all others]"
    ),
]


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop rollout` with these arguments."""
    functions: dict[str, Callable[..., None]] = {
        "create": create,
        "list": list_rollouts,
        "show": show_rollout,
        "pause": pause,
        "resume": resume,
        "stop": stop,
        "rollback": rollback,
    }
    return console.run_many(functions, "rollout", arguments)


@asks
def create(  # noqa: PLR0913 - an option each
    name: Annotated[str, typer.Argument(help="Name of the roll-out.", metavar="NAME")],
    task: Annotated[str, typer.Option(help="Name of the task whose devices get it.")],
    model: Annotated[Path | None, typer.Option(help="Roll out this model.onnx.")] = None,
    base: Annotated[Path | None, typer.Option(help="Roll out this base, an ONNX file.")] = None,
    settings: Annotated[
        Path | None, typer.Option(help="Roll out this TOML file of settings.")
    ] = None,
    group: Group = None,
    roll_back_on_error: Annotated[
        bool,
        typer.Option("--roll-back-on-error", help="Roll back if it stops at its error threshold."),
    ] = False,
    ready: Annotated[
        bool, typer.Option("--ready", help="Do not begin yet: `resume` begins it.")
    ] = False,
    *,
    asking: Asking,
) -> None:
    """Roll a model, a base or settings out to a task's devices, group by group."""
    given = {"model": model, "base": base, "settings": settings}
    chosen = [(kind, path) for kind, path in given.items() if path is not None]
    if len(chosen) != 1:
        raise ConfigError("--model, --base, --settings", "one of them is needed", "give one")
    kind, path = chosen[0]
    groups = [parse_group(each) for each in group or ("share=0.1", "name=others")]
    facts: dict[str, Any] = {"name": name, "task": task, "kind": kind, "groups": groups}
    facts |= {"roll_back_on_error": roll_back_on_error, "begin": not ready}
    with asking.connected() as client:
        found = client.create_rollout(_asked({**facts, **_content(client, kind, path)}))
    _say(found, asking.as_json)


def _content(client: Console, kind: str, path: Path) -> dict[str, Any]:
    try:
        content = path.read_bytes()
        if kind == "settings":
            return {"settings": tomllib.loads(content.decode("utf-8-sig"))}
    except (OSError, ValueError) as error:
        raise ConfigError(str(path), f"cannot be read ({error})", "give another file") from error
    return {"sha256": client.upload(content).sha256}


def _asked(facts: dict[str, Any]) -> NewRollout:
    try:
        return NewRollout.model_validate(facts)
    except ValidationError as error:
        place, problem, remedy = wording.first_finding(error.errors())
        raise ConfigError(".".join(map(str, place)) or "roll-out", problem, remedy) from error


def parse_group(text: str) -> NewGroup:
    """Read a group as it stands on a command line.

    Raises:
        ConfigError: if it is none.
    """
    facts: dict[str, Any] = {"labels": {}}
    for part in text.split(","):
        key, is_given, value = part.strip().partition("=")
        if not is_given:
            remedy = "write it like share=0.1,success=0.9,error=0.1"
            raise ConfigError("--group", f"{part!r} is no key=value", remedy)
        if key.startswith("labels."):
            facts["labels"][key.removeprefix("labels.")] = value
        else:
            facts[key] = value.split("+") if key == "devices" else value
    try:
        return NewGroup.model_validate(facts)
    except ValidationError as error:
        place, problem, remedy = wording.first_finding(error.errors())
        where = f"--group: {'.'.join(map(str, place))}"
        raise ConfigError(where, problem, remedy) from error


@asks
def list_rollouts(
    task: OfTask = None,
    *,
    asking: Asking,
    most: Most = 100,
) -> None:
    """List roll-outs, the newest first."""
    with asking.connected() as client:
        asking.show("roll-outs", _COLUMNS, islice(client.rollouts(task), most))


@asks
def show_rollout(
    rollout: RolloutName,
    *,
    asking: Asking,
    most: Most = 1000,
) -> None:
    """Show a roll-out, its groups and its devices."""
    with asking.connected() as client:
        found = client.rollout(rollout)
        devices = list(islice(client.rollout_devices(rollout), most))
    if asking.as_json:
        rows = [each.model_dump(mode="json") for each in devices]
        console.say(json.dumps({**found.model_dump(mode="json"), "devices": rows}, indent=1))
        return
    show("roll-out", _COLUMNS, [found])
    show("groups", _GROUP, found.groups)
    show("devices", _DEVICE, devices)


def _acting(verb: RolloutVerb, text: str) -> Callable[..., None]:
    @asks
    def act(
        rollout: RolloutName,
        *,
        asking: Asking,
    ) -> None:
        with asking.connected() as client:
            _say(client.act_on_rollout(rollout, verb), asking.as_json)

    act.__doc__ = text
    return act


pause = _acting("pause", "Pause a roll-out: begin no further group for now.")
resume = _acting("resume", "Resume a paused roll-out, or begin one that is ready.")
stop = _acting("stop", "Stop a roll-out permanently; devices that have it keep it.")
rollback = _acting("rollback", "Roll the devices back to what they had before.")


def _say(found: Rollout, as_json: bool) -> None:
    if as_json:
        console.say(found.model_dump_json(indent=1))
        return
    why = f": {found.reason}" if found.reason else ""
    console.say(f"{found.rollout} ({found.name}) is {found.state}{why}")
