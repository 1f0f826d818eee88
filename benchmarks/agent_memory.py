"""What an agent takes of a small machine: `python -m benchmarks.agent_memory`.

One device with samples of UCI HAR's shape trains a HAR-CNN, mixes and exports its model. Read are
its memory while it waits for a task, the processor time to its first connection, the most memory
up to the last round's answer and up to the end; and beside them what importing torch alone takes.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import tomli_w
import typer

from benchmarks import environment as host_facts
from benchmarks.brokers import running
from benchmarks.processes import mebibytes, most_resident
from benchmarks.soak import start
from edgeloop import data
from edgeloop.cli import console
from edgeloop.data import Partition, Pool
from edgeloop.errors import UnavailableError
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.protocol.task import presence_topic
from edgeloop.runtime.child_processes import edgeloop
from edgeloop.runtime.config import BrokerSettings

TASK, DEVICE = "memory", "device-0"
SHAPE, CLASSES, SAMPLES = (9, 1, 128), 6, 340
"""Of UCI HAR: the shape of a window, its activities, and about the windows of one person."""

ROUNDS, WIDTH, IDLE_SECONDS, PATIENCE = 3, 512, 3.0, 300.0
ALONE = "import torch; print(open('/proc/self/status').read())"


@dataclass
class Taken:
    """What an agent took.

    Attributes:
        seconds: of its processor, up to the first connection.
        idle: MiB while it waited for a task.
        rounds: MiB at most, up to the last round's answer.
        end: MiB at most, up to the end.
    """

    seconds: float = 0.0
    idle: float = 0.0
    rounds: float = 0.0
    end: float = 0.0


def main(
    algorithm: Annotated[str, typer.Option(help="Of the task.")] = "fedproto",
    repeats: Annotated[int, typer.Option(min=1, help="Runs; the table has each.")] = 3,
    store: Annotated[bool, typer.Option(help="Write benchmarks/results/agent_memory.*.")] = False,
) -> None:
    """Measure an agent that waits, and one that trains."""
    found = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as place:
            found.append(measure(Path(place), algorithm))
    alone = importing_torch()
    columns = ("run", "CPU s to connect", "MiB idle", "MiB, rounds", "MiB, to the end")
    rows = [
        [str(n), *(f"{v:.2f}" if v < 10 else f"{v:.0f}" for v in vars(each).values())]
        for n, each in enumerate(found, start=1)
    ]
    console.table(f"an agent of {algorithm}; torch alone {alone:.0f} MiB", columns, rows)
    if store:
        machine = host_facts.machine()
        text = f"An agent that trains a HAR-CNN ({algorithm}, {ROUNDS} rounds)\n\n"
        text += f"{host_facts.markdown(columns, rows)}\n`import torch` alone: {alone:.0f} MiB\n\n"
        text += ", ".join(f"{key} {value}" for key, value in machine.items()) + "\n"
        content = {"machine": machine, "runs": [vars(each) for each in found], "torch": alone}
        host_facts.write("agent_memory", content, text)


def importing_torch() -> float:
    """Return the MiB that a process takes which imports torch, and does nothing."""
    words = [sys.executable, "-c", ALONE]
    found = subprocess.run(words, check=True, capture_output=True, text=True)  # noqa: S603 - ours
    return mebibytes(found.stdout, "VmHWM") or 0.0


def measure(folder: Path, algorithm: str) -> Taken:
    """Run a task with one agent, which is there first.

    Raises:
        UnavailableError: if it does not get on.
    """
    taken = Taken()
    write_data(folder / "data")
    with ExitStack() as stack:
        port, _ = stack.enter_context(running(folder))
        agent = psutil.Process(start(stack, folder / "agent.log", _agent(folder, port)))
        wait_for(lambda: is_online(port), agent)
        times = agent.cpu_times()
        taken.seconds = times.user + times.system
        time.sleep(IDLE_SECONDS)
        taken.idle = agent.memory_info().rss / 2**20
        start(stack, folder / "aggregator.log", _aggregator(folder, port, algorithm))
        follow(agent, folder, taken)
    return taken


def follow(agent: psutil.Process, folder: Path, taken: Taken) -> None:
    """Read the most memory of an agent until it has ended."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            peak = most_resident(agent.pid)
        except OSError:
            peak = None
        if peak is None:
            if not (folder / "device" / "summary.json").exists():
                raise UnavailableError(DEVICE, "has ended", f"see {folder / 'agent.log'}")
            return
        taken.end = peak
        if f"round {ROUNDS}: accuracy" not in (folder / "agent.log").read_text():
            taken.rounds = peak
        time.sleep(0.01)  # between looks
    raise UnavailableError(DEVICE, f"has not ended in {PATIENCE:.0f} s", "try a quiet machine")


def is_online(port: int) -> bool:
    """Return whether the device says that it is there."""
    topic = presence_topic(TASK, DEVICE)
    with MqttConnection(BrokerSettings(port=port), "looks", [topic]) as connection:
        return connection.receive(0.1) is not None


def wait_for(is_there: Callable[[], bool], agent: psutil.Process) -> None:
    """Wait until something is there.

    Raises:
        UnavailableError: if the agent has ended before.
    """
    while not is_there():
        if agent.status() == psutil.STATUS_ZOMBIE:
            raise UnavailableError(DEVICE, "has ended", "see its log")


def write_data(folder: Path) -> None:
    """Write noise of UCI HAR's shape."""
    random = np.random.default_rng(0)
    labels = np.arange(SAMPLES) % CLASSES
    inputs = random.normal(size=(SAMPLES, *SHAPE)).astype(np.float32) + labels[:, None, None, None]
    pool = Pool(inputs, labels, tuple(f"activity {number}" for number in range(CLASSES)))
    data.write(data.split(pool, Partition("iid", clients=1)), folder)


def _agent(folder: Path, port: int) -> list[str]:
    table: dict[str, Any] = {
        "name": DEVICE,
        "task": TASK,
        "folder": str(folder / "device"),
        "broker": {"port": port},
        "data": {"source": str(folder / "data"), "client": 0},
        "training": {"architecture": "harcnn-s1"},
    }
    return _command("agent", folder / "agent.toml", table)


def _aggregator(folder: Path, port: int, algorithm: str) -> list[str]:
    table: dict[str, Any] = {
        "name": TASK,
        "algorithm": algorithm,
        "class_names": [f"activity {number}" for number in range(CLASSES)],
        "shape": list(SHAPE),
        "width": WIDTH,
        "rounds": ROUNDS,
        "folder": str(folder / "task"),
        "broker": {"port": port},
        "http": {"port": 0},
        "cohort": {"devices": [DEVICE]},
        **({"options": {"architecture": "harcnn-s1"}} if algorithm == "fedavg" else {}),
    }
    return _command("aggregator", folder / "task.toml", table)


def _command(door: str, path: Path, table: dict[str, Any]) -> list[str]:
    path.write_text(tomli_w.dumps(table), encoding="utf-8")
    return edgeloop(door, "--config", str(path))


if __name__ == "__main__":
    raise SystemExit(host_facts.run(main, "agent_memory"))
