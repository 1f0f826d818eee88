"""What a task must be for secure aggregation: each rule as a sentence, where it is not."""

import math
from typing import TYPE_CHECKING

from edgeloop.protocol.task import LEAST_IN_A_SUM, MOST_IN_A_SUM

if TYPE_CHECKING:
    from cloud.aggregator.settings import CohortSettings


def least(cohort: "CohortSettings") -> int:
    """Return the least number of devices in each sum."""
    return max(LEAST_IN_A_SUM, cohort.quorum if isinstance(cohort.quorum, int) else 0)


def check(cohort: "CohortSettings", most: int) -> None:
    """Refuse what looks at single uploads, and sums that would hide nothing.

    Args:
        cohort: of the task.
        most: devices in the run.

    Raises:
        ValueError: saying which.
    """
    if cohort.robust not in ("auto", "none"):
        raise ValueError(f"robust = {cohort.robust} compares single uploads: leave secure out")
    if cohort.refuses_outliers:
        raise ValueError("outliers = refuse looks at single uploads: leave secure out")
    if cohort.buffer is not None:
        raise ValueError("buffer adds answers to other rounds, whose masks differ: leave it out")
    if cohort.forgotten:
        raise ValueError("forgotten: nobody can be taken out of sums again: evict it instead")
    asked = math.ceil(cohort.join_ratio * most)
    if asked < LEAST_IN_A_SUM:
        raise ValueError(f"secure needs {LEAST_IN_A_SUM} devices in a round, and {asked} are asked")
    if not cohort.admit and asked > MOST_IN_A_SUM:
        raise ValueError(f"secure takes {MOST_IN_A_SUM} devices in a round at most: give sample")
