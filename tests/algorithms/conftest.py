import pytest
import torch
from torch import nn

from edgeloop.models import SplitModel


@pytest.fixture
def identity() -> SplitModel:
    """A model whose features are its two inputs and whose logits are features times (1, -1)."""
    model = SplitModel(nn.Flatten(), width=2, classes=2, features=2)
    with torch.no_grad():
        model.head.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        model.head.bias.zero_()
    return model
