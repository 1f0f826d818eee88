"""Networks for texts without their classifiers: means of words, recurrent ones, transformers.

Texts are token numbers (B, L), in float32 like every input here. The reference gives the networks'
names and wiring; the width of 128 is ours, and we leave out its log-softmax over the features, a
relic of its classifiers.

Shape suffixes: B samples, L tokens of a text, E entries of a token's vector.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from edgeloop.errors import DataError
from edgeloop.models.replaced import draw_replaced

VOCABULARY = 32_000
WIDTH = 128
TRANSFORMERS = (
    ((1, 8), (2, 8), (4, 8), (8, 8), (16, 8)),
    (
        *((4, 1), (4, 2), (4, 4), (4, 16)),
        *((1, 1), (2, 2), (16, 16)),
    ),
)
"""Layers and heads of the transformers of the groups."""


class Tokens(nn.Module):
    """Token numbers (B, L) to their vectors (B, L, E)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(VOCABULARY, width)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (B, L, E).

        Raises:
            DataError: if a token is not in the vocabulary.
        """
        if not inputs.is_meta and (inputs.min() < 0 or inputs.max() >= VOCABULARY):
            problem = f"token {int(inputs.max())} or {int(inputs.min())} is not in the vocabulary"
            raise DataError("text", problem, f"number the tokens 0 to {VOCABULARY - 1}")
        found: Tensor = self.vectors(inputs.long())
        return found


class Mean(nn.Module):
    """The mean over a text's tokens."""

    def forward(self, vectors: Tensor) -> Tensor:
        """Return (B, E) of (B, L, E)."""
        return vectors.mean(dim=1)


class Recurrent(nn.Module):
    """A recurrent network's output after the last token."""

    def __init__(self, network: nn.RNNBase) -> None:
        super().__init__()
        self.network = network

    def forward(self, vectors: Tensor) -> Tensor:
        """Return (B, E), or (B, 2 E) of both directions."""
        outputs: Tensor = self.network(vectors)[0]
        return outputs[:, -1]


class Places(nn.Module):
    """Adds a learned vector for each place in a text."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.vectors_LE = nn.Parameter(torch.randn(length, width) * 0.02)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return (B, L, E)."""
        return vectors + self.vectors_LE


def text(
    shape: tuple[int, ...], classes: int, layers: Callable[[int], list[nn.Module]], features: int
) -> nn.Module:
    """Return a network for texts: (B, L) to (B, features).

    Args:
        shape: (L,).
        classes: of the classifier that is left out.
        layers: L to what comes after the tokens' vectors.
        features: of its output.

    Raises:
        ValueError: inputs of another rank.
    """
    (length,) = shape
    network = nn.Sequential(Tokens(WIDTH), *layers(length))
    draw_replaced(features, classes)
    return network


def averaged(length: int) -> list[nn.Module]:
    """Return fastText's layers (Joulin et al. 2017): the mean word, and a linear layer."""
    return [Mean(), nn.Linear(WIDTH, WIDTH)]


def plain(length: int) -> list[nn.Module]:
    """Return a logistic regression's: the mean word alone."""
    return [Mean()]


def recurrent(length: int, kind: type[nn.LSTM] | type[nn.GRU], both: bool) -> list[nn.Module]:
    """Return a recurrent network's, in one direction or both."""
    return [Recurrent(kind(WIDTH, WIDTH, batch_first=True, bidirectional=both))]


def transformer(length: int, depth: int, heads: int) -> list[nn.Module]:
    """Return a transformer's encoder (Vaswani et al. 2017), and the mean over its outputs."""
    layer = nn.TransformerEncoderLayer(WIDTH, heads, WIDTH, batch_first=True)
    encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
    return [Places(length, WIDTH), encoder, Mean()]


BASES: Mapping[str, Callable[[tuple[int, ...], int], nn.Module]] = {
    "fasttext": partial(text, layers=averaged, features=WIDTH),
    "textlr": partial(text, layers=plain, features=WIDTH),
    "lstm": partial(text, layers=partial(recurrent, kind=nn.LSTM, both=False), features=WIDTH),
    "bilstm": partial(text, layers=partial(recurrent, kind=nn.LSTM, both=True), features=2 * WIDTH),
    "gru": partial(text, layers=partial(recurrent, kind=nn.GRU, both=False), features=WIDTH),
    **{
        f"transformer-{depth}-{heads}": partial(
            text, layers=partial(transformer, depth=depth, heads=heads), features=WIDTH
        )
        for each in TRANSFORMERS
        for depth, heads in each
    },
}
