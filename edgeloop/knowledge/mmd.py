"""The maximum mean discrepancy (MMD): how far apart two samples' distributions are.

Shape suffixes: B points of a sample, H dimensions, M = 2B points of both samples.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

FIXED = (10.0, 15.0, 20.0, 50.0)
"""Kernel widths of FedKTL's released code."""

RELATIVE = (0.25, 0.5, 1.0, 2.0)
"""Kernel widths as shares of half the median squared distance."""


def discrepancy(ours_BH: Tensor, theirs_BH: Tensor, widths: Sequence[float] | None) -> Tensor:
    """Return the squared MMD of two samples of one size, a scalar.

    The biased estimate, diagonals included, with the kernel sum over a of exp(-d^2 / (2 a)).

    Args:
        ours_BH: one sample.
        theirs_BH: the other.
        widths: the kernel's a; None lets them follow the median distance of these points: in many
            dimensions all points are so far apart that fixed widths round every kernel to 0.
    """
    points_MH = torch.cat([ours_BH, theirs_BH])
    squares_MM = squared_distances(points_MH)
    kernel_MM = torch.zeros_like(squares_MM)
    for width in widths if widths is not None else median_widths(squares_MM.detach()):
        kernel_MM = kernel_MM + torch.exp(-squares_MM / (2 * width))
    size = len(ours_BH)
    within = kernel_MM[:size, :size] + kernel_MM[size:, size:]
    return (within - 2 * kernel_MM[:size, size:]).mean()


def squared_distances(points_MH: Tensor) -> Tensor:
    """Return the squared distances (M, M) between all points, as the released code takes them.

    Rounding leaves some of near points a little below 0. They stay there: cut off at 0 they would
    have no slope, and near points would no longer draw near.
    """
    products_MM = points_MH @ points_MH.T
    lengths_M = products_MM.diagonal()
    squares_MM: Tensor = lengths_M.unsqueeze(1) + lengths_M - 2 * products_MM
    return squares_MM


def median_widths(squares_MM: Tensor) -> list[float]:
    """Return kernel widths around half the median squared distance between different points."""
    size = len(squares_MM)
    others = ~torch.eye(size, dtype=torch.bool, device=squares_MM.device)
    half = max(float(squares_MM[others].median()) / 2, 1e-12)
    return [share * half for share in RELATIVE]
