"""How near a simulated round is to what the machine can do (`make bench-simulation`).

Each cell (algorithm, clients, task, way to compute) is a process of its own, so that its peak
memory is its own; all of them take turns, so that a busy moment of the machine falls on all alike.
Beside a round's seconds stand two floors, measured in the same process: the time its clients'
training and evaluation operations take at the rate of a large matrix product (`floor`), and the
time that the bare loops over the same batches take with the same kernels (`bare`). Neither has the
server's training in it, which FedTGP's round has: `server apart` leaves it out of the round, too.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks import environment
from benchmarks.har import BenchmarkRun
from benchmarks.work import Work, rate
from edgeloop import data, models
from edgeloop.cli import console
from edgeloop.data import Federation, Partition, Pool
from simulations.engine import run_plan, stacking_benchmark
from simulations.results.measurements import peak_memory
from simulations.settings import RunSettings

WHOLE = "cnn, all images"
ALGORITHMS = ("local", "fedproto", "fedtgp", "fedktl")
TASKS: Mapping[str, Mapping[str, Any]] = {
    "cnn": {"models": "cnn"},
    "head": {"models": "mlp", "width": 100},
    WHOLE: {"models": "cnn"},
}
"""The four-layer CNN on images; two linear layers on frozen features of 512 numbers; the CNN on
all images of the source, as in the papers."""

WAYS: Mapping[str, Mapping[str, Any]] = {
    "plain": {"memory_format": "contiguous"},
    "channels last": {},
    "bfloat16": {"precision": "bfloat16"},
    "stacked": {"cohort": "stacked"},
    "processes": {"workers": "auto"},
}
ON_A_GPU: Mapping[str, Mapping[str, Any]] = {
    "plain": {"memory_format": "contiguous", "cohort": "plain"},
    "channels last": {"cohort": "plain"},
    "idle on the host": {"cohort": "plain", "idle": "host"},
    "stacked": {"cohort": "stacked"},
    "stacked bfloat16": {"cohort": "stacked", "precision": "bfloat16"},
}
FROZEN = 512
"""Features of the head task."""

TITLE = "a simulated round: the best of all passes; shares are medians"
COLUMNS = (
    *("task", "clients", "algorithm", "way", "seconds a round", "of plain"),
    *("floor's share", "over bare", "server apart", "server", "peak MB", "device MB"),
)


@dataclass(frozen=True)
class Cell:
    """What one process measures.

    Attributes:
        algorithm: its name.
        task: of `TASKS`.
        clients: how many.
        way: of `WAYS` or `ON_A_GPU`.
        folder: of the clients' data.
        rounds: to measure, after one to warm up.
        device: where.
    """

    algorithm: str
    task: str
    clients: int
    way: str
    folder: str
    rounds: int
    device: str

    def settings(self) -> RunSettings:
        """Return the run's settings."""
        ways = WAYS if self.device == "cpu" else ON_A_GPU
        fields = {"workers": 1, "cohort": "plain", **TASKS[self.task], **ways[self.way]}
        return RunSettings.model_validate(
            {
                **{"algorithm": self.algorithm, "data": self.folder, "device": self.device},
                **{"robust": "none", **fields},
            }
        )


def main(  # noqa: PLR0913 - an option each
    source: Annotated[
        str | None, typer.Option(help="Images: undivided. [default: CIFAR-10]")
    ] = None,
    samples: Annotated[int, typer.Option(min=100, help="Of the CNN task.")] = 2000,
    frozen: Annotated[int, typer.Option(min=100, help="Samples of the head task.")] = 8000,
    clients: Annotated[
        list[int] | None, typer.Option(help="May be repeated. [default: 20 and 200]")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Algorithms; may be repeated. [default: all]")
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option(help="cnn or head; may be repeated. [default: both]")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds to measure in a cell.")] = 2,
    passes: Annotated[int, typer.Option(min=1, help="Times that each cell runs.")] = 2,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    many: Annotated[int, typer.Option(min=0, help="Clients of the test of memory.")] = 500,
    whole: Annotated[
        bool, typer.Option(help="FedTGP with 20 clients on all images, too: minutes.")
    ] = True,
) -> None:
    """Time rounds of every algorithm in every way, and compare with what the machine can do."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="edgeloop-bench-") as temporary:
        folders = Folders(Path(temporary), source, {"cnn": samples, "head": frozen})
        ways = tuple(WAYS if device == "cpu" else ON_A_GPU)
        cells = [
            Cell(algorithm, name, count, way, str(folders.made(name, count)), rounds, device)
            for name, count, algorithm, way in product(
                task or ("cnn", "head"), clients or (20, 200), only or ALGORITHMS, ways
            )
        ]
        if many:
            place = str(folders.made("cnn", many))
            cells.append(Cell("fedtgp", "cnn", many, "channels last", place, 1, device))
        if whole:
            place = str(folders.made(WHOLE, 20))
            cells.append(Cell("fedtgp", WHOLE, 20, "channels last", place, 1, device))
        found: dict[Cell, list[dict[str, Any]]] = {cell: [] for cell in cells}
        with console.progress("cells", passes * len(cells)) as watch:
            for number, cell in enumerate(cells * passes):
                found[cell].append(measured(cell))
                environment.store(*results(found, device))  # what is stopped keeps what it has
                watch(number + 1, f"{cell.algorithm}, {cell.clients}, {cell.task}, {cell.way}")
    console.table(TITLE, *table(found))
    environment.write(*results(found, device))


class Folders:
    """The clients' data, made once for each task and number of clients."""

    def __init__(self, place: Path, source: str | None, samples: Mapping[str, int]) -> None:
        self._place = place
        self._source = source or str(environment.data() / "cifar10")
        self._samples = samples

    def made(self, task: str, clients: int) -> Path:
        """Return the folder with a task's data, divided among so many clients."""
        folder = self._place / f"{task}-{clients}"
        if not folder.exists():
            count = None if task == WHOLE else max(self._samples[task], 40 * clients)
            partition = Partition("iid", clients=clients, balanced=True, samples=count)
            divided = data.load(self._source, partition)
            data.write(frozen_features(divided) if task == "head" else divided, folder)
        return folder


def frozen_features(federation: Federation) -> Federation:
    """Return the same clients with what an untrained CNN makes of their images."""
    model = models.build("cnn", federation.shape, federation.classes, FROZEN, seed=1).eval()
    inputs, labels = [], []
    for client in range(len(federation)):
        share = federation.client(client)
        for part in (share.train, share.test):
            with torch.no_grad():
                inputs.append(model(torch.tensor(part.inputs))[0].numpy())
            labels.append(part.labels)
    pool = Pool(np.concatenate(inputs), np.concatenate(labels), federation.class_names)
    return data.split(pool, Partition("iid", clients=len(federation), balanced=True))


def measured(cell: Cell) -> dict[str, Any]:
    """Measure a cell, on a CPU in a process of its own; return what it found, or why nothing."""
    if cell.device == "cuda":  # its memory is counted by torch, and may be counted again
        torch.cuda.reset_peak_memory_stats()
        return measure(cell)
    command = [sys.executable, "-m", "benchmarks.simulation", "--cell", json.dumps(asdict(cell))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=environment.ROOT)  # noqa: S603 - this program
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1][:200]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(cell: Cell) -> dict[str, Any]:
    """Run a cell's rounds in this process."""
    torch.set_num_threads(1)
    settings = cell.settings()
    federation = settings.federation()
    plan = run_plan.Plan(settings, federation, settings.open_generator())
    stacked = stacking_benchmark.stacked_architectures(stacking_benchmark.choose(plan, federation))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        run = BenchmarkRun(plan, federation, stack, folder, stacked)
        for _ in range(cell.rounds + 1):
            run.round()
    memory = peak_memory()
    seconds = [each.wall for each in run.seconds[1:]]
    work = Work(plan, federation)
    return {
        "seconds": min(seconds),
        "aggregating": min(each.aggregating for each in run.seconds[1:]),
        "floor": work.operations() / rate(cell.device) / plan.workers,
        "bare": work.seconds() / plan.workers,
        "memory": memory,
        "device_memory": torch.cuda.max_memory_allocated() if cell.device == "cuda" else 0,
        "rate": rate(cell.device),
    }


def results(
    found: Mapping[Cell, Sequence[Mapping[str, Any]]], device: str
) -> tuple[str, dict[str, Any], str]:
    """Return what `environment.write` takes: a name, all measures, and the table in Markdown."""
    machine = environment.machine()
    if device == "cuda":
        machine["gpu"] = torch.cuda.get_device_name()
    about = ", ".join(f"{key} {value}" for key, value in machine.items())
    cells = [
        {**asdict(cell), "folder": "", "measured": list(each)}
        for cell, each in found.items()
        if each
    ]
    text = f"{TITLE}\n\n{environment.markdown(*table(found))}\n{about}\n"
    name = "simulation" if device == "cpu" else f"simulation-{device}"
    return name, {"machine": machine, "cells": cells}, text


def table(
    found: Mapping[Cell, Sequence[Mapping[str, Any]]],
) -> tuple[Sequence[str], list[list[str]]]:
    """Return the columns, and a row for each cell that has been measured."""
    return COLUMNS, [_row(cell, each, found) for cell, each in found.items() if each]


def _row(
    cell: Cell,
    measures: Sequence[Mapping[str, Any]],
    found: Mapping[Cell, Sequence[Mapping[str, Any]]],
) -> list[str]:
    head = [cell.task, str(cell.clients), cell.algorithm, cell.way]
    good = [each for each in measures if "seconds" in each]
    if not good:
        return [*head, measures[0]["failed"], *[""] * 7]
    best = {key: min(each[key] for each in good) for key in good[0]}
    plain = [
        each["seconds"]
        for other, values in found.items()
        for each in values
        if "seconds" in each
        and (other.task, other.clients, other.algorithm, other.way)
        == (cell.task, cell.clients, cell.algorithm, "plain")
    ]
    ratio = f"{best['seconds'] / min(plain):.2f}" if plain else ""
    return [
        *(*head, f"{best['seconds']:.3f}", ratio, *_shares(good)),
        f"{best['aggregating']:.3f}",
        f"{best['memory'] / 1e6:,.0f}",
        f"{best['device_memory'] / 1e6:,.0f}",
    ]


def _shares(measures: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the floor's share, what is over the bare loops, and that with the server apart."""
    share = statistics.median(each["floor"] / each["seconds"] for each in measures)
    over, apart = (
        statistics.median(
            (each["seconds"] - left * each["aggregating"]) / each["bare"] for each in measures
        )
        for left in (0, 1)
    )
    return [f"{share:.0%}", f"{over - 1:+.0%}", f"{apart - 1:+.0%}"]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--cell"]:
        sys.stdout.write(json.dumps(measure(Cell(**json.loads(sys.argv[2])))) + "\n")
    else:
        raise SystemExit(environment.run(main, "simulation"))
