"""The study: which candidate does best on held-out samples, by a grid or by successive halving.

Shape suffix: R rounds.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edgeloop import algorithms, data
from edgeloop.runtime import atomic_files
from simulations.engine.batch import Job, run_all
from simulations.results.folder import SUMMARY, claim_study
from simulations.settings import RunSettings
from simulations.tuning import space as spaces
from simulations.tuning.held_out import HeldOut
from simulations.tuning.space import Options, Space

Method = Literal["halving", "grid"]
Summary = Mapping[str, Any]
Done = Callable[[str, Summary], None]

LOCAL, DEFAULTS = "local", "as it is"
"""What candidates are compared with: training alone, and the settings without anything tried."""

THIRD = 3
"""Of a rung's candidates, one in so many continues, for so many times the rounds."""

FEWEST = 5
"""Rounds of a rung, unless all have fewer: what a broadcast does shows from the second one on."""

LAST = 5
"""A run's score is the mean of the last fifth of its accuracies."""


@dataclass(frozen=True)
class Tuning:
    """What is tried on what.

    Attributes:
        settings: the scenario's; `seed` is the first of the seeds.
        space: the values that are tried.
        method: every candidate for all rounds ("grid"), or the better third of them for three
            times as many rounds, again and again ("halving").
        seeds: how many runs of each.
        share: of a client's training samples, what is held out.
        folder: for everything.
    """

    settings: RunSettings
    space: Space
    method: Method
    seeds: int
    share: float
    folder: Path

    def identity(self) -> dict[str, Any]:
        """Return all that decides a result of this study; JSON values only."""
        found = asdict(self) | {"settings": self.settings.model_dump(mode="json")}
        found["settings"].pop("workers")
        found["space"] = {name: list(values) for name, values in self.space.items()}
        return {key: value for key, value in found.items() if key != "folder"}

    @property
    def beside(self) -> tuple[str, ...]:
        """What the candidates are compared with, by name."""
        return (DEFAULTS,) if self.settings.algorithm == LOCAL else (LOCAL, DEFAULTS)

    def rounds_beside(self, name: str) -> int:
        """Return the rounds of what the candidates are compared with.

        Who trains alone beside a single exchange has as many as a run of its own, or it would have
        learned for one round only; so do runs beside another one (`RunSettings.companion`).
        """
        own = algorithms.info(LOCAL).rounds
        differs = own != algorithms.info(self.settings.algorithm).rounds
        return own if name == LOCAL and differs else self.settings.rounds

    @property
    def candidates(self) -> dict[str, Options]:
        """What is tried, by name."""
        fixed = self.settings.algorithm_options(classes=2)
        every = spaces.candidates(self.settings.algorithm, self.space, fixed)
        return {spaces.title(options): options for options in every}

    def rungs(self, count: int) -> list[tuple[int, int]]:
        """Return how many candidates run for how many rounds, rung after rung.

        Args:
            count: of all candidates.
        """
        counts = [count]
        while self.method == "halving" and counts[-1] > THIRD:
            counts.append(math.ceil(counts[-1] / THIRD))
        rounds = self.settings.rounds
        last = len(counts) - 1
        return [
            (each, min(rounds, max(FEWEST, round(rounds / THIRD ** (last - rung)))))
            for rung, each in enumerate(counts)
        ]

    def job(self, name: str, options: Options, rounds: int, seed: int) -> Job:
        """Return a run: of a candidate, of the settings as they are, or of training alone."""
        scenario = self.settings
        changes: dict[str, Any] = {
            **written_data(self.folder / "data"),
            **{"rounds": rounds, "seed": scenario.seed + seed, "workers": 1},
            "options": {**scenario.options, **options},
        }
        if name == LOCAL:
            changes |= {"algorithm": LOCAL, "variant": "released", "options": {}}
        settings = scenario.model_copy(update=changes).without_unasked()
        return Job(settings, self.folder / "runs" / str(rounds) / name / f"seed-{seed}")


def written_data(place: Path) -> dict[str, Any]:
    """Return what of a run's settings says that its data are those written to a folder."""
    return {
        "data": str(place),
        **{"partition": None, "clients": None, "samples": None, "shots": None},
        **{"only_client": None, "layout": "files", "image_size": None},
        **{"label_column": None, "image_column": None, "client_column": None},
    }


@dataclass(frozen=True)
class CandidateResult:
    """A candidate's last rung.

    Attributes:
        name: of the candidate.
        options: what it changes.
        rounds: it ran for.
        scores: of its seeds, see `score`.
        measures: the algorithm's own numbers of the last round, means of the seeds.
        warnings: of its first run.
    """

    name: str
    options: Options
    rounds: int
    scores: Sequence[float]
    measures: Mapping[str, float]
    warnings: Sequence[str]

    @property
    def score(self) -> float:
        """The mean of the seeds' scores."""
        return statistics.fmean(self.scores)


def score(summary: Summary) -> float:
    """Return a run's accuracy on held-out samples: the mean of its last fifth of evaluations.

    One evaluation jumps, and the best of many is a lucky one.
    """
    accuracies_R = [each or 0.0 for each in summary["accuracy_by_round"][1:]]  # None: no tests
    return statistics.fmean(accuracies_R[-math.ceil(len(accuracies_R) / LAST) :])


def run(tuning: Tuning, workers: int | None, done: Done) -> dict[str, Any]:
    """Run what is missing; return the content of summary.json, and write it.

    Args:
        tuning: what is tried.
        workers: runs at a time, a process each; None for one a core.
        done: called with each finished run, and its summary.

    Raises:
        InputError: if the data, a setting or a folder is wrong.
    """
    tuning.settings.check()
    candidates = tuning.candidates
    claim_study(tuning.folder, tuning.identity())
    held = _divided(tuning)
    beside: dict[str, Options] = {name: {} for name in tuning.beside}
    found: dict[str, CandidateResult] = {}
    alive = list(candidates)
    for count, rounds in tuning.rungs(len(candidates)):
        alive = sorted(alive, key=lambda name: -found[name].score if found else 0.0)[:count]
        asked = {name: candidates[name] for name in alive}
        found |= _rung(tuning, asked, rounds, workers, done)
    for name, options in beside.items():
        found |= _rung(tuning, {name: options}, tuning.rounds_beside(name), workers, done)
    summary = _summary(tuning, [found[name] for name in candidates], found, held)
    atomic_files.write_json(tuning.folder / SUMMARY, summary)
    return summary


def total(tuning: Tuning) -> int:
    """Return how many runs there are."""
    rungs = tuning.rungs(len(tuning.candidates))
    return tuning.seeds * (len(tuning.beside) + sum(count for count, _ in rungs))


def _divided(tuning: Tuning) -> int:
    """Write the clients' data, if that is to do; return how many samples are held out."""
    place, settings = tuning.folder / "data", tuning.settings
    if not place.exists():
        source = settings.federation()
        data.write(HeldOut(source, tuning.share, settings.batch_size, settings.seed), place)
    return sum(test for _, test in data.load(str(place)).sizes())


def _rung(
    tuning: Tuning, asked: Mapping[str, Options], rounds: int, workers: int | None, done: Done
) -> dict[str, CandidateResult]:
    jobs = {
        (name, seed): tuning.job(name, options, rounds, seed)
        for name, options in asked.items()
        for seed in range(tuning.seeds)
    }
    summaries = run_all(
        jobs, workers, lambda key, each: done(f"{key[0]}, seed {key[1]}, {rounds} rounds", each)
    )
    return {
        name: _tried(name, options, rounds, [summaries[name, n] for n in range(tuning.seeds)])
        for name, options in asked.items()
    }


def _tried(
    name: str, options: Options, rounds: int, summaries: Sequence[Summary]
) -> CandidateResult:
    lasts = [
        {key: values[-1] for key, values in each.get("measures_by_round", {}).items()}
        for each in summaries
    ]
    measures = {
        key: statistics.fmean(each[key] for each in lasts)
        for key in lasts[0]
        if all(each.get(key) is not None for each in lasts)
    }
    scores = [score(each) for each in summaries]
    return CandidateResult(name, dict(options), rounds, scores, measures, summaries[0]["warnings"])


def _summary(
    tuning: Tuning,
    every: Sequence[CandidateResult],
    found: Mapping[str, CandidateResult],
    held: int,
) -> dict[str, Any]:
    """Return what was found, best first; a candidate that ran longer comes before the others."""
    ranked = sorted(every, key=lambda each: (-each.rounds, -each.score))
    best = max(found[DEFAULTS], ranked[0], key=lambda each: each.score)
    return {
        "algorithm": tuning.settings.algorithm,
        "held_out_samples": held,
        "noise": noise(best.score, held, tuning.seeds),
        "best": best.name,
        "chosen": dict(best.options),
        "candidates": [_as_json(each) for each in ranked],
        "beside": [_as_json(found[name]) for name in (LOCAL, DEFAULTS) if name in found],
    }


def _as_json(tried: CandidateResult) -> dict[str, Any]:
    return {**asdict(tried), "score": tried.score}


def noise(accuracy: float, samples: int, seeds: int) -> float:
    """Return how far apart two accuracies on so many samples may be by chance, 95 times of 100.

    As if samples and seeds were drawn independently; on the same samples it is rather less.
    """
    chance = min(max(accuracy, 1 / samples), 1 - 1 / samples) if samples > 1 else 0.5
    return 1.96 * math.sqrt(2 * chance * (1 - chance) / max(samples * seeds, 1))
