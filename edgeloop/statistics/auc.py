"""The area under the ROC curve, in whole numbers; it needs no torch.

Shape suffixes: N samples, C classes.
"""

import math

import numpy as np
from numpy.typing import NDArray


def micro_auc(scores_NC: NDArray[np.floating], labels_N: NDArray[np.int64]) -> float:
    """Return the micro-averaged one-vs-rest area under the ROC curve.

    Every pair of a sample and a class is one decision, right where the class is the sample's. The
    area is the chance that a right one scores higher than a wrong one; a tie is worth a half. It is
    counted in whole numbers, so that it depends on no order of summing. The same as scikit-learn's
    `roc_auc_score(one_hot, scores, average="micro")`, which HtFLlib and PFLlib report.

    Args:
        scores_NC: the highest is the sample's class.
        labels_N: int64.

    Returns:
        a number in [0, 1]; NaN without samples, with a single class, or with a score that is not
        finite, as of a class without a prototype.
    """
    right = len(labels_N)
    wrong = scores_NC.size - right
    if not right or not wrong or not np.isfinite(scores_NC).all():
        return math.nan
    ordered = np.sort(scores_NC, axis=None)
    own_N = scores_NC[np.arange(right), labels_N]
    below = np.searchsorted(ordered, own_N) + np.searchsorted(ordered, own_N, side="right")
    # Twice the wins, ties as halves; the right ones beat one another right^2 / 2 times.
    return (int(below.sum()) - right * right) / (2 * right * wrong)
