"""Networks for texts and vectors: what they read, what they learn, what they refuse."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeloop import algorithms
from edgeloop.algorithm import Batches
from edgeloop.client import Client
from edgeloop.data import ClientData
from edgeloop.data.samples import Samples
from edgeloop.errors import DataError, ModelError
from edgeloop.models import ARCHITECTURES, GROUPS, build, feature_width, usual_shape
from edgeloop.models.text import Tokens, last_of
from edgeloop.models.transformer import positions
from edgeloop.training.sgd import cross_entropy, train_sgd

TEXT, WIDTH = (200,), 16
TEXTS = [name for name in ARCHITECTURES if usual_shape(name) == TEXT]
VECTORS = [name for name in ARCHITECTURES if usual_shape(name) == (5000,)]
EMBEDDING = 32_000 * WIDTH


def texts(count: int, words: int = 200) -> Tensor:
    random = torch.Generator().manual_seed(count)
    ids_BT = torch.randint(3, 32_000, (count, 200), generator=random)
    ids_BT[:, words:] = 0
    return ids_BT.float()


@pytest.mark.parametrize("name", TEXTS)
def test_networks_for_texts_learn_and_predict(name: str) -> None:
    model = build(name, TEXT, 3, WIDTH)
    assert feature_width(name, TEXT, WIDTH) == WIDTH
    before = [parameter.clone() for parameter in model.own()]
    batches = Batches(texts(4, 7), torch.tensor([0, 1, 2, 0]), 2)
    train_sgd(model, batches, cross_entropy, epochs=1, lr=0.1)
    changed = [not torch.equal(a, b) for a, b in zip(before, model.own(), strict=True)]
    assert all(changed)
    features_BK, logits_BC = model.eval()(batches.inputs)
    assert (features_BK.shape, logits_BC.shape) == ((4, WIDTH), (4, 3))
    if name in ("fasttext", "textlr", "lstm", "gru"):
        torch.testing.assert_close(features_BK.exp().sum(1), torch.ones(4))


def lstm(inputs: int, hidden: int, gates: int = 4) -> int:
    return gates * (inputs * hidden + hidden * hidden + 2 * hidden)


def encoder(width: int) -> int:
    attention = 4 * (width * width + width)
    return attention + 2 * (width * width + width) + 2 * 2 * width


@pytest.mark.parametrize(
    ("name", "rest"),
    [
        ("fasttext", WIDTH * WIDTH + WIDTH),
        ("textlr", 0),
        ("lstm", 2 * lstm(WIDTH, WIDTH)),
        ("gru", 2 * lstm(WIDTH, WIDTH, gates=3)),
        ("bilstm", 2 * lstm(WIDTH, WIDTH) + 2 * WIDTH * WIDTH + WIDTH),
        ("transformer-l2-h8", 2 * encoder(WIDTH) + WIDTH),
        ("transformer-l16-h16", 16 * encoder(WIDTH) + WIDTH),
    ],
)
def test_the_parameters_are_the_layers(name: str, rest: int) -> None:
    base = build(name, TEXT, 3, WIDTH).base
    assert sum(parameter.numel() for parameter in base.parameters()) == EMBEDDING + rest


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_what_follows_a_text_does_not_count(name: str) -> None:
    """Padding behind the last token changes nothing: a shorter input gives the same."""
    model = build(name, TEXT, 3, WIDTH).eval()
    padded = texts(2, 9)
    torch.testing.assert_close(model(padded)[1], model(padded[:, :9])[1])


def test_the_last_token_is_the_last_that_is_no_padding() -> None:
    outputs_BTK = torch.arange(8.0).reshape(2, 4, 1)
    ids_BT = torch.tensor([[5, 0, 7, 0], [0, 0, 0, 0]])
    assert last_of(outputs_BTK, ids_BT).tolist() == [[2.0], [4.0]]


def test_padding_stays_zero_where_the_embedding_knows_it() -> None:
    model = build("fasttext", TEXT, 3, WIDTH)
    batches = Batches(texts(4, 7), torch.tensor([0, 1, 2, 0]), 2)
    train_sgd(model, batches, cross_entropy, epochs=1, lr=0.1)
    weight = next(each for each in model.modules() if isinstance(each, nn.Embedding)).weight
    assert not weight[0].any()


@pytest.mark.parametrize("token", [-1.0, 32_000.0, math.nan])
def test_a_token_outside_the_vocabulary_is_named(token: float) -> None:
    wrong = texts(2)
    wrong[1, 5] = token
    with pytest.raises(
        DataError, match=r"outside a vocabulary of 32000; use token ids from 0 to 3"
    ):
        Tokens(2, padding=True)(wrong)
    with pytest.raises(DataError, match=r"inputs: token"):
        build("textlr", TEXT, 3, 2)(wrong)


def test_the_positions_of_the_paper() -> None:
    table_TK = positions(3, 4)
    assert table_TK[0].tolist() == [0, 1, 0, 1]
    expected = [math.sin(2), math.cos(2), math.sin(2 / 100), math.cos(2 / 100)]
    assert table_TK[2].tolist() == pytest.approx(expected)


def test_the_layers_of_a_transformer_start_alike_and_its_words_small() -> None:
    base = build("transformer-l2-h2", TEXT, 3, WIDTH).base
    first, second = (each.state_dict().values() for each in base.encoder.layers)  # type: ignore[union-attr]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    words = base.get_parameter("tokens.embedding.weight").detach().abs().max()
    assert 0.099 < float(words) <= 0.1


def test_heads_that_do_not_divide_the_width_do_not_fit() -> None:
    with pytest.raises(ModelError, match=r"with a width of 20; use fasttext, textlr"):
        build("transformer-l1-h8", TEXT, 3, 20)


def test_a_long_text_does_not_fit() -> None:
    with pytest.raises(ModelError, match=r"shape \(201,\); use mlp"):
        build("lstm", (201,), 3, WIDTH)


@pytest.mark.parametrize("name", VECTORS)
def test_perceptrons_learn(name: str) -> None:
    model = build(name, (50,), 2, WIDTH)
    inputs = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    batches = Batches(inputs, torch.tensor([0, 1, 1, 0]), 2)
    before = [parameter.clone() for parameter in model.own()]
    train_sgd(model, batches, cross_entropy, epochs=1, lr=0.1)
    assert not any(torch.equal(a, b) for a, b in zip(before, model.own(), strict=True))
    hidden = [int(part) for part in name.split("-")[1:]]
    widths = [50, *hidden, 100]
    linear = [each for each in model.base.modules() if isinstance(each, nn.Linear)]
    assert [each.in_features for each in linear] == widths[:-1]
    assert feature_width(name, (5000,)) == 100


def member(seed: int = 0) -> Client[object, object]:
    inputs = texts(4).numpy()
    samples = Samples(inputs, np.array([0, 1, 2, 0], np.int64))
    algorithm = algorithms.load("local", classes=3, width=WIDTH)
    model = build("gru", TEXT, 3, WIDTH)
    return Client("a", algorithm, model, ClientData(samples, samples), batch_size=2, seed=seed)


def test_dropout_draws_from_the_runs_seed_and_leaves_the_global_stream_alone() -> None:
    """So that a run is the same whatever else this process has drawn."""
    begun = algorithms.load("local", classes=3, width=WIDTH).start()[1]
    found = []
    for stirred, seed in ((0, 0), (7, 0), (0, 1)):
        torch.manual_seed(stirred)
        expected = torch.rand(2)
        torch.manual_seed(stirred)
        one = member(seed)
        one.answer(0, begun)
        assert torch.equal(torch.rand(2), expected)
        found.append(one.weights()["head.weight"].copy())
    assert (found[0] == found[1]).all()
    assert (found[0] != found[2]).any()


def test_only_models_with_dropout_draw() -> None:
    drawing = {
        name
        for name in (*TEXTS, "cnn", "resnet4", "mlp")
        if build(name, usual_shape(name), 2, WIDTH).draws
    }
    assert drawing == {"lstm", "gru", *(name for name in TEXTS if name.startswith("transformer"))}


def test_the_groups_of_texts_have_no_other_model() -> None:
    groups = [entries for name, entries in GROUPS.items() if name.startswith("htfe-txt")]
    assert {entry for entries in groups for entry in entries} == set(TEXTS)
