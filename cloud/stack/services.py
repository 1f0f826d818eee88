"""Aggregators and agents: their tables are completed, and checked by their own doors.

The doors are found as the `edgeloop` command finds them, by their entry points: a stack without
aggregators needs no database, and one without agents no onnx.
"""

from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import tomli_w

from cloud.authority.identity import Identity
from cloud.stack.own_authority import aggregator_files, device_files
from cloud.stack.part import Part, answering, listening
from cloud.stack.settings import GeneratorSettings, ServedAuthority, StackBroker, Table
from edgeloop import algorithms
from edgeloop.errors import ConfigError
from edgeloop.protocol.task import SERVER
from edgeloop.runtime import config as config_files
from edgeloop.runtime.child_processes import edgeloop
from edgeloop.runtime.ports import reachable

GROUP = "edgeloop.settings"
EXTRAS = {"aggregator": "cloud", "agent": "edge"}


@dataclass(frozen=True)
class Service:
    """An aggregator or an agent.

    Attributes:
        door: its command's name.
        name: the part's.
        table: its configuration, complete.
        checked: the same, as its door reads it.
        is_added: whether it was added from outside the stack's file.
    """

    door: str
    name: str
    table: Table
    checked: Any
    is_added: bool = False

    def part(self, folder: Path) -> Part:
        """Write the configuration file into the folder; return how its command is run."""
        config = folder / f"{self.name}.toml"
        config.touch(mode=0o600)  # there may be a password in it
        config.write_text(tomli_w.dumps(self.table), encoding="utf-8")
        command = tuple(edgeloop(self.door, "--config", str(config)))
        if self.door == "agent":
            return Part(self.name, command, ends=not self.checked.stay, task=self.checked.task)
        http = self.checked.http
        ready = answering(http.host, http.port, "/readyz")
        if http.certificate_file is not None:  # its certificate is not for this address
            ready = listening(http.host, http.port)
        own = {"task": self.checked.name, "pauses": True, "vital": not self.is_added}
        return Part(self.name, command, ready, ends=not http.linger, **own)


def aggregator_service(
    table: Table,
    where: str,
    folder: Path,
    broker: StackBroker,
    generator: GeneratorSettings | None,
    served: ServedAuthority | None,
) -> Service:
    """Return an aggregator of the stack's; it asks the stack's generator, if it asks any.

    Args:
        table: as the file has it.
        where: it is in the file.
        folder: the stack's.
        broker: the stack's.
        generator: the stack's.
        served: where the stack's authority is, if it is served.

    Raises:
        ConfigError: if a key or a value is wrong.
    """
    name = str(table.get("name", ""))
    place, identity = folder / "aggregators" / name, Identity(name, SERVER)
    ours = aggregator_files(folder, identity, broker) if broker.has_own_authority else {}
    full = {"folder": str(place), **table, "broker": _broker(table, broker, ours)}
    if served is not None and broker.has_own_authority:
        host = reachable(served.listen or broker.listen)
        named = f"[{host}]" if ":" in host else host
        full.setdefault("authority", f"https://{named}:{served.port}")
    if generator is not None and algorithms.may_ask_generator(table.get("algorithm")):
        full.setdefault("generator", generator.reference)
    checked = checked_table("aggregator", full, where)
    return Service("aggregator", checked.name, full, checked)


def agent_service(table: Table, where: str, folder: Path, broker: StackBroker) -> Service:
    """Return an agent of the stack's; the arguments are as above.

    Raises:
        ConfigError: if a key or a value is wrong.
    """
    identity = Identity(str(table.get("task", "")), str(table.get("name", "")))
    place = folder / "agents" / identity.task / identity.name
    ours = device_files(folder, identity) if broker.has_own_authority else {}
    full = {"folder": str(place), **table, "broker": _broker(table, broker, ours)}
    checked = checked_table("agent", full, where)
    return Service("agent", f"{checked.name}@{checked.task}", full, checked)


def check_algorithm(checked: Any) -> None:
    """Refuse a task whose algorithm is none, or has not such hyperparameters.

    Args:
        checked: the task, as its door reads it.

    Raises:
        ConfigError: naming what is wrong.
    """
    facts = {"classes": len(checked.class_names), "width": checked.width, "seed": checked.seed}
    own = checked.hyperparameters
    algorithms.check_options(
        checked.algorithm, checked.variant, own, **facts, shape=tuple(checked.shape)
    )


def _broker(table: Table, broker: StackBroker, ours: Table) -> Any:
    """Return the part's `[broker]` table: the stack's, what it made, and over it the part's own."""
    own = table.get("broker", {})
    chosen = {} if broker.signatures is None else {"signatures": broker.signatures}
    return {**broker.shared(), **ours, **chosen, **own} if isinstance(own, dict) else own


def checked_table(door: str, table: Table, where: str) -> Any:
    """Return a part's table as its own door reads it.

    Raises:
        ConfigError: if a key or a value is wrong, or the door is not installed.
    """
    (point,) = entry_points(group=GROUP, name=door)
    try:
        kind = point.load()
    except ModuleNotFoundError as error:
        problem = f"needs {error.name}, which is not installed"
        raise ConfigError(where, problem, f"pip install 'edgeloop[{EXTRAS[door]}]'") from error
    return config_files.parse(table, kind, where)
