"""Whether anything grows with the rounds: `make soak ROUNDS=2000` (`python -m benchmarks.soak`).

Five small agents, an aggregator and a Mosquitto run a task with very small data; memory, threads
and file descriptors of each, and the rows and bytes of the ledger, are read again and again. The
slopes are those of straight lines through the readings of the second half: what a process needs
to get going, and what retention keeps, is there by then.
"""

import resource
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import tomli_w
import typer

from benchmarks import environment as host_facts
from benchmarks.brokers import running
from edgeloop import data
from edgeloop.cli import console
from edgeloop.data import Partition, Pool
from edgeloop.data.sample import fashion_sample
from edgeloop.errors import UnavailableError
from edgeloop.runtime.child_processes import bound, edgeloop, environment

TASK, DEVICES, SAMPLES, WIDTH = "soak", 5, 60, 16
READINGS = 200
"""At most, of a run: one each so many rounds."""

MEASURES = ("MiB", "threads", "descriptors")
TABLES = ("rounds", "uploads")

Readings = list[tuple[int, float]]
"""Rounds that were done, and what was read then."""


@dataclass
class Soak:
    """What was read, by what it is of.

    Attributes:
        readings: by process and measure, and by the ledger's tables and its bytes.
    """

    readings: dict[str, Readings] = field(default_factory=dict)

    def note(self, name: str, done: int, value: float) -> None:
        """Note a reading."""
        self.readings.setdefault(name, []).append((done, value))


def slope(readings: Readings) -> tuple[float, float]:
    """Return the slope of the second half a 1,000 rounds, and the half of its 95 % interval."""
    half = readings[len(readings) // 2 :]
    if len(half) < 3:
        return float("nan"), float("nan")
    x, y = np.array(half, dtype=float).T
    x = x - x.mean()
    spread = float((x**2).sum())
    if spread == 0:
        return float("nan"), float("nan")
    found = float((x * y).sum()) / spread
    rest = y - y.mean() - found * x
    error = float(np.sqrt((rest**2).sum() / (len(half) - 2) / spread))
    return 1000 * found, 1000 * 1.96 * error


def main(
    rounds: Annotated[int, typer.Option(min=20, help="How many.")] = 2000,
    store: Annotated[bool, typer.Option(help="Write benchmarks/results/soak.*.")] = False,
) -> None:
    """Run a long task with five small agents; report what grows."""
    with tempfile.TemporaryDirectory() as place:
        begun = time.monotonic()
        soak = run(Path(place), rounds)
        seconds = time.monotonic() - begun
    rows = table(soak)
    columns = ("", "first", "half", "last", "slope / 1,000 rounds", "95 %")
    console.table(f"{rounds} rounds, {seconds:.0f} s", columns, rows)
    if store:
        machine = host_facts.machine()
        about = ", ".join(f"{key} {value}" for key, value in machine.items())
        text = f"{rounds} rounds, {DEVICES} agents, {seconds:.0f} s\n\n"
        text += f"{host_facts.markdown(columns, rows)}\n{about}\n"
        content = {"machine": machine, "rounds": rounds, "readings": soak.readings}
        host_facts.write("soak", content, text)


def table(soak: Soak) -> list[list[str]]:
    """Return a row a reading: at first, at half, at last, and its slope."""
    rows = []
    for name, readings in soak.readings.items():
        values = [value for _, value in readings]
        found, interval = slope(readings)
        shown = [f"{each:.1f}" for each in (values[0], values[len(values) // 2], values[-1])]
        rows.append([name, *shown, f"{found:+.2f}", f"{interval:.2f}"])
    return rows


def run(folder: Path, rounds: int) -> Soak:
    """Run the task; read until its last round.

    Raises:
        UnavailableError: if a process ends before its time.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    soak = Soak()
    with ExitStack() as stack:
        port, broker = stack.enter_context(running(folder))
        processes = {"broker": psutil.Process(broker)}
        write_data(folder / "data")
        for name, words in commands(folder, port, rounds).items():
            processes[name] = psutil.Process(start(stack, folder / f"{name}.log", words))
        follow(soak, processes, folder / "task", rounds)
    return soak


def write_data(folder: Path) -> None:
    """Write very small data of five clients."""
    whole, count = fashion_sample(), SAMPLES * DEVICES
    few = Pool(whole.inputs[:count], whole.labels[:count], whole.class_names)
    data.write(data.split(few, Partition("iid", clients=DEVICES)), folder)


def commands(folder: Path, port: int, rounds: int) -> Mapping[str, Sequence[str]]:
    """Write the files of all; return their command lines."""
    names = [f"device-{number}" for number in range(DEVICES)]
    broker = {"port": port}
    task = {
        "name": TASK,
        "algorithm": "fedproto",
        "class_names": list(fashion_sample().class_names),
        "shape": [1, 28, 28],
        "width": WIDTH,
        "rounds": rounds,
        "folder": str(folder / "task"),
        "broker": broker,
        "http": {"port": 0},
        "cohort": {"devices": names},
    }
    found = {"aggregator": _command("aggregator", folder / "task.toml", task)}
    for number, name in enumerate(names):
        table = {
            "name": name,
            "task": TASK,
            "folder": str(folder / name),
            "broker": broker,
            "data": {"source": str(folder / "data"), "client": number},
            "training": {"architecture": "cnn", "threads": 1, "mix": "never"},
        }
        found[name] = _command("agent", folder / f"{name}.toml", table)
    return found


def _command(door: str, path: Path, table: dict[str, Any]) -> list[str]:
    path.write_text(tomli_w.dumps(table), encoding="utf-8")
    return bound(edgeloop(door, "--config", str(path)), signal.SIGTERM)


def start(stack: ExitStack, log: Path, command: Sequence[str]) -> int:
    """Start a process that ends with the stack; return its number."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stderr=output, env=environment())  # noqa: S603 - ours
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return process.pid


def follow(soak: Soak, processes: Mapping[str, psutil.Process], folder: Path, rounds: int) -> None:
    """Read again and again until the last round is done."""
    step, done = max(1, rounds // READINGS), -1
    while done < rounds:
        time.sleep(0.05)  # between looks
        for name, process in processes.items():
            if has_ended(process) and not (folder / "summary.json").exists():
                raise UnavailableError(name, "has ended", "see its log")
        now = closed(folder / "ledger.sqlite")
        if now < 1 or now < done + step:
            if (folder / "summary.json").exists():
                return
            continue
        done = now
        read(soak, processes, folder, done)
        if done % max(step, rounds // 20) < step:
            console.note(f"round {done} of {rounds}")


def read(soak: Soak, processes: Mapping[str, psutil.Process], folder: Path, done: int) -> None:
    """Take one reading of all."""
    for name, process in processes.items():
        for measure, value in zip(MEASURES, measured(process) or (), strict=False):
            soak.note(f"{name}: {measure}", done, value)
    ledger = folder / "ledger.sqlite"
    for each in TABLES:
        soak.note(f"ledger: {each}", done, query(ledger, f"select count(*) from {each}"))  # noqa: S608
    whole = sum(path.stat().st_size for path in folder.glob("ledger.sqlite*"))
    soak.note("ledger: KiB", done, whole / 1024)


def measured(process: psutil.Process) -> tuple[float, int, int] | None:
    """Return MiB, threads and descriptors; None if it has ended, be it between two of them."""
    try:
        with process.oneshot():
            memory = process.memory_info().rss / 2**20
            found = (memory, process.num_threads(), process.num_fds())
    except psutil.Error:
        if has_ended(process):
            return None
        raise
    return found if memory > 0 else None  # what has ended has no memory


def has_ended(process: psutil.Process) -> bool:
    """Return whether a process has ended, also where nobody has asked how."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def closed(ledger: Path) -> int:
    """Return how many rounds are closed."""
    return int(query(ledger, "select count(*) from rounds where closed is not null"))


def query(ledger: Path, question: str) -> float:
    """Return a number of the ledger, which is read only; 0 while there is none."""
    if not ledger.exists():
        return 0
    try:
        connection = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)
    except sqlite3.OperationalError:
        return 0
    try:
        return float(connection.execute(question).fetchone()[0])
    except sqlite3.OperationalError:  # just being made
        return 0
    finally:
        connection.close()


if __name__ == "__main__":
    raise SystemExit(host_facts.run(main, "soak"))
