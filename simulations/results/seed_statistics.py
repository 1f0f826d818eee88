"""What several runs say together: mean, spread, and how sure one can be of the mean.

Shape suffix: R runs.
"""

import math
import statistics
from collections.abc import Sequence
from typing import Any

# Student's t at 0.975 for 1 ... 30 degrees of freedom; beyond them the normal distribution's.
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
_NORMAL = 1.960


def describe_values(values_R: Sequence[float]) -> dict[str, Any]:
    """Return mean, std (of a sample, ddof 1) and ci95 of runs; the last two are None for one run.

    ci95 is half the width of the 95 % confidence interval of the mean, by Student's t.
    """
    mean = statistics.fmean(values_R)
    runs = len(values_R)
    if runs < 2:
        return {"mean": mean, "std": None, "ci95": None, "runs": list(values_R)}
    std = statistics.stdev(values_R)
    quantile = _T[runs - 2] if runs - 2 < len(_T) else _NORMAL
    return {
        "mean": mean,
        "std": std,
        "ci95": quantile * std / math.sqrt(runs),
        "runs": list(values_R),
    }
