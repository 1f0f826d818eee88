"""Seconds per round beside naive one-core training, interleaved in one run (`make bench`)."""

import statistics
import tempfile
import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks import environment
from benchmarks.naive import Naive
from edgeloop import algorithms, server_loop
from edgeloop.cli import console
from edgeloop.data import Federation
from edgeloop.errors import ConfigError
from edgeloop.server_loop import RoundResult, RunState
from simulations.engine import run_cohort, run_plan
from simulations.engine.recorder import Recorder
from simulations.settings import RunSettings

ALGORITHMS = ("fedtgp", "fedproto", "local")
WORKERS = (2, 1)
PARTS = ("training", "evaluating", "aggregating", "rest")


@dataclass(frozen=True)
class Seconds:
    """One round's wall time and its parts; what the clients did is divided by the workers."""

    wall: float
    training: float
    evaluating: float
    aggregating: float

    @property
    def rest(self) -> float:
        """Waiting for the slower worker, moving arrays, counting bytes, writing rounds.csv."""
        return self.wall - self.training - self.evaluating - self.aggregating


class BenchmarkRun:
    """A run that is asked for one round at a time.

    Args:
        plan: the run's.
        federation: its data.
        stack: closes its workers.
        folder: for its rounds.csv.
        stacked: architectures whose clients train together.
    """

    def __init__(
        self,
        plan: run_plan.Plan,
        federation: Federation,
        stack: ExitStack,
        folder: Path,
        stacked: Collection[str] = (),
    ) -> None:
        algorithm = plan.clients.load(plan.generator)
        title = algorithms.info(plan.clients.training.algorithm).title
        self.name = f"{title}, {plan.workers} worker{'s' if plan.workers > 1 else ''}"
        self.seconds: list[Seconds] = []
        self._crew = stack.enter_context(run_cohort.open_cohort(plan, federation, stacked))
        self._standing: RunState[Any, Any] = server_loop.initial_state(algorithm)
        path = folder / f"{self.name}.csv"
        self._recorder = Recorder(algorithm, path, (), self._standing.broadcast, plan.workers)

    @property
    def broadcast(self) -> Any:
        """The last broadcast."""
        return self._standing.broadcast

    def round(self) -> None:
        """Do what a simulation does in a round, checkpoints apart."""
        begun = time.perf_counter()
        number = self._standing.rounds
        answers = self._crew.ask(number, self._standing.broadcast)
        uploads = [answers[name].upload for name in sorted(answers)]
        new = self._recorder.algorithm.aggregate(self._standing.state, uploads)
        self._standing = RunState(number + 1, *new)
        row = self._recorder.closed(RoundResult(number, answers, self._standing))
        wall = time.perf_counter() - begun
        parts = (row.seconds_training, row.seconds_evaluating, row.seconds_aggregating)
        self.seconds.append(Seconds(wall, *parts))


def main(
    data: Annotated[
        str | None, typer.Option(help="A folder of clients, or fashion-sample.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Rounds to measure, after one to warm up.")] = 3,
    models: Annotated[str | None, typer.Option(help="A group, or architectures a,b,c.")] = None,
) -> None:
    """Measure FedTGP, FedProto and Local beside naive training of the same models."""
    if rounds < 1:
        raise ConfigError("rounds", f"{rounds} is below 1", "measure one or more")
    source = environment.har(data)
    torch.set_num_threads(1)
    divided = {"partition": "dirichlet"} if source == "fashion-sample" else {}
    base = RunSettings.model_validate(
        {"algorithm": "local", "data": source, "models": models, "robust": "none", **divided}
    )
    report(base, *measure(base, rounds))


def measure(base: RunSettings, count: int) -> tuple[list[float], int, list[BenchmarkRun]]:
    """Return the naive epochs' seconds, their samples, and the contestants with theirs.

    One round of each after another, so that a busy moment of the machine falls on all alike.
    """
    federation = base.federation()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        naive = Naive(run_plan.Plan(base, federation), federation)
        contestants = [
            BenchmarkRun(run_plan.Plan(settings, federation), federation, stack, folder)
            for settings in _settings(base)
        ]
        seconds: list[float] = []
        with console.progress("rounds", count + 1) as watch:
            for done in range(count + 1):
                seconds.append(_seconds(naive))
                for contestant in contestants:
                    contestant.round()
                watch(done + 1, "")
        return seconds[1:], naive.samples(), contestants


def _settings(base: RunSettings) -> list[RunSettings]:
    return [
        base.model_copy(update={"algorithm": algorithm, "workers": workers})
        for algorithm in ALGORITHMS
        for workers in WORKERS
    ]


def _seconds(naive: Naive) -> float:
    begun = time.perf_counter()
    naive.epoch()
    return time.perf_counter() - begun


def report(
    base: RunSettings, seconds: list[float], samples: int, contestants: Sequence[BenchmarkRun]
) -> None:
    """Print and write the medians, each beside its ratio to naive training's."""
    unit = statistics.median(seconds)
    found = {each.name: medians(each.seconds[1:]) for each in contestants}
    columns = ("", "a round", *PARTS)
    rows = [[f"naive, {samples} samples", _cell(unit, unit), *("" for _ in PARTS)]]
    rows += [
        [name, *(_cell(value, unit) for value in each.values())] for name, each in found.items()
    ]
    title = f"{Path(base.data).name}: median seconds of {len(seconds)} rounds (ratio to naive)"
    console.table(title, columns, rows)
    machine = environment.machine()
    content = {
        "machine": machine,
        "rounds": len(seconds),
        "samples": samples,
        "naive": {"median": unit, "all": seconds},
        "runs": {
            name: {
                "seconds": each,
                "ratios": {part: value / unit for part, value in each.items()},
            }
            for name, each in found.items()
        },
    }
    about = ", ".join(f"{key} {value}" for key, value in machine.items())
    environment.write(
        Path(base.data).name,
        content,
        f"{title}\n\n{environment.markdown(columns, rows)}\n{about}\n",
    )


def medians(seconds: Sequence[Seconds]) -> dict[str, float]:
    """Return the median of the wall time and of each part."""
    return {
        part: statistics.median(getattr(each, part) for each in seconds)
        for part in ("wall", *PARTS)
    }


def _cell(value: float, unit: float) -> str:
    return f"{value:.2f} ({value / unit:.2f})"


if __name__ == "__main__":
    raise SystemExit(environment.run(main, "har"))
