"""Networks for texts without their classifiers: fastText, TextLR, LSTM, BiLSTM and GRU of HtFLlib.

An input is the ids of a text's tokens as floats, 0 for padding at its end. Every width is K, the
unified one. Four of them end in the log-softmax that follows the classifier in the reference: with
the classifier cut away it is taken of the features.

Differences from the released code: the recurrent networks read their output at the last token that
is no padding. So do its GRU and BiLSTM, with lengths that come with the data; its LSTM takes the
last step of the longest text in the batch, which for a shorter text is zero.

Shape suffixes: B samples, T tokens, K features.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeloop.errors import DataError
from edgeloop.models.replaced import draw_replaced

VOCABULARY = 32_000
TOKENS = 200
PADDING = 0


class Tokens(nn.Module):
    """An embedding that reads ids from floats, and says which one is none.

    Args:
        width: K.
        padding: embed padding as zeros, for good.
    """

    def __init__(self, width: int, padding: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width, PADDING if padding else None)

    def forward(self, texts_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Return the ids (B, T) and their vectors (B, T, K).

        Raises:
            DataError: an id outside the vocabulary.
        """
        ids_BT = texts_BT.long()
        if not ids_BT.is_meta:
            check_ids(ids_BT)
        return ids_BT, self.embedding(ids_BT)


def check_ids(ids_BT: Tensor) -> None:
    """Refuse ids (B, T) that the vocabulary does not have.

    Raises:
        DataError: naming one.
    """
    strange = ids_BT[(ids_BT < 0) | (ids_BT >= VOCABULARY)]
    if len(strange):
        problem = f"token {int(strange[0])} is outside a vocabulary of {VOCABULARY}"
        raise DataError("inputs", problem, f"use token ids from 0 to {VOCABULARY - 1}")


def last_of(outputs_BTK: Tensor, ids_BT: Tensor) -> Tensor:
    """Return the outputs (B, K) at each text's last token that is no padding, else at its first."""
    positions_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
    last_B = (positions_T * (ids_BT != PADDING)).amax(dim=1)
    index_B1K = last_B[:, None, None].expand(-1, 1, outputs_BTK.shape[2])
    return outputs_BTK.gather(1, index_B1K).squeeze(1)


class MeanOfTokens(nn.Module):
    """fastText (Joulin et al. 2017) with a linear layer behind the mean, or TextLR without.

    Args:
        width: K.
        linear: whether there is that layer.
    """

    def __init__(self, width: int, linear: bool) -> None:
        super().__init__()
        self.tokens = Tokens(width, padding=linear)
        self.linear = nn.Linear(width, width) if linear else nn.Identity()

    def forward(self, texts_BT: Tensor) -> Tensor:
        """Return features (B, K)."""
        _, vectors_BTK = self.tokens(texts_BT)
        return F.log_softmax(self.linear(vectors_BTK.mean(dim=1)), dim=1)


class Recurrent(nn.Module):
    """Two recurrent layers, of LSTM or GRU, with dropout between and behind them.

    Args:
        width: K.
        lstm: LSTM, with a ReLU behind it; else GRU.
    """

    def __init__(self, width: int, lstm: bool) -> None:
        super().__init__()
        self.tokens = Tokens(width, padding=True)
        kind = nn.LSTM if lstm else nn.GRU
        self.recurrent = kind(width, width, num_layers=2, dropout=0.2, batch_first=True)
        self.behind = nn.Sequential(nn.ReLU() if lstm else nn.Identity(), nn.Dropout(0.2))

    def forward(self, texts_BT: Tensor) -> Tensor:
        """Return features (B, K)."""
        ids_BT, vectors_BTK = self.tokens(texts_BT)
        last_BK = last_of(self.recurrent(vectors_BTK)[0], ids_BT)
        return F.log_softmax(self.behind(last_BK), dim=1)


class Bidirectional(nn.Module):
    """One LSTM layer in each direction, and a linear layer behind both.

    The way back begins at the end of the padding, as released.

    Args:
        width: K.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.tokens = Tokens(width, padding=False)
        self.recurrent = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(2 * width, width)

    def forward(self, texts_BT: Tensor) -> Tensor:
        """Return features (B, K)."""
        ids_BT, vectors_BTK = self.tokens(texts_BT)
        features_BK: Tensor = self.linear(last_of(self.recurrent(vectors_BTK)[0], ids_BT))
        return features_BK


def text(shape: tuple[int, ...], classes: int, width: int, kind: str) -> nn.Module:
    """Return a network for texts: (B, T) to (B, K).

    Args:
        shape: (T,), at most 200.
        classes: of the classifier that is left out.
        width: K.
        kind: fasttext, textlr, lstm, bilstm or gru.

    Raises:
        ValueError: inputs of another rank, or longer.
    """
    check_shape(shape)
    base: nn.Module
    if kind in ("fasttext", "textlr"):
        base = MeanOfTokens(width, linear=kind == "fasttext")
    elif kind == "bilstm":
        base = Bidirectional(width)
    else:
        base = Recurrent(width, lstm=kind == "lstm")
    draw_replaced(width, classes)
    return base


def check_shape(shape: tuple[int, ...]) -> None:
    """Refuse what is no text.

    Raises:
        ValueError: inputs of another rank than (T,), or longer than 200.
    """
    (tokens,) = shape
    if tokens > TOKENS:
        raise ValueError("too many tokens")
