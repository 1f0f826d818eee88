"""How far chance alone reaches: 95 % intervals of accuracies and differences, and a paired test.

Shape suffixes: D devices.
"""

import math
import statistics
from collections.abc import Sequence
from functools import lru_cache

Interval = tuple[float, float]

NORMAL = statistics.NormalDist().inv_cdf(0.975)
"""Of a 95 % interval, where the normal distribution is good enough."""
_ALIKE = 1e-12
"""Differences that are no further apart are the same: what is left is rounding."""


def wilson(right: float, samples: int) -> Interval | None:
    """Return the interval of an accuracy by its test samples; None without any.

    It is the one that a score test does not reject (Wilson, JASA 1927): within [0, 1], and wide
    enough for few samples and for accuracies near 0 and 1.
    """
    if not samples:
        return None
    share, square = right / samples, NORMAL**2
    middle = (share + square / (2 * samples)) / (1 + square / samples)
    spread = math.sqrt(share * (1 - share) / samples + square / (4 * samples**2))
    half = NORMAL * spread / (1 + square / samples)
    return max(0.0, middle - half), min(1.0, middle + half)


def newcombe(right: tuple[float, float], samples: tuple[int, int]) -> Interval | None:
    """Return the interval of the first accuracy less the second, on different test samples.

    Newcombe's hybrid score interval (Statistics in Medicine 1998); None without test samples.
    """
    first, second = (wilson(*each) for each in zip(right, samples, strict=True))
    if first is None or second is None:
        return None
    one, other = (each / count for each, count in zip(right, samples, strict=True))
    down = math.hypot(one - first[0], second[1] - other)
    up = math.hypot(first[1] - one, other - second[0])
    return one - other - down, one - other + up


def of_mean(values_D: Sequence[float]) -> Interval | None:
    """Return Student's interval of the mean; None for one value, or values that are all alike."""
    if len(values_D) < 2 or max(values_D) - min(values_D) < _ALIKE:
        return None
    mean = statistics.fmean(values_D)
    half = student(len(values_D) - 1) * statistics.stdev(values_D) / math.sqrt(len(values_D))
    return mean - half, mean + half


def of_flips(flips_D: Sequence[tuple[float, float]], samples_D: Sequence[int]) -> Interval:
    """Return the interval of the mean paired difference, by the devices' test samples alone.

    Each device's is Bonett and Price's (Journal of Educational and Behavioral Statistics 2012):
    one more sample of both kinds of flips, so that no flips are not taken for certainty.

    Args:
        flips_D: of each device, samples that only the one side has right, and only the other.
        samples_D: of each device, one at least.
    """
    shares = [
        ((gained + 1) / (samples + 2), (lost + 1) / (samples + 2), samples + 2)
        for (gained, lost), samples in zip(flips_D, samples_D, strict=True)
    ]
    mean = statistics.fmean(gained - lost for gained, lost, _ in shares)
    variance = math.fsum((g + n - (g - n) ** 2) / count for g, n, count in shares)
    half = NORMAL * math.sqrt(variance) / len(shares)
    return max(-1.0, mean - half), min(1.0, mean + half)


def most_flips(one: float, other: float, samples: int) -> tuple[float, float]:
    """Return as many flips as two counts of right answers on the same samples allow.

    The more flips, the less a difference says: whoever knows the counts alone is safe with these.
    """
    return min(one, samples - other), min(other, samples - one)


def mcnemar(gained: float, lost: float) -> float:
    """Return the p value of as uneven flips, were each as likely to go either way.

    McNemar's test (Psychometrika 1947), exact and two-sided. Counts that are no whole numbers are
    rounded towards one another.
    """
    few, many = sorted((gained, lost))
    few, many = math.ceil(few - _ALIKE), math.floor(many + _ALIKE)
    if few >= many:
        return 1.0
    flips = few + many
    whole = math.lgamma(flips + 1) - flips * math.log(2)
    tail = math.fsum(
        math.exp(whole - math.lgamma(each + 1) - math.lgamma(flips - each + 1))
        for each in range(few + 1)
    )
    return min(1.0, 2 * tail)


def holm(values_D: Sequence[float], level: float = 0.05) -> list[bool]:
    """Say which p values are beyond chance, so that all of it is true with 95 % (Holm, 1979)."""
    found = [False] * len(values_D)
    ranked = sorted(range(len(values_D)), key=values_D.__getitem__)
    for place, each in enumerate(ranked):
        if values_D[each] > level / (len(values_D) - place):
            break
        found[each] = True
    return found


@lru_cache
def student(freedom: int) -> float:
    """Return Student's t at 0.975 for so many degrees of freedom, one at least."""
    low, high = 0.0, 16.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < 0.95 else (low, middle)
    return (low + high) / 2


def _within(t: float, freedom: int) -> float:
    """Return the chance of a value between -t and t (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0 if freedom == 1 else term
    for step in range(3 if odd else 2, freedom - 1, 2):
        term *= (step - 1) / step * math.cos(angle) ** 2
        total += term
    part = math.sin(angle) * total
    return 2 / math.pi * (angle + part) if odd else part
