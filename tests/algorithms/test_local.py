import math

import pytest
import torch

from edgeloop.algorithm import Batches
from edgeloop.algorithms import local
from edgeloop.models import SplitModel

CONFIG = local.Config(classes=2, width=2, local_lr=0.5)


def test_one_step_by_hand(identity: SplitModel) -> None:
    algorithm = local.build(CONFIG)
    batches = Batches(torch.tensor([[1.0, 0.0]]), torch.tensor([1]), size=1)
    algorithm.train(identity, batches, local.Nothing())
    # Logits (1, 0), label 1: the gradient at the logits is p - (0, 1) with p_0 = e / (e + 1).
    p = math.e / (math.e + 1)
    assert identity.head.bias.tolist() == pytest.approx([-0.5 * p, 0.5 * p])
    assert identity.head.weight[:, 0].tolist() == pytest.approx([1 - 0.5 * p, 0.5 * p])


def test_the_samples_that_fill_no_batch_are_left_out(identity: SplitModel) -> None:
    algorithm = local.build(CONFIG)
    before = identity.head.weight.clone()
    batches = Batches(torch.ones(3, 2), torch.tensor([0, 1, 1]), size=4)
    algorithm.train(identity, batches, local.Nothing())
    assert torch.equal(identity.head.weight, before)


def test_predicts_with_the_head(identity: SplitModel) -> None:
    scores = local.build(CONFIG).predict(identity, torch.tensor([[3.0, 5.0]]), None)
    assert scores.tolist() == [[3.0, 5.0]]
