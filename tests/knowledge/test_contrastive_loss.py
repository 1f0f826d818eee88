import math

import pytest
import torch

from edgeloop.knowledge import contrastive_loss


@pytest.mark.parametrize(
    ("margin", "cap", "expected"),
    [("nearest", 100.0, 4.0), ("all-pairs", 100.0, 5.0), ("nearest", 2.5, 2.5)],
)
def test_the_margin_by_hand(
    margin: contrastive_loss.Distances, cap: float, expected: float
) -> None:
    # Class means (0,0), (3,0), (0,4): nearest others at 3, 3 and 4; the largest distance is 5.
    means, labels = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]), torch.tensor([0, 1, 4])
    got = contrastive_loss.adaptive_margin(means, labels, 5, margin, cap)
    assert got == expected


def test_the_margin_of_a_single_class_is_zero() -> None:
    assert contrastive_loss.adaptive_margin(torch.ones(2, 8), torch.tensor([1, 1]), 3) == 0.0


def test_the_contrastive_loss_by_hand() -> None:
    uploaded, learned = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 6.0]])
    # Distances 5 and 6; the own class (0) is handicapped by 2: logits -7 and -6.
    got = contrastive_loss.contrastive_loss(uploaded, torch.tensor([0]), learned, margin=2.0)
    assert got.item() == pytest.approx(math.log(1 + math.e))


def test_the_contrastive_loss_has_a_gradient_at_distance_zero() -> None:
    learned = torch.eye(2, requires_grad=True)
    loss = contrastive_loss.contrastive_loss(torch.eye(2), torch.arange(2), learned, margin=1.0)
    (slope,) = torch.autograd.grad(loss, learned)
    assert slope.isfinite().all()


@pytest.mark.parametrize(("classes", "batch"), [(10, 10), (3, 1), (2, 7), (1, 4)])
def test_the_written_out_gradient_is_autograds_to_the_bit(classes: int, batch: int) -> None:
    random = torch.Generator().manual_seed(0)
    uploaded = torch.rand(batch, 64, generator=random)
    learned = torch.rand(classes, 64, generator=random, requires_grad=True)
    labels = torch.randint(0, classes, (batch,), generator=random)
    learned.data[0] = uploaded[0]  # a distance of zero
    loss = contrastive_loss.contrastive_loss(uploaded, labels, learned, margin=1.7)
    (expected,) = torch.autograd.grad(loss, learned)
    gradient = contrastive_loss.contrastive_gradient(classes, margin=1.7)
    assert torch.equal(gradient(uploaded, labels, learned.detach()), expected)
