"""Mutual distillation: two networks learn from the labels and from each other's outputs.

Nothing is detached: both losses reach both networks, so that a client descends their sum.

Shape suffixes: B samples of a batch, C classes, K features.
"""

import torch.nn.functional as F
from torch import Tensor

MIN_PROBABILITY = 1e-8
"""The least that a distillation term is divided by: two perfect networks give no 0 / 0."""

Outputs = tuple[Tensor, Tensor]
"""Features (B, K) and logits (B, C) of one network on a batch."""


def divergence(logits_BC: Tensor, goal_BC: Tensor) -> Tensor:
    """Return how far a network's class probabilities are from the goal's, a scalar.

    D(a || b), the sum of softmax(b) (log softmax(b) - log softmax(a)) over samples and classes,
    divided by B C as in the released codes of FML and FedKD: C times less than a mean over samples.

    Args:
        logits_BC: a, the network's.
        goal_BC: b, what it should come to; the gradient reaches it too.
    """
    ours_BC = F.log_softmax(logits_BC, dim=1)
    theirs_BC = F.log_softmax(goal_BC, dim=1)
    return (theirs_BC.exp() * (theirs_BC - ours_BC)).mean()


def mutual_loss(
    logits_BC: Tensor, others_BC: Tensor, labels_B: Tensor, share: float, others_share: float
) -> Tensor:
    """Return the sum of both networks' losses, a scalar: FML's.

    L_p = alpha CE(p, y) + (1 - alpha) D(p || q), L_q = beta CE(q, y) + (1 - beta) D(q || p).

    Args:
        logits_BC: p, of one network.
        others_BC: q, of the other.
        labels_B: y.
        share: alpha, the part of cross-entropy in the one's loss.
        others_share: beta, the part in the other's.
    """
    one = share * F.cross_entropy(logits_BC, labels_B)
    other = others_share * F.cross_entropy(others_BC, labels_B)
    apart = (1 - share) * divergence(logits_BC, others_BC)
    others_apart = (1 - others_share) * divergence(others_BC, logits_BC)
    return one + apart + other + others_apart


def adaptive_loss(
    teacher: Outputs, mentee: Outputs, labels_B: Tensor, projection_KK: Tensor
) -> Tensor:
    """Return the sum of a teacher's and its mentee's losses, a scalar: FedKD's.

    L = CE(p, y) + D(p || q) / A + MSE(r, W r_g) / A and L_g = CE(q, y) + D(q || p) / A +
    MSE(r, W r_g) / A, with A = CE(p, y) + CE(q, y): the better both are, the more they listen to
    each other. A divides as at least `MIN_PROBABILITY`.

    Args:
        teacher: r and p.
        mentee: r_g and q.
        labels_B: y.
        projection_KK: W, from the mentee's features to the teacher's.
    """
    (features_BK, logits_BC), (mentees_BK, others_BC) = teacher, mentee
    labelled = F.cross_entropy(logits_BC, labels_B) + F.cross_entropy(others_BC, labels_B)
    apart = divergence(logits_BC, others_BC) + divergence(others_BC, logits_BC)
    hidden = F.mse_loss(F.linear(mentees_BK, projection_KK), features_BK)
    return labelled + (apart + 2 * hidden) / labelled.clamp(min=MIN_PROBABILITY)
