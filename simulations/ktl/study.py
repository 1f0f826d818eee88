"""The study: for each seed a client's few samples, and each row's run on them."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from edgeloop import data
from edgeloop.data import Partition
from edgeloop.data.federation import PooledFederation, split
from edgeloop.errors import ConfigError, EdgeloopError
from edgeloop.runtime import atomic_files
from simulations.engine import pool
from simulations.ktl.rows import ROWS, Row, Summary
from simulations.ktl.settings import Study as Study
from simulations.results.folder import SUMMARY, new_study
from simulations.results.seed_statistics import describe_values
from simulations.settings import RunSettings

log = logging.getLogger(__name__)

CLIENTS, TESTED = 10, 2_000
"""Seeds, each with a client of its own, and test samples of all clients, where nobody says: one of
75 images is 1.3 points of accuracy, one of 2,000 is 0.05."""

SHARERS: Mapping[int, int] = {23: 20, 9: 50, 2: 200}
"""Among how many clients the paper's settings deal CIFAR-100; the first one's share is used."""

CIFAR100 = (60_000, 100)
TRAINED = 0.75
DIVISION = "dealt.json"
"""Beside the shares: what was dealt, so that the data need not be read again."""

Done = Callable[[str, Summary], None]


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


@dataclass(frozen=True)
class DividedStudy:
    """What a study came to once its data was known.

    Attributes:
        seeds: how many.
        train: training samples of the first client.
        test: its test samples.
        classes: C.
        notes: what falls short of what is usual, a sentence each.
    """

    seeds: int
    train: int
    test: int
    classes: int
    notes: tuple[str, ...]


def divide(study: Study) -> DividedStudy:
    """Write each seed's share: a client of an IID balanced division, partition seed 1.

    Raises:
        DataError: if the data cannot be read or divided so.
        ConfigError: if more clients or test samples are asked for than there are.
    """
    kept = study.folder / "data" / DIVISION
    usual = study.seeds is None
    if kept.exists():
        before = atomic_files.read_json(kept)
        if before.pop("usual") == usual and (study.seeds or 0) <= before["seeds"]:
            found = DividedStudy(**{**before, "notes": tuple(before["notes"])})
            return replace(found, seeds=study.seeds or found.seeds)
    divided = _divided(study)
    divided, notes = _tested(study, divided)
    seeds, more = _seeds(study, len(divided))
    for seed in range(seeds):
        if not study.share(seed).exists():
            study.share(seed).parent.mkdir(parents=True, exist_ok=True)
            client = seed if study.client is None else study.client
            data.write(divided.only(client), study.share(seed))
    (train, test), *_ = data.load(str(study.share(0))).sizes()
    found = DividedStudy(seeds, train, test, divided.classes, (*notes, *more))
    atomic_files.write_json(kept, {**asdict(found), "usual": usual})
    return found


def _divided(study: Study) -> PooledFederation:
    whole = data.load(study.data, Partition("iid", clients=1, balanced=True))
    if not isinstance(whole, PooledFederation):
        problem = f"{study.data} comes divided among clients"
        raise ConfigError("data", problem, "name parquet files, an image folder or fashion-sample")
    clients = sharers(len(whole.pool), whole.classes, study.shots)
    return split(whole.pool, Partition("iid", clients=clients, balanced=True))


def _tested(study: Study, divided: PooledFederation) -> tuple[PooledFederation, list[str]]:
    """Return the clients with their test samples, and what falls short."""
    if study.own_test_samples:
        return divided, []
    if study.test_samples is not None:
        return divided.tested_on_all(study.test_samples, seed=1), []
    there = sum(test for _, test in divided.sizes())
    note = (
        f"all clients together have {there:,} test samples, fewer than the {TESTED:,} that tell"
        " small differences: all of them are used"
    )
    return divided.tested_on_all(min(TESTED, there), seed=1), [note] if there < TESTED else []


def _seeds(study: Study, clients: int) -> tuple[int, list[str]]:
    """Return how many seeds there are, and what falls short."""
    asked = CLIENTS if study.seeds is None else study.seeds
    if study.client is not None or asked <= clients:
        return asked, []
    there = f"there are samples for {clients} clients of {study.shots} shots"
    if study.seeds is not None:
        problem = f"{study.seeds}, but {there}"
        raise ConfigError("seeds", problem, "ask for fewer, or for fewer shots")
    return clients, [f"{there}, fewer than the usual {CLIENTS}: all of them are used"]


def run(study: Study, done: Done) -> dict[str, Any]:
    """Run what is missing; return the content of summary.json, and write it.

    Args:
        study: what is compared.
        done: called with each finished run, and its summary.

    Raises:
        InputError: if the data, a setting or a folder is wrong.
    """
    with new_study(study.folder, study.identity()):
        return _run(study, done)


def _run(study: Study, done: Done) -> dict[str, Any]:
    dealt = divide(study)
    for note in dealt.notes:
        log.warning("%s", note)
    keys = [(name, seed) for seed in range(dealt.seeds) for name in study.baselines]
    found: dict[tuple[str, int], Summary] = {}

    def note_one(key: tuple[str, int], summary: Summary) -> None:
        found[key] = summary
        done(f"{key[0]}, seed {key[1]}", summary)

    for key in keys:
        if (path := study.place(*key) / SUMMARY).exists():
            note_one(key, atomic_files.read_json(path))
    missing = {
        (name, seed): partial(_one, ROWS[name], study.settings(seed), study.place(name, seed))
        for name, seed in keys
        if (name, seed) not in found
    }
    pool.run_tasks(missing, None if study.workers == "auto" else study.workers, note_one)
    summary = summarize(study, dealt, found)
    atomic_files.write_json(study.folder / SUMMARY, summary)
    return summary


def _one(row: Row, settings: RunSettings, place: Path) -> Summary:
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        return row(settings, place)
    except EdgeloopError as error:
        raise error.within(place.name) from error


def summarize(
    study: Study, dealt: DividedStudy, found: Mapping[tuple[str, int], Summary]
) -> dict[str, Any]:
    """Return what all runs say together; docs/simulation.md defines every key."""

    def values(key: str) -> dict[str, list[float]]:
        seeds = range(dealt.seeds)
        return {name: [found[name, seed][key] for seed in seeds] for name in study.baselines}

    best, last = values("best_accuracy"), values("final_accuracy")
    return {
        "shots": study.shots,
        "classes": dealt.classes,
        "samples": {"train": dealt.train, "test": dealt.test},
        "clients": 1 if study.client is not None else dealt.seeds,
        "seeds": dealt.seeds,
        "notes": list(dealt.notes),
        "generator": study.generator,
        "options": dict(study.options),
        "rounds": study.rounds,
        "patience": study.patience,
        "baselines": {name: describe_values(each) for name, each in best.items()},
        "last_round": {name: describe_values(each) for name, each in last.items()},
        "differences": _differences(best),
    }


def _differences(best: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Compare the rows seed by seed: on the same samples from the same first weights."""
    pairs = [("etf-only", "local"), ("ktl", "etf-only"), ("ktl", "local")]
    known = {better for better, _ in pairs} | {"local"}
    pairs += [(name, "local") for name in best if name not in known]
    return {
        f"{better} - {worse}": describe_values(
            [a - b for a, b in zip(best[better], best[worse], strict=True)]
        )
        for better, worse in pairs
        if better in best and worse in best
    }
