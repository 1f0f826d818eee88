import math

import pytest
import torch

from edgeloop.models import SplitModel
from edgeloop.training.sgd import cross_entropy


def test_cross_entropy_by_hand(identity: SplitModel) -> None:
    batch = torch.tensor([[1.0, 0.0], [2.0, 2.0]]), torch.tensor([0, 1])
    # Logits (1, 0) and (2, 2): -log(e / (e + 1)) and log 2, their mean.
    expected = (math.log(1 + math.exp(-1)) + math.log(2)) / 2
    assert cross_entropy(identity, batch).item() == pytest.approx(expected)
