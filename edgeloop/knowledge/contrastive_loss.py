"""The adaptive-margin contrastive loss (ACL) of prototypes, for FedTGP and for anybody else.

Zhang, Liu, Hua and Cao, AAAI 2024. https://arxiv.org/abs/2401.03230

Shape suffixes: B uploaded prototypes of a batch, N of a round, C classes, P those present, K
features.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeloop.hyperparameters import Distances as Distances
from edgeloop.knowledge import prototypes


def adaptive_margin(
    uploaded_NK: Tensor,
    labels_N: Tensor,
    classes: int,
    distances: Distances = "nearest",
    cap: float = 100.0,
) -> float:
    """Return delta: the largest distance between class means, at most tau. A single class has 0.

    Args:
        uploaded_NK: all clients' prototypes.
        labels_N: their classes.
        classes: C.
        distances: "nearest", of each class to its nearest other class (the released code and the
            paper's Fig. 1); "all-pairs", of any two (Eq. 9).
        cap: tau.
    """
    means_CK, counts_C = prototypes.class_means(uploaded_NK, labels_N, classes)
    present_PK = means_CK[counts_C > 0]
    if len(present_PK) < 2:
        return 0.0
    distances_PP = torch.cdist(present_PK, present_PK, compute_mode="donot_use_mm_for_euclid_dist")
    if distances == "nearest":
        distances_PP = distances_PP.fill_diagonal_(torch.inf).min(dim=1).values
    return min(distances_PP.max().item(), cap)


def contrastive_loss(
    uploaded_BK: Tensor, labels_B: Tensor, learned_CK: Tensor, margin: float
) -> Tensor:
    """Return the adaptive-margin contrastive loss (ACL), a scalar.

    Cross-entropy over minus the distances of each uploaded prototype to every learned one, its own
    class's made larger by the margin (Eq. 7 and 8). A distance of 0 has gradient 0.

    Args:
        uploaded_BK: clients' prototypes.
        labels_B: their classes.
        learned_CK: the global prototypes.
        margin: delta; `adaptive_margin` gives it.
    """
    distances_BC = torch.cdist(uploaded_BK, learned_CK, compute_mode="donot_use_mm_for_euclid_dist")
    handicap_BC = margin * F.one_hot(labels_B, len(learned_CK))
    return F.cross_entropy(-(distances_BC + handicap_BC), labels_B)


def contrastive_gradient(
    classes: int, margin: float, device: torch.device | None = None
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Return what gives `contrastive_loss`'s gradient at the learned prototypes, written out.

    The operations are those of autograd's, in its order, so that the gradient is its to the bit;
    without building a graph they take half of the time.

    Args:
        classes: C.
        margin: delta.
        device: where the prototypes are.
    """
    own_CC = torch.eye(classes, device=device)
    handicaps_CC = margin * own_CC

    def gradient(uploaded_BK: Tensor, labels_B: Tensor, learned_CK: Tensor) -> Tensor:
        distances_BC = _distances(uploaded_BK, learned_CK, 2.0, _EXACT)
        logits_BC = handicaps_CC[labels_B].add_(distances_BC).neg_()
        likely_BC = torch.log_softmax(logits_BC, 1)
        slope_BC = own_CC[labels_B].mul_(-1 / len(labels_B))
        slope_BC = _log_softmax_backward(slope_BC, likely_BC, 1, torch.float32).neg_()
        slope_CB, distances_CB = (each.mT.contiguous() for each in (slope_BC, distances_BC))
        slope_CK: Tensor = _distances_backward(slope_CB, learned_CK, uploaded_BK, 2.0, distances_CB)
        return slope_CK

    return gradient


_EXACT = 2  # of cdist's ways: "donot_use_mm_for_euclid_dist"
_distances = torch.ops.aten._cdist_forward.default
_distances_backward = torch.ops.aten._cdist_backward.default
_log_softmax_backward = torch.ops.aten._log_softmax_backward_data.default
