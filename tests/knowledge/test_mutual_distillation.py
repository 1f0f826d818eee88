import math

import pytest
import torch
from torch import Tensor

from edgeloop.knowledge import mutual_distillation

EVEN = torch.tensor([[0.0, 0.0]])  # probabilities 1/2 and 1/2
SKEWED = torch.tensor([[math.log(3), 0.0]])  # probabilities 3/4 and 1/4
FIRST = torch.tensor([0])
# D(even || skewed) = (3/4 log(3/4 : 1/2) + 1/4 log(1/4 : 1/2)) / (1 sample x 2 classes)
TO_SKEWED = (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2
# D(skewed || even) = (1/2 log(1/2 : 3/4) + 1/2 log(1/2 : 1/4)) / 2
TO_EVEN = (0.5 * math.log(2 / 3) + 0.5 * math.log(2)) / 2


def test_the_divergence_is_a_mean_over_samples_and_classes() -> None:
    assert mutual_distillation.divergence(EVEN, SKEWED).item() == pytest.approx(TO_SKEWED)
    assert mutual_distillation.divergence(SKEWED, EVEN).item() == pytest.approx(TO_EVEN)
    twice = mutual_distillation.divergence(EVEN.repeat(2, 1), torch.cat([SKEWED, EVEN]))
    assert twice.item() == pytest.approx(TO_SKEWED / 2)


def test_the_goal_learns_too() -> None:
    goal = SKEWED.clone().requires_grad_(True)
    mutual_distillation.divergence(EVEN, goal).backward()
    # d/db_i of sum b (log b - log a) is b_i (log(b_i : a_i) - D): with D = 2 TO_SKEWED, halved.
    own = 0.75 * (math.log(1.5) - 2 * TO_SKEWED) / 2
    assert goal.grad is not None
    assert goal.grad.tolist()[0] == pytest.approx([own, -own])


def test_the_mutual_loss_by_hand() -> None:
    # CE(even) = log 2, CE(skewed) = log 4/3; alpha 1/4 and beta 3/4.
    expected = 0.25 * math.log(2) + 0.75 * TO_SKEWED + 0.75 * math.log(4 / 3) + 0.25 * TO_EVEN
    loss = mutual_distillation.mutual_loss(EVEN, SKEWED, FIRST, 0.25, 0.75)
    assert loss.item() == pytest.approx(expected)


def test_the_adaptive_loss_by_hand() -> None:
    teacher = torch.tensor([[1.0, 2.0]]), EVEN
    mentee = torch.tensor([[1.0, 1.0]]), SKEWED
    projection = torch.tensor([[0.0, 2.0], [2.0, 2.0]])
    # W r_g = (2, 4): gaps 1 and 2, mean square 5/2, in both losses. A = log 2 + log 4/3.
    labelled = math.log(2) + math.log(4 / 3)
    expected = labelled + (TO_SKEWED + TO_EVEN + 2 * 2.5) / labelled
    loss = mutual_distillation.adaptive_loss(teacher, mentee, FIRST, projection)
    assert loss.item() == pytest.approx(expected)


def test_the_divisor_of_the_adaptive_loss_is_not_held_fixed() -> None:
    logits = EVEN.clone().requires_grad_(True)
    same = torch.zeros(1, 1), torch.tensor([[1.0]])
    loss = mutual_distillation.adaptive_loss(
        (same[0], logits), (same[1], EVEN), FIRST, torch.ones(1, 1)
    )
    loss.backward()
    # Loss A + 2 / A with A = 2 log 2, no divergence (nor slope of it); dA/dp_0 = 1/2 - 1.
    slope = (1 - 2 / (2 * math.log(2)) ** 2) * -0.5
    assert logits.grad is not None
    assert logits.grad[0, 0].item() == pytest.approx(slope)


def test_two_perfect_networks_give_no_nan() -> None:
    sure = torch.tensor([[200.0, 0.0]]).requires_grad_(True)
    features = torch.ones(1, 1).requires_grad_(True)
    outputs: tuple[Tensor, Tensor] = features, sure
    loss = mutual_distillation.adaptive_loss(outputs, outputs, FIRST, torch.ones(1, 1))
    loss.backward()
    assert loss.item() == 0
    assert sure.grad is not None
    assert features.grad is not None
    assert sure.grad.isfinite().all()
    assert features.grad.isfinite().all()
