"""A model in two halves: a base that ends in features of one unified width, and a head.

Shape suffixes, here and in every model: B samples, K features, C classes.
"""

import torch
from torch import Tensor, nn


class SplitModel(nn.Module):
    """A client's model: any base, pooled to the unified feature width K, then a head.

    Args:
        base: inputs to a (B, any) matrix; the architecture without its classifier.
        width: K, the feature width that all clients share.
        classes: C.

    Source: HtFLlib's base/head split; the pooling runs along the feature axis and has no parameters.
    """

    def __init__(self, base: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.base = base
        self.unify = nn.AdaptiveAvgPool1d(width)
        self.head = nn.Linear(width, classes)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, K) and logits (B, C)."""
        features_BK: Tensor = self.unify(torch.flatten(self.base(inputs), 1))
        return features_BK, self.head(features_BK)
