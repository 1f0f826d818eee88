"""What a whole fleet's rounds take on one machine (`python -m benchmarks.fleet --devices 10000`).

`edgeloop fleet` plays the devices, each with a connection, a session and a presence of its own; a
Mosquitto and one aggregator on SQLite take what they send. All three share the machine, and the
numbers are those of the three together.
"""

import json
import os
import signal
import subprocess
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tomli_w
import typer

from benchmarks import brokers
from benchmarks import environment as host_facts
from benchmarks.load import wait_for
from benchmarks.processes import most_resident, processor_seconds
from edge.fleet.answers import parse_size, task_file
from edge.fleet.command import allow_connections
from edgeloop.cli import console
from edgeloop.errors import UnavailableError
from edgeloop.runtime.child_processes import bound, edgeloop, environment

TASK = "load"

QUEUE = ("max_queued_messages 0", "max_connections -1", "persistence false", "log_type error")
"""Of the broker's configuration: all uploads of a round may wait, on the heap."""

COLUMNS = ("round", "receipts", "s", "uploads/s", "publish to receipt: p50 ms", "p99 ms")


@dataclass(frozen=True)
class Load:
    """How many devices send how much.

    Attributes:
        devices: of the fleet.
        payload: about the size of an upload, such as 40KB.
        rounds: with uploads; an evaluation without any follows the last one.
    """

    devices: int
    payload: str
    rounds: int


@dataclass(frozen=True)
class Cost:
    """What a process took.

    Attributes:
        processor_seconds: of all its threads, from its start on.
        mebibytes: of memory at most.
    """

    processor_seconds: float
    mebibytes: float


@dataclass(frozen=True)
class Measured:
    """What came of a load.

    Attributes:
        fleet: what `edgeloop fleet --out` writes.
        seconds: of each round, from its opening to its closing, as the aggregator has it.
        costs: of each process.
    """

    fleet: Mapping[str, Any]
    seconds: Sequence[float]
    costs: Mapping[str, Cost]


def main(
    devices: Annotated[int, typer.Option(min=1, max=60_000, help="How many.")] = 10_000,
    payload: Annotated[str, typer.Option(help="Size of an upload.")] = "40KB",
    rounds: Annotated[int, typer.Option(min=1, help="How many.")] = 3,
    store: Annotated[bool, typer.Option("--store", help="Write benchmarks/results.")] = False,
) -> None:
    """Measure a fleet's rounds."""
    load = Load(devices, payload, rounds)
    report(load, measure(load), store)


def measure(load: Load) -> Measured:
    """Run a task of a fleet to its end.

    Raises:
        ConfigError: if the payload is no size, or the system allows fewer connections.
        UnavailableError: if the broker or the fleet ends before its time.
    """
    allow_connections(load.devices)
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        folder = Path(place)
        port, broker = stack.enter_context(brokers.plain(folder, *QUEUE))
        aggregator = _aggregator(stack, folder, port, load)
        fleet = _fleet(folder / "fleet.json", port, load)
        wait_for(folder / "task" / "summary.json", aggregator)
        costs = {"Mosquitto": _cost(broker), "aggregator": _cost(aggregator.pid), "fleet": fleet}
        summary = json.loads((folder / "task" / "summary.json").read_text())
        told = json.loads((folder / "fleet.json").read_text())
    return Measured(told, summary["seconds_by_round"], costs)


def _aggregator(stack: ExitStack, folder: Path, port: int, load: Load) -> "subprocess.Popen[bytes]":
    """Start an aggregator, which stays after the end, so that it can be looked at."""
    table = tomllib.loads(task_file(TASK, load.devices, parse_size(load.payload), port))
    table |= {"rounds": load.rounds, "folder": str(folder / "task")}
    table["http"] = {"port": 0, "linger": True}
    config = folder / "task.toml"
    config.write_text(tomli_w.dumps(table), encoding="utf-8")
    command = bound(edgeloop("aggregator", "--config", str(config)), signal.SIGTERM)
    log = stack.enter_context((folder / "aggregator.log").open("wb"))
    process = subprocess.Popen(command, stderr=log, env=environment())  # noqa: S603 - ours
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return process


def _fleet(out: Path, port: int, load: Load) -> Cost:
    """Run the fleet to its end; return what it took."""
    words = ("--port", str(port), "--task", TASK, "--devices", str(load.devices))
    asked = edgeloop("fleet", *words, "--payload", load.payload, "--out", str(out))
    command, nowhere = bound(asked, signal.SIGTERM), subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=nowhere, env=environment())  # noqa: S603 - ours
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if not out.exists():
        raise UnavailableError("fleet", f"ended with {process.returncode}", "see what it said")
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def _cost(process: int) -> Cost:
    return Cost(processor_seconds(process), most_resident(process) or 0.0)


def report(load: Load, found: Measured, store: bool) -> None:
    """Print what was measured; write it, if asked to."""
    machine = host_facts.machine()
    about = ", ".join(f"{key} {value}" for key, value in machine.items())
    parts, costs = ("process", "CPU s", "MiB at most"), cost_rows(found)
    console.table(f"{load.devices} devices, {load.payload}", COLUMNS, rows(load, found))
    console.table("each process", parts, costs)
    console.say(said := sentence(load, found))
    if not store:
        return
    tables = f"{host_facts.markdown(COLUMNS, rows(load, found))}\n{said}\n"
    text = f"{tables}\n{host_facts.markdown(parts, costs)}\n{about}\n"
    content = {
        "machine": machine,
        **vars(load),
        "fleet": found.fleet,
        "seconds_by_round": found.seconds,
        "costs": {name: vars(each) for name, each in found.costs.items()},
    }
    host_facts.write("fleet", content, text)
    host_facts.embed(host_facts.ROOT / "docs" / "load.md", "fleet", text)


def rows(load: Load, found: Measured) -> list[list[str]]:
    """Return a row a round with uploads; the last evaluation is none."""
    told = found.fleet["rounds"]
    return [
        [
            str(number),
            f"{each['receipts']:,} of {load.devices:,}",
            f"{found.seconds[number]:.1f}",
            f"{each['uploads_per_second']:,.0f}",
            *(f"{1000 * each[f'receipt_{part}_seconds']:,.0f}" for part in ("p50", "p99")),
        ]
        for number in range(load.rounds)
        if (each := told.get(str(number))) is not None
    ]


def cost_rows(found: Measured) -> list[list[str]]:
    """Return a row a process."""
    return [
        [name, f"{each.processor_seconds:.1f}", f"{each.mebibytes:.0f}"]
        for name, each in found.costs.items()
    ]


def sentence(load: Load, found: Measured) -> str:
    """Return how many devices came, what has failed, and how busy the machine was."""
    fleet = found.fleet
    came = f"{fleet['connected']:,} of {load.devices:,} devices with uploads of about"
    came += f" {load.payload} connected in {fleet['connect_seconds']:.0f} s."
    failures = "; ".join(f"{what} ({times} times)" for what, times in fleet["failures"].items())
    busy = f"The machine's load average was {os.getloadavg()[0]:.0f} in the end."
    return f"{came} {f'Failed: {failures}.' if failures else 'Nothing failed.'} {busy}"


if __name__ == "__main__":
    raise SystemExit(host_facts.run(main, "fleet"))
