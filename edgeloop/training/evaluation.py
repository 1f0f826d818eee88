"""What a client's model is worth on its test samples: how many it gets right, and its AUC.

Shape suffixes: B samples of a batch, N samples, C classes.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from edgeloop.algorithm import raw_scores
from edgeloop.statistics import auc
from edgeloop.training.sgd import hits


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
    compared: Callable[[Tensor], Tensor] = raw_scores,
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


def micro_auc(scores_NC: Tensor, labels_N: Tensor) -> float:
    """Return `edgeloop.statistics.auc.micro_auc` of tensors, wherever they are."""
    return auc.micro_auc(scores_NC.detach().cpu().numpy(), labels_N.cpu().numpy())
