import math

import pytest
import torch

from edgeloop.knowledge import mmd


def test_two_points_by_hand() -> None:
    """k(a,a) = k(b,b) = 1 and k(a,b) = exp(-4 / (2 * 2)): within, 2; across, twice exp(-1)."""
    loss = mmd.discrepancy(torch.zeros(1, 1), torch.full((1, 1), 2.0), (2.0,))
    assert loss.item() == pytest.approx(2 - 2 * math.exp(-1))


def test_kernels_add_up() -> None:
    ours_BH, theirs_BH = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(3))
    parts = [mmd.discrepancy(ours_BH, theirs_BH, (width,)) for width in mmd.FIXED]
    whole = mmd.discrepancy(ours_BH, theirs_BH, mmd.FIXED)
    torch.testing.assert_close(whole, torch.stack(parts).sum())


def test_the_same_sample_is_at_distance_0() -> None:
    points_BH = torch.randn(5, 3, generator=torch.Generator().manual_seed(4))
    assert mmd.discrepancy(points_BH, points_BH, None).item() == pytest.approx(0.0, abs=1e-6)


def test_near_points_draw_near() -> None:
    """The slope of double precision, also where rounding leaves squared distances below 0."""
    random = torch.Generator().manual_seed(0)
    theirs_BH = 30 * torch.randn(10, 8, generator=random)
    ours_BH = theirs_BH + 0.001 * torch.randn(10, 8, generator=random)
    slopes = []
    for points, others in ((ours_BH, theirs_BH), (ours_BH.double(), theirs_BH.double())):
        points.requires_grad_(True)
        mmd.discrepancy(points, others, mmd.FIXED).backward()
        assert points.grad is not None
        slopes.append(points.grad.double())
    least = 0.02 * slopes[1].abs().max().item()
    torch.testing.assert_close(slopes[0], slopes[1], rtol=0, atol=least)
    assert (mmd.squared_distances(torch.cat([ours_BH, theirs_BH])) < 0).any()


def test_in_many_dimensions_only_followed_widths_have_a_slope() -> None:
    theirs_BH = torch.randn(8, 16384, generator=torch.Generator().manual_seed(1))
    ours_BH = torch.randn(8, 16384, generator=torch.Generator().manual_seed(2)).requires_grad_(True)
    (slope_BH,) = torch.autograd.grad(mmd.discrepancy(ours_BH, theirs_BH, mmd.FIXED), ours_BH)
    assert slope_BH.norm() == 0
    mmd.discrepancy(ours_BH, theirs_BH, None).backward()
    assert ours_BH.grad is not None
    assert ours_BH.grad.norm() > 1e-6


def test_widths_follow_the_median() -> None:
    squares_MM = torch.tensor([[0.0, 8.0, 8.0], [8.0, 0.0, 8.0], [8.0, 8.0, 0.0]])
    assert mmd.median_widths(squares_MM) == [1.0, 2.0, 4.0, 8.0]
