"""What the map's finished runs tell of a way to exchange, and whether `auto` keeps its promise.

Devices are compared one by one with the same devices that train alone (`statistics.paired`). Each
seed has devices of its own; all seeds' devices are judged together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import grid
from edgeloop.errors import RunError
from edgeloop.statistics.paired import POINT, Paired, Side, paired
from simulations.results import pairing, runs
from simulations.results.folder import SUMMARY
from simulations.results.runs import FinishedRun

MOST_WORSE, LEAST_KEPT = 0.05, 0.9
"""The promise of `auto`: devices worse off at most, and what is kept of a gain at least."""


@dataclass(frozen=True)
class Seen:
    """A way in a setting, of all its seeds' devices.

    Attributes:
        setting: its name.
        way: its name.
        seeds: how many.
        accuracy: a device's mean, of the run at its end.
        by_round: the same, after each round.
        run: beside devices alone.
        mix: what devices put into use with `auto`, beside devices alone; None where nobody knows.
        kept: what they put into use, beside the run; likewise.
        added: with class statistics, after the exchange beside the device's own classifier on the
            same base: the part of the gain that is not the base; None of other ways.
        up: bytes that a device sent in all.
        down: that it got.
        seconds: of a run, all devices' training and evaluation and the server's.
    """

    setting: str
    way: str
    seeds: int
    accuracy: float
    by_round: Mapping[int, float]
    run: Paired
    mix: Paired | None
    kept: Paired | None
    added: Paired | None
    up: float
    down: float
    seconds: float


def finished(folder: Path) -> FinishedRun | None:
    """Return the run in a folder, if it is finished.

    Raises:
        RunError: if it is damaged.
    """
    return runs.find([folder])[0] if (folder / SUMMARY).exists() else None


def seen(
    setting: str, way: str, own: Mapping[int, FinishedRun], alone: Mapping[int, FinishedRun]
) -> Seen:
    """Compare a way's runs with those alone, of the same seeds.

    Args:
        setting: its name.
        way: its name.
        own: by seed; one at least.
        alone: by seed, of all seeds in `own`.

    Raises:
        RunError: if a file of a run is damaged.
    """
    run = together({seed: pairing.side([each], way) for seed, each in own.items()})
    beside = together({seed: pairing.side([alone[seed]], "alone") for seed in own})
    mixed = {seed: side for seed, each in own.items() if (side := mixture(each))}
    mix = together(mixed) if mixed else None
    count = len(own)
    return Seen(
        setting=setting,
        way=way,
        seeds=count,
        accuracy=mean(run, run.last),
        by_round={number: mean(run, number) for number in run.right},
        run=paired(run, beside),
        mix=None if mix is None else paired(mix, beside),
        kept=None if mix is None else paired(mix, run),
        added=paired(run, together({s: own_only(each) for s, each in own.items()}))
        if not grid.mixes(way) and mix is not None
        else None,
        up=sum(_sent(each, "up") for each in own.values()) / count,
        down=sum(_sent(each, "down") for each in own.values()) / count,
        seconds=sum(_seconds(each) for each in own.values()) / count,
    )


def mean(side: Side, number: int) -> float:
    """Return a device's mean accuracy after a round; 0 without test samples."""
    tested = {name: each for name, each in side.samples.items() if each}
    right = side.at(number)
    return sum(right[name] / each for name, each in tested.items()) / max(1, len(tested))


def together(sides: Mapping[int, Side]) -> Side:
    """Return the devices of several seeds as those of one run."""

    def named(each: Mapping[str, Any], seed: int) -> dict[str, Any]:
        return {f"{seed}/{name}": value for name, value in each.items()}

    right: dict[int, dict[str, float]] = {}
    for seed, side in sides.items():
        for number, found in side.right.items():
            right.setdefault(number, {}).update(named(found, seed))
    first = next(iter(sides.values()))
    return Side(
        first.title,
        {k: v for seed, side in sides.items() for k, v in named(side.samples, seed).items()},
        right,
        {k: v for seed, side in sides.items() for k, v in named(side.hits, seed).items()},
        frozenset(f"{seed}/{name}" for seed, side in sides.items() for name in side.diverged),
    )


def mixture(run: FinishedRun) -> Side | None:
    """Return what a run's devices put into use at its end; None where nobody knows.

    A client with class statistics answers with its mixture in the run already.

    Raises:
        RunError: if a file of the run is damaged.
    """
    clients = (run.summary.model_extra or {}).get("mix", {}).get("clients", {})
    if not clients:
        return None
    side = pairing.side([run], "auto")
    hits = {name: _unpacked(each, run) for name, each in clients.items() if "hits" in each}
    if not hits:
        return side
    right = {name: float(sum(each)) for name, each in hits.items()}
    return Side(side.title, side.samples, {side.last: right}, hits)


def own_only(run: FinishedRun) -> Side:
    """Return what devices with class statistics have without the others: only counts are known."""
    clients = (run.summary.model_extra or {})["mix"]["clients"]
    samples = {name: each["test_samples"] for name, each in clients.items()}
    right = {
        n: float(round(each["alone"] * samples[n])) for n, each in clients.items() if samples[n]
    }
    return Side("its own", samples, {run.rounds: right})


def _unpacked(client: Mapping[str, Any], run: FinishedRun) -> list[bool]:
    try:
        packed = np.frombuffer(bytes.fromhex(client["hits"]), np.uint8)
    except ValueError as error:
        problem = f"has damaged hits ({error})"
        raise RunError(str(run.folder), problem, "run it again into a new folder") from error
    return [bool(bit) for bit in np.unpackbits(packed, count=client["test_samples"])]


def _sent(run: FinishedRun, kind: str) -> float:
    return run.bytes(kind) / len(run.summary.accuracy_by_client)


def _seconds(run: FinishedRun) -> float:
    found = run.summary.seconds
    return sum(found[part] for part in ("training", "evaluating", "aggregating"))


class Verdict(NamedTuple):
    """One part of the promise.

    Attributes:
        asked: what is promised.
        found: what the runs say.
        holds: whether that is so; None where no run can say it.
        where: it is not so, "setting, way: numbers".
    """

    asked: str
    found: str
    holds: bool | None
    where: tuple[str, ...]


class _Row(NamedTuple):
    name: str
    mixes: bool
    run: Paired
    mix: Paired
    kept: Paired


def judged(every: Sequence[Seen]) -> list[Verdict]:
    """Return the promise's parts, over all settings and ways whose devices have mixed."""
    rows = [
        _Row(f"{each.setting}, {each.way}", grid.mixes(each.way), each.run, each.mix, each.kept)
        for each in every
        if each.mix is not None and each.kept is not None
    ]
    return [_never_below(rows), _few_worse(rows), _gain_kept(rows)]


def _never_below(every: Sequence[_Row]) -> Verdict:
    below = [each for each in every if each.mix.verdict == "worse"]
    return Verdict(
        "no setting whose mean is below alone beyond its interval",
        f"{len(below)} of {len(every)}",
        not below if every else None,
        tuple(f"{each.name}: {points(each.mix)}" for each in below),
    )


def _few_worse(every: Sequence[_Row]) -> Verdict:
    devices = sum(each.mix.devices for each in every)
    counts = {each.name: worse(each.mix) for each in every}
    sure = sum(found[1] for found in counts.values())
    apparent = sum(found[0] for found in counts.values())
    some = {name: found for name, found in counts.items() if found[1]}
    return Verdict(
        f"at most {MOST_WORSE:.0%} of devices worse by more than a point beyond chance",
        f"{sure} of {devices} ({sure / max(1, devices):.1%}); by more than a point, chance"
        f" or not: {apparent} ({apparent / max(1, devices):.1%})",
        sure <= MOST_WORSE * devices if devices else None,
        tuple(f"{name}: {found[1]} devices" for name, found in some.items()),
    )


def worse(found: Paired) -> tuple[int, int]:
    """Return how many devices are worse by more than a point, and how many of them surely."""
    rows = [row for row in found.rows if row.difference < -POINT]
    return len(rows), sum(row.beyond_chance == "worse" for row in rows)


def _gain_kept(every: Sequence[_Row]) -> Verdict:
    gains = [each for each in every if each.mixes and each.run.verdict == "better"]
    shares = [_share(each) for each in gains]
    less = [each for each, kept in zip(gains, shares, strict=True) if kept < LEAST_KEPT]
    surely = [each for each in less if each.kept.verdict == "worse"]
    lost = tuple(f"{each.name}: {_share(each):.0%}, lost {points(each.kept)}" for each in less)
    asked = f"at least {LEAST_KEPT:.0%} of a gain kept, wherever there is one"
    if not gains:
        return Verdict(asked, "no gain beyond its interval", None, ())
    kept = sum(each.mix.mean or 0.0 for each in gains) / sum(each.run.mean or 0.0 for each in gains)
    found = (
        f"less in {len(less)} of {len(gains)}, in {len(surely)} of them beyond the interval of"
        f" what is lost; {kept:.0%} of the gains' sum"
    )
    return Verdict(asked, found, not less, lost)


def _share(each: _Row) -> float:
    """Return what `auto` keeps of a gain, which there must be."""
    return (each.mix.mean or 0.0) / (each.run.mean or 1.0)


def points(found: Paired) -> str:
    """Return a mean paired difference in points, with its interval."""
    if found.mean is None or found.ci95 is None:
        return ""
    low, high = found.ci95
    return f"{100 * found.mean:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
