"""One sentence on whether taking part paid, or which of two runs is better: `paired`'s."""

from dataclasses import dataclass

from edgeloop.statistics import chance
from edgeloop.statistics.chance import Interval
from edgeloop.statistics.paired import Paired, Side

FEW = 5
"""Devices: with no more of them it is their number that decides nothing, not their differences."""


@dataclass(frozen=True)
class _Words:
    better: str
    worse: str
    alike: str
    question: str
    diverged: tuple[str, str]


def sentence(found: Paired, one: Side, other: Side, alone: bool = False) -> str:
    """Say what a comparison has found, and how sure it is.

    Args:
        found: the comparison.
        one: the first run.
        other: the second.
        alone: whether the devices of the second learned alone, so that the question is whether
            taking part paid.
    """
    words = _alone() if alone else _two(one.title, other.title)
    if found.mean is None or found.ci95 is None:
        return f"Nobody knows whether {words.question}: {_nothing(found)}{_others(found)}."
    opening = {
        "better": f"{words.better}:",
        "worse": f"{words.worse}:",
        "alike": f"{words.alike}:",
        "undecided": f"Whether {words.question} cannot be decided {_because(found)}:",
    }
    return f"{opening[found.verdict]} {_numbers(found, one, other, words)}{_left(found)}."


def apart(names: tuple[str, str], right: tuple[float, float], samples: tuple[int, int]) -> str:
    """Say which of two runs is better, and how sure it is, by accuracies on other test samples.

    Args:
        names: of the two.
        right: their right answers.
        samples: their test samples.
    """
    words, interval = _two(*names), chance.newcombe(right, samples)
    if interval is None:
        return f"Nobody knows whether {words.question}: one of them has no test samples."
    low, high = interval
    opening = f"Whether {words.question} cannot be decided with so few test samples"
    if low > 0 or high < 0:
        opening = words.better if low > 0 else words.worse
    difference = points(right[0] / samples[0] - right[1] / samples[1])
    counts = " and ".join(f"{count:,}" for count in samples)
    on = f"each on its own test samples, {counts}"
    return f"{opening}: {difference} points (95 % interval {between(interval)}), {on}."


def _alone() -> _Words:
    return _Words(
        "Taking part paid",
        "Taking part cost accuracy",
        "Taking part made no difference of a point",
        "taking part paid",
        ("while taking part", "alone"),
    )


def _two(one: str, other: str) -> _Words:
    return _Words(
        f"{one} is better than {other}",
        f"{one} is worse than {other}",
        f"{one} and {other} are less than a point apart",
        f"{one} or {other} is better",
        (f"with {one}", f"with {other}"),
    )


def _because(found: Paired) -> str:
    if found.undecided_by == "samples":
        return "with so few test samples"
    few = found.devices <= FEW
    return "with so few devices" if few else "because the devices differ too much"


def _numbers(found: Paired, one: Side, other: Side, words: _Words) -> str:
    assert found.mean is not None  # noqa: S101 - else there are no numbers
    assert found.ci95 is not None  # noqa: S101
    parts = [
        f"{points(found.mean)} points ({_interval(found)}) {_devices(found)}{_runs(one, other)}",
        *_beyond(found),
        *([f"ahead from round {found.from_round}"] if found.from_round is not None else []),
        *(
            f"{pluralize(count, 'device')} diverged {where}"
            for count, where in zip(found.diverged, words.diverged, strict=True)
            if count
        ),
    ]
    return "; ".join(parts)


def _interval(found: Paired) -> str:
    assert found.ci95 is not None  # noqa: S101 - else there is no sentence on it
    own = "from its test samples" if found.devices == 1 else "by the test samples alone"
    source = f", {own}" if found.interval_of == "samples" else ""
    return f"95 % interval {between(found.ci95)}{source}"


def _beyond(found: Paired) -> list[str]:
    if found.devices == 1:
        return []
    better = pluralize(found.devices_better, "device")
    return [f"{better} better and {found.devices_worse} worse beyond chance"]


def _devices(found: Paired) -> str:
    fewest, most = (chosen(row.test_samples for row in found.rows) for chosen in (min, max))
    if found.devices == 1:
        return f"on one device with {pluralize(most, 'test sample')}, which says nothing of others"
    samples = pluralize(most, "test sample") + " each"
    samples = samples if fewest == most else f"{fewest:,} to {most:,} test samples each"
    return f"over {found.devices:,} devices with {samples}"


def _runs(one: Side, other: Side) -> str:
    if one.runs == other.runs == 1:
        return ""
    if one.runs == other.runs:
        return f", the means of {one.runs} runs on both sides"
    return f", the means of {pluralize(one.runs, 'run')} and of {pluralize(other.runs, 'run')}"


def _nothing(found: Paired) -> str:
    if not found.left_out:
        return "there is no device"
    if set(found.left_out) == {"without test samples"}:
        return "no device has a test sample"
    if set(found.left_out) == {"in one run only"}:
        return "the two have no device in common"
    return "no device has the same test samples in both"


def _others(found: Paired) -> str:
    """Tell of the devices that nothing was found of, where there are several reasons."""
    return _left(found) if len(found.left_out) > 1 else ""


def _left(found: Paired) -> str:
    if not found.left_out:
        return ""
    parts = [f"{pluralize(count, 'device')} {why}" for why, count in found.left_out.items()]
    return f"; left out: {' and '.join(parts)}"


def pluralize(number: int, thing: str) -> str:
    """Return a number of things, in the plural unless it is 1."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def points(difference: float) -> str:
    """Return a difference in accuracy in points, with its sign."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if float(text) == 0 else text


def between(interval: Interval) -> str:
    """Return an interval of differences in points; with signs only where it has both."""
    low, high = (100 * bound for bound in interval)
    nearest = min(abs(low), abs(high))
    digits = next((each for each in (1, 2, 3) if not nearest or round(nearest, each)), 4)
    form = f"+.{digits}f" if low <= 0 <= high else f".{digits}f"
    return f"{low:{form}} to {high:{form}}"


def accuracy(value: float, samples: int) -> str:
    """Return an accuracy with how many test samples it is of, and how sure they make it."""
    found = chance.wilson(value * samples, samples)
    if found is None:
        return f"{value:.4f} (no test samples)"
    return f"{value:.4f} (95 % {span(found)}, {pluralize(samples, 'test sample')})"


def span(interval: Interval | None) -> str:
    """Return an interval of accuracies; nothing for none."""
    return "" if interval is None else "{:.3f} to {:.3f}".format(*interval)
