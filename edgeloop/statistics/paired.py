"""Whether one run is better than another on the same test samples, and how sure that is.

The judge is the last evaluation of both: the best round of each would be chosen by the very samples
that are to judge it.

Shape suffixes: D devices, R rounds.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from edgeloop.statistics import chance
from edgeloop.statistics.chance import Interval

Verdict = Literal["better", "worse", "alike", "undecided", "unmeasured"]
Source = Literal["devices", "samples"]
Hits = Mapping[str, Sequence[bool]]

POINT = 0.01
"""Of accuracy: a mean whose whole interval is nearer to nothing than this makes no difference."""


@dataclass(frozen=True)
class Side:
    """One run, or the mean of several with the same test samples.

    Attributes:
        title: as a sentence calls it.
        samples: test samples by device.
        right: right answers by round and device; a mean need not be whole. The last round judges.
        hits: of the last evaluation, which samples were right, in one order on both sides; only
            of a single run, and empty where nobody knows.
        diverged: devices whose model diverged.
        runs: how many these are the means of.
    """

    title: str
    samples: Mapping[str, int]
    right: Mapping[int, Mapping[str, float]]
    hits: Hits = field(default_factory=dict)
    diverged: frozenset[str] = frozenset()
    runs: int = 1

    def __post_init__(self) -> None:
        for each in self.right.values():
            for name, right in each.items():
                if not 0 <= right <= self.samples.get(name, 0):
                    raise ValueError(f"{name}: {right} right answers cannot be")

    @property
    def last(self) -> int:
        """The last round; -1 without any."""
        return max(self.right, default=-1)

    def at(self, round_number: int) -> Mapping[str, float]:
        """Return the right answers of a round; those of the last one for all that come later."""
        return self.right.get(min(round_number, self.last), {})


class Flips(NamedTuple):
    """Test samples of a device that only the one side has right, and only the other."""

    gained: float
    lost: float


@dataclass(frozen=True)
class Row:
    """One device.

    Attributes:
        device: its name.
        test_samples: its own.
        accuracy: of the last evaluation.
        beside: the other run's.
        difference: the first less the second.
        gained: test samples that only the first has right; None where only counts are known.
        lost: that only the second has right.
        p: McNemar's; of the most flips that the counts allow where nobody knows them.
        beyond_chance: which of the two it is, by Holm over all devices; None for neither.
    """

    device: str
    test_samples: int
    accuracy: float
    beside: float
    difference: float
    gained: int | None
    lost: int | None
    p: float
    beyond_chance: Literal["better", "worse"] | None


@dataclass(frozen=True)
class Paired:
    """How much better the first run is than the second, on the devices that both have.

    Attributes:
        verdict: "better" or "worse" where `ci95` leaves 0 out, "alike" where all of it is within
            a point of it, "undecided" elsewhere; "unmeasured" without test samples.
        left_out: why devices are not compared, and how many.
        diverged: how many devices diverged in the first run, and in the second.
        mean: of the devices' differences in accuracy; None where there are none.
        ci95: the 95 % interval of the mean, from ... to.
        interval_of: "devices", by Student's t over the devices' differences; "samples", by the
            test samples alone: for a single device, for devices that differ alike, and where that
            is the wider of the two (`_interval`).
        devices: with the same number of test samples, above 0, on both sides.
        devices_better: beyond chance.
        devices_worse: beyond chance.
        test_samples: of all these devices.
        from_round: the first round from which on the mean was ahead beyond its interval; None if
            it is not at the end, or nobody knows the rounds.
        undecided_by: whose chance an undecided mean is mostly lost in: the test samples', or the
            devices' differences.
        rows: by the devices' names.
    """

    verdict: Verdict
    left_out: Mapping[str, int]
    diverged: tuple[int, int]
    mean: float | None = None
    ci95: Interval | None = None
    interval_of: Source | None = None
    devices: int = 0
    devices_better: int = 0
    devices_worse: int = 0
    test_samples: int = 0
    from_round: int | None = None
    undecided_by: Source | None = None
    rows: tuple[Row, ...] = ()


def paired(one: Side, other: Side) -> Paired:
    """Compare two runs, device by device."""
    names, left_out = _compared(one, other)
    diverged = len(one.diverged), len(other.diverged)
    if not names:
        return Paired("unmeasured", left_out, diverged)
    last = max(one.last, other.last)
    interval, source = _interval(one, other, names, last)
    rows, verdict = _rows(one, other, names), _verdict(interval)
    by = _of_samples(one, other, names, last)
    return Paired(
        verdict=verdict,
        left_out=left_out,
        diverged=diverged,
        mean=statistics.fmean(row.difference for row in rows),
        ci95=interval,
        interval_of=source,
        devices=len(names),
        devices_better=sum(row.beyond_chance == "better" for row in rows),
        devices_worse=sum(row.beyond_chance == "worse" for row in rows),
        test_samples=sum(row.test_samples for row in rows),
        from_round=_from_round(one, other, names, last),
        undecided_by=_blur(interval, source, by, len(names)) if verdict == "undecided" else None,
        rows=rows,
    )


def _compared(one: Side, other: Side) -> tuple[list[str], dict[str, int]]:
    """Return the devices that can be compared, and why the others cannot."""
    reasons = {name: _reason(name, one, other) for name in sorted({*one.samples, *other.samples})}
    left_out: dict[str, int] = {}
    for reason in filter(None, reasons.values()):
        left_out[reason] = left_out.get(reason, 0) + 1
    return [name for name, reason in reasons.items() if reason is None], left_out


def _reason(name: str, one: Side, other: Side) -> str | None:
    if any(name not in side.samples or name not in side.at(side.last) for side in (one, other)):
        return "in one run only"
    if one.samples[name] != other.samples[name]:
        return "with other test samples"
    return None if one.samples[name] else "without test samples"


def _differences(one: Side, other: Side, names: Sequence[str], number: int) -> list[float]:
    right, beside = one.at(number), other.at(number)
    return [(right[name] - beside[name]) / one.samples[name] for name in names]


def _interval(one: Side, other: Side, names: Sequence[str], number: int) -> tuple[Interval, Source]:
    """Return the 95 % interval of the mean difference, and what it is made of.

    Over the devices' differences d it is Student's: mean(d) +- t(0.975, D - 1) s(d) / sqrt(D)
    (Biometrika 1908). The fewer the devices, the more s is a matter of luck: two that differ nearly
    alike by chance leave next to no interval. But no mean is surer than its test samples make it,
    whose interval does not rest on s (`chance.of_flips`; Bonett and Price, 2012). So where it is
    known which samples were right, the wider of the two stands. A call that needs both is wrong no
    more often than one that needs either: under equality, at most 5 %. Of counts alone only the
    most flips are known, an interval that is too wide by far, and Student's stands.
    """
    found = chance.of_mean(_differences(one, other, names, number))
    if found is None:
        return _of_samples(one, other, names, number), "samples"
    devices = max(-1.0, found[0]), min(1.0, found[1])
    if all(_is_known(one, other, name, number) for name in names):
        samples = _of_samples(one, other, names, number)
        if samples[1] - samples[0] > devices[1] - devices[0]:
            return samples, "samples"
    return devices, "devices"


def _of_samples(one: Side, other: Side, names: Sequence[str], number: int) -> Interval:
    flips = [_flips(one, other, name, number) for name in names]
    return chance.of_flips(flips, [one.samples[name] for name in names])


def _blur(interval: Interval, source: Source, by_samples: Interval, devices: int) -> Source:
    """Return whether more test samples would decide: most of the variance is theirs."""
    if source == "samples":
        return "samples"
    if _verdict(by_samples) != "undecided":
        return "devices"
    whole = (interval[1] - interval[0]) / chance.student(devices - 1)
    part = (by_samples[1] - by_samples[0]) / chance.NORMAL
    return "samples" if 2 * part**2 >= whole**2 else "devices"


def _flips(one: Side, other: Side, name: str, number: int) -> Flips:
    """Return a device's flips: those that are known, or the most that there can be."""
    samples = one.samples[name]
    if _is_known(one, other, name, number):
        pairs = list(zip(one.hits[name], other.hits[name], strict=True))
        gained = sum(bool(mine and not its) for mine, its in pairs)
        return Flips(gained, sum(bool(its and not mine) for mine, its in pairs))
    return Flips(*chance.most_flips(one.at(number)[name], other.at(number)[name], samples))


def _is_known(one: Side, other: Side, name: str, number: int) -> bool:
    """Return whether both sides know which of a device's samples were right in that round."""
    known = len(one.hits.get(name, ())) == len(other.hits.get(name, ())) == one.samples[name]
    return known and number >= max(one.last, other.last)


def _verdict(interval: Interval) -> Verdict:
    low, high = interval
    if low > 0 or high < 0:
        return "better" if low > 0 else "worse"
    return "alike" if max(-low, high) < POINT else "undecided"


def _rows(one: Side, other: Side, names: Sequence[str]) -> tuple[Row, ...]:
    last = max(one.last, other.last)
    flips = [_flips(one, other, name, last) for name in names]
    values = [chance.mcnemar(*each) for each in flips]
    sure = chance.holm(values)
    return tuple(
        _row(one, other, name, each, p, certain)
        for name, each, p, certain in zip(names, flips, values, sure, strict=True)
    )


def _row(one: Side, other: Side, name: str, flips: Flips, p: float, certain: bool) -> Row:
    samples = one.samples[name]
    right, beside = one.at(one.last)[name], other.at(other.last)[name]
    known = _is_known(one, other, name, max(one.last, other.last))
    return Row(
        device=name,
        test_samples=samples,
        accuracy=right / samples,
        beside=beside / samples,
        difference=(right - beside) / samples,
        gained=int(flips.gained) if known else None,
        lost=int(flips.lost) if known else None,
        p=p,
        beyond_chance=("better" if right > beside else "worse") if certain else None,
    )


def _from_round(one: Side, other: Side, names: Sequence[str], last: int) -> int | None:
    if any(set(side.right) != set(range(side.last + 1)) for side in (one, other)):
        return None  # not every round is known
    first = None
    for number in range(last, -1, -1):
        if not all(name in side.at(number) for side in (one, other) for name in names):
            break
        if _interval(one, other, names, number)[0][0] <= 0:
            break
        first = number
    return first
