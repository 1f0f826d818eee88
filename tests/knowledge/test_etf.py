import math

import pytest
import torch
from torch.nn import functional

from edgeloop.knowledge import etf


@pytest.mark.parametrize("classes", [2, 3, 10, 100])
def test_all_classes_meet_at_the_same_widest_angle(classes: int) -> None:
    frame_CC = etf.frame(classes, seed=1)
    cosines_CC = frame_CC.T @ frame_CC
    expected_CC = torch.full((classes, classes), -1 / (classes - 1)).fill_diagonal_(1.0)
    torch.testing.assert_close(cosines_CC, expected_CC, atol=1e-6, rtol=0)


def test_a_frame_is_its_seeds() -> None:
    assert torch.equal(etf.frame(5, 1), etf.frame(5, 1))
    assert not torch.allclose(etf.frame(5, 1), etf.frame(5, 2), atol=0.1)


def test_a_cosine_knows_no_length() -> None:
    frame_CC = torch.eye(2)
    projections_BC = torch.tensor([[3.0, 4.0], [0.003, 0.004], [0.0, 0.0]])
    expected_BC = torch.tensor([[0.6, 0.8], [0.6, 0.8], [0.0, 0.0]])
    torch.testing.assert_close(etf.cosines(projections_BC, frame_CC), expected_BC)


def test_the_margin_turns_the_own_class_away() -> None:
    cosines_BC = torch.tensor([[0.5, 0.2]])
    turned = math.cos(math.pi / 3 + 0.5)
    expected = functional.cross_entropy(64 * torch.tensor([[turned, 0.2]]), torch.tensor([0]))
    loss = etf.arcface_loss(cosines_BC, torch.tensor([0]), 0.5, 64.0)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("cosine", [1.0, -1.0, 1.0 + 1e-6])
def test_a_cosine_at_its_end_has_a_finite_loss_and_slope(cosine: float) -> None:
    cosines_BC = torch.tensor([[cosine, 0.0]], requires_grad=True)
    loss = etf.arcface_loss(cosines_BC, torch.tensor([0]), 0.5, 64.0)
    loss.backward()
    assert cosines_BC.grad is not None
    assert loss.isfinite()
    assert cosines_BC.grad.isfinite().all()
