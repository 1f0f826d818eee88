"""Accuracies on HAR over several seeds, beside the reference implementation's single run."""

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import environment
from edgeloop import algorithms
from edgeloop.cli import console
from edgeloop.errors import ConfigError
from simulations.engine.run import simulate
from simulations.settings import RunSettings

ROUNDS = 10
# HtFLlib e959261 on HAR, HtFE-sen-2, one trial each: accuracy before rounds 0 ... 10.
REFERENCE: Mapping[str, tuple[float, ...]] = {
    "fedtgp": (
        *(0.0000, 0.5054, 0.5844, 0.6436, 0.6308, 0.5937),
        *(0.5940, 0.6463, 0.6385, 0.5700, 0.6327),
    ),
    "fedproto": (
        *(0.0000, 0.6149, 0.6436, 0.6502, 0.6536, 0.6478),
        *(0.6471, 0.6304, 0.6161, 0.6118, 0.6026),
    ),
    "local": (
        *(0.1718, 0.2601, 0.2663, 0.2848, 0.3026, 0.3189),
        *(0.3549, 0.3758, 0.3940, 0.4350, 0.4752),
    ),
    "lgfedavg": (
        *(0.1718, 0.2256, 0.2717, 0.3034, 0.3363, 0.3557),
        *(0.3785, 0.3990, 0.4241, 0.4485, 0.4752),
    ),
    "fedgh": (
        *(0.1718, 0.1904, 0.1962, 0.2024, 0.2295, 0.2616),
        *(0.3073, 0.3348, 0.3638, 0.3843, 0.4261),
    ),
    "fml": (
        *(0.1718, 0.2190, 0.2570, 0.2666, 0.2713, 0.2806),
        *(0.2922, 0.2941, 0.3088, 0.3220, 0.3320),
    ),
    "fedkd": (
        *(0.1718, 0.2608, 0.2786, 0.2933, 0.3154, 0.3328),
        *(0.3673, 0.3827, 0.4017, 0.4427, 0.4748),
    ),
    "fedgen": (
        *(0.1718, 0.1989, 0.2488, 0.2980, 0.3437, 0.3773),
        *(0.3998, 0.4300, 0.4555, 0.5004, 0.5244),
    ),
}
OPTIONS: Mapping[str, Mapping[str, Any]] = {"fedkd": {"horizon": ROUNDS}}
"""Hyperparameters that the reference's runs had and that are no defaults here."""
DOCUMENT = environment.ROOT / "docs" / "simulation.md"


@dataclass(frozen=True)
class Round:
    """One round's accuracy over the seeds, beside the reference's.

    Attributes:
        round: its number.
        mean: over the seeds.
        std: population standard deviation over the seeds.
        min: the lowest seed's.
        max: the highest seed's.
        reference: the reference's single run.
    """

    round: int
    mean: float
    std: float
    min: float
    max: float
    reference: float

    @property
    def inside(self) -> bool:
        """Whether the reference lies within the seeds' spread, to its own four digits."""
        return round(self.min, 4) <= self.reference <= round(self.max, 4)


def main(
    data: Annotated[str | None, typer.Option(help="The HAR folder.")] = None,
    seeds: Annotated[int, typer.Option(help="How many: 0, 1, ...")] = 5,
) -> None:
    """Run every algorithm that the reference has a run of, for 10 rounds with every seed."""
    if seeds < 1:
        raise ConfigError("seeds", f"{seeds} is below 1", "run one or more")
    source = environment.har(data)
    runs = _runs(source, seeds)
    found = {name: compare(runs[name], REFERENCE[name]) for name in REFERENCE}
    content = {
        "machine": environment.machine(),
        "seeds": seeds,
        "accuracy_by_round": {name: [list(run) for run in runs[name]] for name in runs},
        "rounds": {
            name: [{**asdict(each), "inside": each.inside} for each in rows]
            for name, rows in found.items()
        },
    }
    columns = ("algorithm", "", *(f"r{number}" for number in range(ROUNDS + 1)))
    rows = [row for name, each in found.items() for row in _rows(name, each)]
    title = f"HAR, {ROUNDS} rounds, seeds 0 to {seeds - 1}"
    console.table(title, columns, rows)
    text = environment.markdown(columns, rows)
    environment.write("parity", content, f"{title}\n\n{text}")
    environment.embed(DOCUMENT, "parity", text)


def _runs(source: str, seeds: int) -> dict[str, list[Sequence[float]]]:
    """Return the accuracies by round, by algorithm and seed."""
    runs: dict[str, list[Sequence[float]]] = {name: [] for name in REFERENCE}
    with console.progress("runs", seeds * len(REFERENCE)) as watch:
        for seed in range(seeds):
            for name in REFERENCE:
                runs[name].append(_accuracies(source, name, seed))
                done = sum(map(len, runs.values()))
                watch(done, f"{name}, seed {seed}: {runs[name][-1][-1]:.4f}")
    return runs


def _accuracies(source: str, name: str, seed: int) -> Sequence[float]:
    settings = RunSettings.model_validate(
        {
            **{"algorithm": name, "data": source, "rounds": ROUNDS, "seed": seed},
            "robust": "none",
            "options": OPTIONS.get(name, {}),
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        summary: dict[str, Any] = simulate(settings, Path(folder) / "run", lambda *_: None)
    accuracies: Sequence[float] = summary["accuracy_by_round"]
    return accuracies


def compare(runs: Sequence[Sequence[float]], reference: Sequence[float]) -> list[Round]:
    """Return each round's statistics over the runs, beside the reference."""
    return [
        Round(
            number,
            statistics.fmean(values),
            statistics.pstdev(values),
            min(values),
            max(values),
            reference[number],
        )
        for number, values in enumerate(zip(*runs, strict=True))
    ]


def _rows(name: str, rounds: Sequence[Round]) -> list[list[str]]:
    title = algorithms.info(name).title
    measures = ("mean", "std", "min", "max", "reference")
    rows = [
        [title, measure, *(f"{getattr(each, measure):.4f}" for each in rounds)]
        for measure in measures
    ]
    return [*rows, [title, "within", *("yes" if each.inside else "no" for each in rounds)]]


if __name__ == "__main__":
    raise SystemExit(environment.run(main, "parity"))
