"""What a client's model is worth on its test samples: how many it gets right, and its AUC.

Shape suffixes: B samples of a batch, N samples, C classes.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from edgeloop.algorithm import as_predicted
from edgeloop.training import hits


class Evaluation(NamedTuple):
    """One client's evaluation.

    Attributes:
        correct: test samples classified right.
        auc: `micro_auc` of their scores.
        hits_N: which of them were classified right, bool (N,), in the host's memory.
    """

    correct: int
    auc: float
    hits_N: Tensor


def evaluate(
    predict: Callable[[Tensor], Tensor],
    inputs: Tensor,
    labels: Tensor,
    compared: Callable[[Tensor], Tensor] = as_predicted,
) -> Evaluation:
    """Score every sample once, and say how good the scores are.

    Args:
        predict: inputs (B, ...) to scores (B, C); for prototypes the negative distances.
        inputs: (N, ...).
        labels: (N,).
        compared: scores (N, C) to what the AUC compares; see `edgeloop.algorithm.Algorithm`.
    """
    parts: list[Tensor] = []

    def kept(inputs_B: Tensor) -> Tensor:
        parts.append(predict(inputs_B))
        return parts[-1]

    hits_N = hits(kept, inputs, labels).cpu()
    return Evaluation(int(hits_N.sum()), micro_auc(compared(torch.cat(parts)), labels), hits_N)


@torch.no_grad()
def micro_auc(scores_NC: Tensor, labels_N: Tensor) -> float:
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
    wrong = scores_NC.numel() - right
    if not right or not wrong or not bool(scores_NC.isfinite().all()):
        return math.nan
    ordered = scores_NC.flatten().sort().values
    own_N = scores_NC.gather(1, labels_N[:, None]).flatten()
    below_N = torch.searchsorted(ordered, own_N) + torch.searchsorted(ordered, own_N, right=True)
    # Twice the wins, ties as halves; the right ones beat one another right^2 / 2 times.
    return (int(below_N.sum()) - right * right) / (2 * right * wrong)
