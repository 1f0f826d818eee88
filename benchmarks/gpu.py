"""What a GPU gives, in at most ten minutes: `make bench-gpu`.

Each step is a process of its own, and is written to benchmarks/results/gpu.json and .md as it ends,
so that what is stopped keeps what it has. Steps, in this order: single clients beside stacked ones;
a stack's step with and without CUDA graphs; bfloat16 with channels last beside float32; FedTGP's
server on the device beside the CPU; the memory of 500 clients (PFLlib says 5.08 GB); and of
FedKTL's Table 1 the smallest slice that is as published: FedTGP's row on CIFAR-10, one trial, as
many rounds as there is time for. (FedKTL's own row needs a generator that no registry of packages
has, and this one the `vision` extra.) `--device cpu --small` goes through all of it in a minute.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks import environment, server
from benchmarks.simulation import Cell, Folders, measure
from edgeloop.cli import console
from edgeloop.knowledge import prototype_network
from edgeloop.knowledge.contrastive_loss import contrastive_gradient
from edgeloop.knowledge.prototype_network import PrototypeTraining
from edgeloop.training.vectorized import VectorizedTrainer
from simulations.engine import run_plan, stacking_benchmark
from simulations.settings import RunSettings

SECONDS = 570
"""Of all steps together."""

Measures = dict[str, Any]
COLUMNS = ("step", "measure", "value")


def main(
    device: Annotated[str, typer.Option(help="cuda, or cpu to try it.")] = "cuda",
    small: Annotated[bool, typer.Option("--small", help="Few clients, images and rounds.")] = False,
    source: Annotated[str | None, typer.Option(help="Images. [default: CIFAR-10]")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Steps; may be repeated.")] = None,
) -> None:
    """Measure what a GPU gives, step by step."""
    begun, found = time.monotonic(), dict[str, Measures]()
    with console.progress("steps", len(STEPS)) as watch:
        for number, name in enumerate(only or STEPS):
            left = SECONDS - (time.monotonic() - begun)
            found[name] = _run(name, device, small, source, left)
            environment.store(*results(found, device))
            watch(number + 1, name)
    console.table("what a GPU gives", COLUMNS, rows(found))
    environment.write(*results(found, device))


def _run(name: str, device: str, small: bool, source: str | None, left: float) -> Measures:
    """Take a step in a process of its own; return what it found, or why nothing."""
    asked = json.dumps([name, device, small, source, left])
    command = [sys.executable, "-m", "benchmarks.gpu", "--step", asked]
    begun = time.monotonic()
    try:
        done = subprocess.run(  # noqa: S603 - this program
            command, capture_output=True, text=True, cwd=environment.ROOT, timeout=max(left, 1)
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"not done within the {left:.0f} seconds that were left"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no word"])[-1][:200]}
    found: Measures = json.loads(done.stdout.splitlines()[-1])
    return {**found, "seconds of the step": time.monotonic() - begun}


def rows(found: Mapping[str, Measures]) -> list[tuple[str, str, str]]:
    """Return a row for each measure of each step."""
    return [
        (step, name, f"{value:.4g}" if isinstance(value, float) else str(value))
        for step, measures in found.items()
        for name, value in measures.items()
    ]


def results(found: Mapping[str, Measures], device: str) -> tuple[str, Measures, str]:
    """Return what `environment.write` takes."""
    machine = environment.machine()
    if device == "cuda" and torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name()
    about = ", ".join(f"{key} {value}" for key, value in machine.items())
    name = "gpu" if device == "cuda" else f"gpu-{device}"
    text = f"what a GPU gives\n\n{environment.markdown(COLUMNS, rows(found))}\n{about}\n"
    return name, {"machine": machine, "steps": found}, text


# ---- the steps


def _cells(ways: Sequence[str], device: str, small: bool, source: str | None) -> Measures:
    """Time FedProto's rounds of the CNN in several ways."""
    clients, samples, rounds = (2, 80, 1) if small else (20, 2000, 3)
    found: Measures = {}
    with tempfile.TemporaryDirectory(prefix="edgeloop-gpu-") as folder:
        place = str(Folders(Path(folder), source, {"cnn": samples}).made("cnn", clients))
        for way in ways:
            cell = Cell("fedproto", "cnn", clients, way, place, rounds, device)
            found[f"{way}: seconds a round"] = measure(cell)["seconds"]
    return found


def stacked(device: str, small: bool, source: str | None, left: float) -> Measures:
    """Clients of one architecture in one step, beside one after another."""
    return _cells(("channels last", "stacked"), device, small, source)


def precision(device: str, small: bool, source: str | None, left: float) -> Measures:
    """Products in bfloat16 with channels last, beside float32 in both layouts."""
    ways = ("plain", "channels last", "bfloat16" if device == "cpu" else "stacked bfloat16")
    return _cells(ways, device, small, source)


def graphs(device: str, small: bool, source: str | None, left: float) -> Measures:
    """A stack's steps with and without CUDA graphs; on a CPU there are none."""
    clients, samples = (2, 80) if small else (20, 2000)
    with tempfile.TemporaryDirectory(prefix="edgeloop-gpu-") as folder:
        place = str(Folders(Path(folder), source, {"cnn": samples}).made("cnn", clients))
        settings = RunSettings(
            algorithm="fedproto", data=place, models="cnn", device=_known(device)
        )
        federation = settings.federation()
        plan = run_plan.Plan(settings, federation)
        recipe = plan.clients.algorithm.recipe
        assert recipe is not None  # noqa: S101 - FedProto has one
        batches = stacking_benchmark.few_batches(plan.clients, federation, "cnn", range(clients))
        broadcast = plan.clients.algorithm.start()[1]
        found: Measures = {}
        for captured in (False, True):
            stack: VectorizedTrainer[Any, Any] = VectorizedTrainer(
                recipe, batches[0].model, clients, torch.device(device), captured
            )
            word = "with" if captured else "without"
            train = partial(stack.train, batches, broadcast)
            found[f"{word} graphs: seconds of 4 steps"] = _best(train, device)
        return found


def fedtgp_server(device: str, small: bool, source: str | None, left: float) -> Measures:
    """A round of FedTGP's server with 200 clients of 10 classes, on the CPU and on the device."""
    clients, epochs = (3, 2) if small else (200, 100)
    random = torch.Generator().manual_seed(0)
    labels_N = torch.arange(clients * 10) % 10
    uploaded_NK = torch.rand(len(labels_N), server.WIDTH, generator=random)
    state = prototype_network.initial_state(10, server.WIDTH, seed=0)
    found: Measures = {}
    for place in dict.fromkeys(("cpu", device)):
        schedule = PrototypeTraining(epochs, 0.01, server.BATCH, seed=0, device=place)
        gradient = contrastive_gradient(10, 1.0, torch.device(place))
        begun = time.perf_counter()
        made = prototype_network.train_prototypes(state, uploaded_NK, labels_N, gradient, schedule)[
            1
        ].prototypes_CD
        found[f"on {place}: seconds a round"] = time.perf_counter() - begun
        found[f"on {place}: norm of what it learned"] = float((made**2).sum() ** 0.5)
    return found


def memory(device: str, small: bool, source: str | None, left: float) -> Measures:
    """500 clients of the four-layer CNN in one process; PFLlib's own figure is 5.08 GB."""
    clients = 4 if small else 500
    with tempfile.TemporaryDirectory(prefix="edgeloop-gpu-") as folder:
        place = str(Folders(Path(folder), source, {"cnn": 40 * clients}).made("cnn", clients))
        found = measure(Cell("fedproto", "cnn", clients, "channels last", place, 1, device))
    return {
        "clients": clients,
        "GB on the device": found["device_memory"] / 1e9,
        "GB of the process": found["memory"] / 1e9,
        "seconds a round": found["seconds"],
    }


def table_1(device: str, small: bool, source: str | None, left: float) -> Measures:
    """FedTGP's row of FedKTL's Table 1 on CIFAR-10, as published, until the time is over."""
    if small:
        words = ["simulate", "fedtgp", "--data", source or "fashion-sample", "--rounds", "1"]
        words += ["--partition", "dirichlet", "--clients", "2", "--samples", "100"]
        words += ["--set", "server_epochs=1", "--workers", "1"]
    else:
        words = ["reproduce", "fedktl-table-1", "--scale", "paper", "--seeds", "1"]
        words += ["--only", "row=FedTGP", "--only", "column=CIFAR-10, practical"]
        words += ["--data", str(environment.data())]
    with tempfile.TemporaryDirectory(prefix="edgeloop-gpu-") as folder:
        program = "import sys; from edgeloop.cli.main import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", program, *words, "--device", device, "--out", folder]
        try:
            done = subprocess.run(  # noqa: S603 - this program
                command, capture_output=True, text=True, timeout=max(left - 15, 1)
            )
            if done.returncode:
                return {"failed": done.stderr.strip().splitlines()[-1][:200]}
        except subprocess.TimeoutExpired:
            pass  # what it has done is in its folder
        tables = list(Path(folder).rglob("rounds.csv"))
        lines = tables[0].read_text(encoding="utf-8").splitlines()[1:] if tables else []
    accuracies = [float(line.split(",")[1]) for line in lines]
    return {"rounds": len(accuracies), "best accuracy": max(accuracies, default=0.0)}


STEPS: Mapping[str, Callable[[str, bool, str | None, float], Measures]] = {
    "stacked": stacked,
    "CUDA graphs": graphs,
    "bfloat16": precision,
    "FedTGP's server": fedtgp_server,
    "500 clients": memory,
    "FedKTL's Table 1": table_1,
}


def _known(device: str) -> Any:
    return "cuda" if device == "cuda" else "cpu"


def _best(work: Callable[[], object], device: str) -> float:
    """Return the seconds of the best of five, after three that do not count."""
    seconds = []
    for _ in range(8):
        begun = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    return min(seconds[3:])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        step, *given = json.loads(sys.argv[2])
        torch.set_num_threads(1)
        sys.stdout.write(json.dumps(STEPS[step](*given)) + "\n")
    else:
        raise SystemExit(environment.run(main, "gpu"))
