"""Transformers for texts without their classifiers (Vaswani et al. 2017), as HtFLlib builds them.

A class token stands before the text; its output is the features. Every layer starts with the same
weights, padding is read like any token, and dropout is 0.5. All of that is the reference's.

Shape suffixes: B samples, T tokens, S = T + 1 with the class token, K features.
"""

import math

import torch
from torch import Tensor, nn

from edgeloop.models.text import TOKENS, Tokens, check_shape

DROPOUT = 0.5
SPREAD = 0.1  # of the embedding's first weights


class Transformer(nn.Module):
    """An embedding, sines and cosines of the positions, a class token, and encoder layers.

    Args:
        width: K.
        classes: of the classifier that is left out.
        layers: how many.
        heads: of attention, in each.
    """

    positions_TK: Tensor

    def __init__(self, width: int, classes: int, layers: int, heads: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, heads, width, DROPOUT, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.tokens = Tokens(width, padding=False)
        replaced = nn.Linear(width, classes)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.dropout = nn.Dropout(DROPOUT)
        self.register_buffer("positions_TK", positions(TOKENS, width), persistent=False)
        nn.init.uniform_(self.tokens.embedding.weight, -SPREAD, SPREAD)
        nn.init.uniform_(replaced.weight, -SPREAD, SPREAD)  # drawn before the head, as there

    def forward(self, texts_BT: Tensor) -> Tensor:
        """Return features (B, K)."""
        _, vectors_BTK = self.tokens(texts_BT)
        placed_BTK = self.dropout(vectors_BTK + self.positions_TK[: vectors_BTK.shape[1]])
        first_B1K = self.class_token.expand(placed_BTK.shape[0], -1, -1)
        outputs_BSK: Tensor = self.encoder(torch.cat([first_B1K, placed_BTK], dim=1))
        return outputs_BSK[:, 0]


def positions(tokens: int, width: int) -> Tensor:
    """Return the sines (even columns) and cosines (odd columns) of positions, (T, K)."""
    steps_T1 = torch.arange(tokens).unsqueeze(1)
    waves = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    angles = steps_T1 * waves
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


def transformer(
    shape: tuple[int, ...], classes: int, width: int, layers: int, heads: int
) -> nn.Module:
    """Return a transformer for texts: (B, T) to (B, K).

    Args:
        shape: (T,), at most 200.
        classes: of the classifier that is left out.
        width: K, an even multiple of the heads.
        layers: how many.
        heads: of attention.

    Raises:
        ValueError: inputs of another rank or longer, or a width that the heads do not divide.
    """
    check_shape(shape)
    if width % heads or width % 2:
        raise ValueError("the heads do not divide the width")
    return Transformer(width, classes, layers, heads)
