"""The study: for each seed a client's few samples, and each baseline's run on them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeloop import data, files
from edgeloop.data import Partition
from edgeloop.data.federation import PooledFederation, split
from edgeloop.errors import ConfigError
from simulations.batch import Job, run_all
from simulations.folder import SUMMARY, new_study
from simulations.ktl.statistics import described
from simulations.settings import RunSettings

BASELINES: Mapping[str, Mapping[str, Any]] = {
    "local": {"algorithm": "local"},
    "etf-only": {"algorithm": "fedktl", "options": {"transfer": 0.0}},
    "ktl": {"algorithm": "fedktl"},
}
"""Plain cross-entropy; FedKTL's client without the transfer loss; and with it."""

SHARERS: Mapping[int, int] = {23: 20, 9: 50, 2: 200}
"""Among how many clients the paper's settings deal CIFAR-100; the first one's share is used."""

CIFAR100 = (60_000, 100)
TRAINED = 0.75
Done = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Study:
    """What is compared.

    Attributes:
        data: whose samples the client has a few of.
        shots: training samples a class, on average.
        seeds: how many; each has weights of its own.
        client: of the division, the same for every seed; None for another one each, s for seed s.
        test_samples: test on so many of all clients' test samples; None for the client's own.
        baselines: which ones, of `BASELINES`.
        rounds: at most.
        patience: stop after so many rounds without a new best one.
        model: the client's architecture.
        generator: a reference.
        options: further hyperparameters of FedKTL.
        folder: for everything.
    """

    data: str
    shots: int
    seeds: int
    client: int | None
    test_samples: int | None
    baselines: tuple[str, ...]
    rounds: int
    patience: int
    model: str
    generator: str | None
    options: Mapping[str, Any]
    folder: Path

    def settings(self, baseline: str, seed: int) -> RunSettings:
        """Return one run's settings."""
        chosen = BASELINES[baseline]
        asked = chosen["algorithm"] == "fedktl"
        return RunSettings(
            algorithm=chosen["algorithm"],
            data=str(self.share(seed)),
            models=self.model,
            rounds=self.rounds,
            patience=self.patience,
            seed=seed,
            options={**(self.options if asked else {}), **chosen.get("options", {})},
            generator=self.generator if baseline == "ktl" else None,
            workers=1,
        )

    def identity(self) -> dict[str, Any]:
        """Return all that decides a run of this study, whichever seeds and baselines it has."""
        free = ("folder", "seeds", "baselines")
        return {key: value for key, value in asdict(self).items() if key not in free}

    def share(self, seed: int) -> Path:
        """Return where a seed's samples are."""
        return self.folder / "data" / f"{self.shots}-shot-seed-{seed}"

    def place(self, baseline: str, seed: int) -> Path:
        """Return where a run's results are."""
        return self.folder / baseline / f"seed-{seed}"


def sharers(samples: int, classes: int, shots: int) -> int:
    """Return among how many clients to deal a data set, so that each trains on so many a class.

    Raises:
        ConfigError: if the data set has too few samples for that.
    """
    if (samples, classes) == CIFAR100 and shots in SHARERS:
        return SHARERS[shots]
    count = round(TRAINED * samples / classes / shots)
    if count < 1:
        problem = f"{shots} of each of {classes} classes, from {samples} samples"
        raise ConfigError("shots", problem, "ask for fewer")
    return count


def deal(study: Study) -> None:
    """Write each seed's share: a client of an IID balanced division, partition seed 1.

    Raises:
        DataError: if the data cannot be read or divided so.
    """
    missing = [seed for seed in range(study.seeds) if not study.share(seed).exists()]
    if not missing:
        return
    whole = data.load(study.data, Partition("iid", clients=1, balanced=True))
    if not isinstance(whole, PooledFederation):
        problem = f"{study.data} comes divided among clients"
        raise ConfigError("data", problem, "name parquet files, an image folder or fashion-sample")
    clients = sharers(len(whole.pool), whole.classes, study.shots)
    if study.client is None and study.seeds > clients:
        problem = (
            f"{study.seeds}, but there are samples for {clients} clients of {study.shots} shots"
        )
        raise ConfigError("seeds", problem, "ask for fewer, or for fewer shots")
    divided = split(whole.pool, Partition("iid", clients=clients, balanced=True))
    if study.test_samples is not None:
        divided = divided.tested_on_all(study.test_samples, seed=1)
    for seed in missing:
        study.share(seed).parent.mkdir(parents=True, exist_ok=True)
        client = seed if study.client is None else study.client
        data.write(divided.only(client), study.share(seed))


def run(study: Study, workers: int | None, done: Done) -> dict[str, Any]:
    """Run what is missing; return the content of summary.json, and write it.

    Args:
        study: what is compared.
        workers: runs at a time, a process each; None for one a core.
        done: told of each finished run, with its summary.

    Raises:
        InputError: if the data, a setting or a folder is wrong.
    """
    with new_study(study.folder, study.identity()):
        deal(study)
        jobs = {
            (name, seed): Job(study.settings(name, seed), study.place(name, seed))
            for seed in range(study.seeds)
            for name in study.baselines
        }
        found = run_all(
            jobs, workers, lambda key, summary: done(f"{key[0]}, seed {key[1]}", summary)
        )
    summary = summarize(study, found)
    files.write_json(study.folder / SUMMARY, summary)
    return summary


def summarize(study: Study, found: Mapping[tuple[str, int], Mapping[str, Any]]) -> dict[str, Any]:
    """Return what all runs say together; docs/simulation.md defines every key."""
    best = {name: _values(study, found, name, "best_accuracy") for name in study.baselines}
    last = {name: _values(study, found, name, "final_accuracy") for name in study.baselines}
    first = next(iter(found.values()))
    sizes = first["samples_by_client"]
    return {
        "shots": study.shots,
        "classes": first["config"]["hyperparameters"]["classes"],
        "samples": next(iter(sizes.values())),
        "generator": study.generator,
        "options": dict(study.options),
        "rounds": study.rounds,
        "patience": study.patience,
        "baselines": {name: described(values) for name, values in best.items()},
        "last_round": {name: described(values) for name, values in last.items()},
        "differences": _differences(best),
    }


def _differences(best: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Compare the baselines seed by seed: on the same samples from the same first weights."""
    pairs = (("etf-only", "local"), ("ktl", "etf-only"), ("ktl", "local"))
    return {
        f"{better} - {worse}": described(
            [a - b for a, b in zip(best[better], best[worse], strict=True)]
        )
        for better, worse in pairs
        if better in best and worse in best
    }


def _values(
    study: Study, found: Mapping[tuple[str, int], Mapping[str, Any]], name: str, key: str
) -> list[float]:
    return [found[name, seed][key] for seed in range(study.seeds)]
