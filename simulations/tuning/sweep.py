"""A sweep: many settings of one run, all of a grid or those that a search asks for, by a file."""

import csv
import io
import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from edgeloop import data
from edgeloop.errors import ConfigError
from edgeloop.protocol.task import Scalar
from edgeloop.runtime import atomic_files
from edgeloop.runtime.config import Settings, parse
from simulations.engine.batch import Job, run_all
from simulations.engine.run import simulate
from simulations.results.folder import claim_study
from simulations.results.seed_statistics import describe_values
from simulations.settings import DataSettings, RunSettings
from simulations.tuning.held_out import HeldOut
from simulations.tuning.space import OPTIONS, check_keys, title
from simulations.tuning.study import score, written_data

FILE, TABLE, TRIALS = "sweep.json", "sweep.csv", "trials.json"
"""Of a sweep's folder: what was found, the same as a table, and a search's trials so far."""

HELD_OUT = 0.25
"""Of a client's training samples, what a search compares on where nobody says."""

_PLACES = ("data", "generator", "base", "replay")
"""Settings of a run that may be paths."""

Changes = Mapping[str, Scalar]
Done = Callable[[str, float], None]


class Range(Settings):
    """The numbers that a search may try."""

    low: Annotated[float, Field(allow_inf_nan=False)]
    """Least."""
    high: Annotated[float, Field(allow_inf_nan=False)]
    """Largest."""
    log: bool = False
    """Try them by their logarithms."""
    whole: bool = False
    """Try whole numbers only."""

    @property
    def problem(self) -> str:
        """What is wrong with it; nothing if it can be searched."""
        if self.low > self.high:
            return "low is above high"
        if self.log and self.low <= 0:
            return "a logarithm needs a low above 0"
        whole = self.low.is_integer() and self.high.is_integer()
        return "low and high are not whole" if self.whole and not whole else ""

    @property
    def first(self) -> int | float:
        """The least of them."""
        return int(self.low) if self.whole else self.low


class Sweep(Settings):
    """A file of `edgeloop sweep`; keys of `grid` and `search` are a run's, or options.NAME."""

    run: dict[str, Any]
    """What all runs have in common: the options of `edgeloop simulate`, as keys."""
    grid: dict[str, Annotated[tuple[Scalar, ...], Field(min_length=1)]] = Field(
        default_factory=dict
    )
    """Values of each key, all of whose combinations are run."""
    search: dict[str, Range | Annotated[tuple[Scalar, ...], Field(min_length=1)]] = Field(
        default_factory=dict
    )
    """Ranges or values of each key, that Optuna searches."""
    trials: Annotated[int, Field(ge=1, le=10**5)] = 20
    """How many settings a search tries; may be raised later."""
    seeds: Annotated[int, Field(ge=1, le=1000)] = 1
    """Runs of each setting; the first has the run's seed, each next one is one higher."""
    held_out: Annotated[float, Field(gt=0, le=0.9)] | None = None
    """Part of a client's training samples that settings are compared on, in the place of the test
    samples; a search has 0.25 where nobody says."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.grid) == bool(self.search):
            raise ValueError("it needs a table grid, or a table search, and not both")
        return self

    @property
    def share(self) -> float | None:
        """What is held out of the training samples; None for a comparison on test samples."""
        return HELD_OUT if self.search and self.held_out is None else self.held_out

    @property
    def first(self) -> dict[str, Scalar]:
        """The first setting that a search may try."""
        return {
            key: each.first if isinstance(each, Range) else each[0]
            for key, each in self.search.items()
        }

    @property
    def candidates(self) -> list[dict[str, Scalar]]:
        """All combinations of the grid; none of a search."""
        if not self.grid:
            return []
        values = itertools.product(*self.grid.values())
        return [dict(zip(self.grid, each, strict=True)) for each in values]

    def settings(self, changes: Changes) -> RunSettings:
        """Return a run's settings with these changes.

        Raises:
            ConfigError: naming what is wrong.
        """
        common = self.run.get("options", {})
        if not isinstance(common, dict):
            remedy = "write a table, [run.options], of hyperparameters"
            raise ConfigError("run.options", f"{common!r} is no table", remedy)
        table = {**self.run, "options": dict(common)}
        for key, value in changes.items():
            if key.startswith(OPTIONS):
                table["options"][key.removeprefix(OPTIONS)] = value
            else:
                table[key] = value
        check_keys(table)
        settings = parse(table, RunSettings, f"run, {title(changes)}")
        settings.check()
        return settings

    def check(self, cluster: str | None = None) -> None:
        """Find what can be found wrong before anything runs.

        Args:
            cluster: of whole runs; None for none.

        Raises:
            ConfigError: naming it.
        """
        if cluster is not None and any(
            "cluster" in each for each in (self.run, self.grid, self.search)
        ):
            problem = "has the clients of each run on a cluster, and --cluster whole runs"
            raise ConfigError("run.cluster", problem, "leave out one of them")
        for key, values in self.search.items():
            if isinstance(values, Range) and values.problem:
                raise ConfigError(f"search.{key}", values.problem, "mend the table")
        for key, tried in self.grid.items():
            if len(set(map(repr, tried))) < len(tried):
                raise ConfigError(f"grid.{key}", "has a value twice", "take one out")
        for changes in self.candidates or [self.first]:
            self.settings(changes)
        for key in [*self.grid, *self.search]:
            if self.share is not None and key in DataSettings.model_fields:
                problem = "changes the data, of which one part is held out for all runs"
                raise ConfigError(key, problem, "leave it out, or held_out where there is a grid")
            if key == "seed":
                raise ConfigError(key, "is what `seeds` changes", "leave it out")

    def identity(self) -> dict[str, Any]:
        """Return all that decides a result; JSON values only."""
        return self.model_dump(mode="json", exclude={"trials"})


@dataclass(frozen=True)
class Tried:
    """What a setting came to.

    Attributes:
        name: of its folder.
        changes: that it is.
        scores: its seeds' `study.score`.
        finals: their accuracies after the last round.
    """

    name: str
    changes: Changes
    scores: Sequence[float]
    finals: Sequence[float]

    @property
    def score(self) -> float:
        """The mean of the scores."""
        return statistics.fmean(self.scores)


def prepare(sweep: Sweep, folder: Path) -> dict[str, Any]:
    """Make the folder the sweep's; return what of the settings says which data all runs have.

    Raises:
        InputError: if it holds another one, or the data are wrong.
    """
    claim_study(folder, sweep.identity())
    if sweep.share is None:
        return {}
    place = folder / "data"
    if not place.exists():
        settings = sweep.settings(sweep.candidates[0] if sweep.grid else sweep.first)
        source = settings.federation()
        data.write(HeldOut(source, sweep.share, settings.batch_size, settings.seed), place)
    return written_data(place)


def run_settings(
    sweep: Sweep,
    folder: Path,
    wanted: Mapping[str, Changes],
    place: Mapping[str, Any],
    done: Done,
    cluster: str | None = None,
) -> list[Tried]:
    """Run settings that are missing, or continue with them; in their order.

    Args:
        sweep: of which they are.
        folder: of the sweep.
        wanted: changes, by the names of their folders.
        place: what says which data they have.
        done: called with each run's name and score.
        cluster: the address of a Ray cluster that runs them, each on a core; None for none.
    """
    jobs = {}
    for name, changes in wanted.items():
        settings = sweep.settings(changes).model_copy(update={**place, "workers": 1})
        settings = settings if cluster is None else _for_others(settings)
        for number in range(sweep.seeds):
            seeded = settings.model_copy(update={"seed": settings.seed + number})
            jobs[name, number] = Job(seeded, folder / "runs" / name / f"seed-{seeded.seed}")
    workers = sweep.run.get("workers", "auto")
    at_once = 1 if sweep.run.get("device") == "cuda" else None if workers == "auto" else workers

    def note(key: tuple[str, int], summary: Mapping[str, Any]) -> None:
        done(f"{key[0]}, seed {key[1]}", score(summary))

    summaries = (
        _run_one(jobs, note)
        if len(jobs) == 1 and cluster is None
        else run_all(jobs, at_once, note, cluster)
    )
    return [
        Tried(
            name,
            changes,
            [score(summaries[name, number]) for number in range(sweep.seeds)],
            [summaries[name, number]["final_accuracy"] or 0.0 for number in range(sweep.seeds)],
        )
        for name, changes in wanted.items()
    ]


def _for_others(settings: RunSettings) -> RunSettings:
    """Return a run's settings for a cluster's workers, whose current folder is another one."""
    named = ((name, getattr(settings, name)) for name in _PLACES)
    here = {name: Path(text) for name, text in named if text and Path(text).exists()}
    return settings.model_copy(update={name: str(path.absolute()) for name, path in here.items()})


def _run_one(
    jobs: Mapping[tuple[str, int], Job], note: Callable[[tuple[str, int], Any], None]
) -> dict[tuple[str, int], Any]:
    """Run a single job in this process, which needs no other."""
    ((key, job),) = jobs.items()
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    summary = simulate(job.settings, job.folder, lambda done, accuracy: None, again=True)
    note(key, summary)
    return {key: summary}


def run_grid(sweep: Sweep, folder: Path, done: Done, cluster: str | None = None) -> list[Tried]:
    """Run every combination of a grid.

    Args:
        sweep: with a grid.
        folder: of the sweep.
        done: as of `run_settings`.
        cluster: likewise.

    Raises:
        InputError: if a setting, the data, the folder or the cluster is wrong.
    """
    sweep.check(cluster)
    place = prepare(sweep, folder)
    wanted = {title(changes): changes for changes in sweep.candidates}
    return write(sweep, folder, run_settings(sweep, folder, wanted, place, done, cluster))


def write(sweep: Sweep, folder: Path, tried: Sequence[Tried]) -> list[Tried]:
    """Write what was found, the best first; return it in that order."""
    ranked = sorted(tried, key=lambda each: -each.score)
    found = [
        {
            **{"name": each.name, "changes": dict(each.changes)},
            **{"score": describe_values(each.scores), "final": describe_values(each.finals)},
        }
        for each in ranked
    ]
    whole = {"held_out": sweep.share, "candidates": found}
    atomic_files.write_json(folder / FILE, whole)
    atomic_files.write(folder / TABLE, as_csv(ranked).encode())
    return ranked


def as_csv(tried: Sequence[Tried]) -> str:
    """Return settings and what they came to as CSV, a line each, in their order."""
    keys = list(dict.fromkeys(key for each in tried for key in each.changes))
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow([*keys, "score", "score_std", "final_accuracy", "final_accuracy_std", "seeds"])
    for each in tried:
        measured = [describe_values(values) for values in (each.scores, each.finals)]
        cells = [value for found in measured for value in (found["mean"], found["std"])]
        lines.writerow([*(each.changes.get(key) for key in keys), *cells, len(each.scores)])
    return text.getvalue()
