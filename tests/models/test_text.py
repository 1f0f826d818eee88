"""Networks for texts."""

import pytest
import torch
from torch.nn import functional as F

from edgeloop.errors import DataError
from edgeloop.models import GROUPS, build
from edgeloop.models.text import VOCABULARY

NAMES = sorted({name for group, names in GROUPS.items() if "txt" in group for name in names})


@pytest.mark.parametrize("name", NAMES)
def test_a_step_of_training_lowers_the_loss(name: str) -> None:
    model = build(name, (12,), 4, 16, seed=1).eval()
    generator = torch.Generator().manual_seed(2)
    tokens_BL = torch.randint(VOCABULARY, (6, 12), generator=generator).float()
    labels_B = torch.tensor([0, 1, 2, 3, 0, 1])
    optimizer = torch.optim.SGD(model.own(), lr=0.05)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        features_BK, logits_BC = model(tokens_BL)
        assert features_BK.shape == (6, 16)
        loss = F.cross_entropy(logits_BC, labels_B)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[1] < losses[0]


def test_the_order_of_words_matters_to_those_that_read_in_order() -> None:
    tokens_BL = torch.arange(12.0).reshape(1, 12)
    back_BL = tokens_BL.flip(1)
    for name, same in (("textlr", True), ("fasttext", True), ("gru", False), ("bilstm", False)):
        model = build(name, (12,), 4, 16).eval()
        equal = torch.allclose(model(tokens_BL)[0], model(back_BL)[0], atol=1e-6)
        assert equal == same, name


@pytest.mark.parametrize("token", [-1.0, float(VOCABULARY)])
def test_a_token_that_is_no_word_is_named(token: float) -> None:
    model = build("textlr", (3,), 2, 8)
    with pytest.raises(DataError, match=r"text: token .* is not in the vocabulary; number"):
        model(torch.tensor([[0.0, 1.0, token]]))
