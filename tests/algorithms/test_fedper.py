import math

import numpy as np
import pytest
import torch
from torch import nn

from edgeloop import models
from edgeloop.algorithm import Batches
from edgeloop.algorithms import fedper
from edgeloop.knowledge import weights
from edgeloop.knowledge.weights import Weights, WeightsUpload
from edgeloop.models import SplitModel
from edgeloop.training.sgd import cross_entropy

CONFIG = fedper.Config(classes=3, width=4, shape=(1, 16, 16), local_lr=0.1)
ONE = Batches(torch.ones(1, 1), torch.tensor([0]), size=1)


def upload(samples: int, *values: float) -> WeightsUpload:
    return WeightsUpload(samples, np.array(values, np.float32))


@pytest.fixture
def line() -> SplitModel:
    """A model whose one feature is its input times 1 and whose logits are (feature, -feature)."""
    model = SplitModel(nn.Sequential(nn.Flatten(), nn.Linear(1, 1, bias=False)), 1, 2, features=1)
    weights.assign(model.own(), [1, 1, -1, 0, 0])
    return model


def test_bases_count_by_their_samples() -> None:
    algorithm = fedper.build(CONFIG)
    first = Weights(np.zeros(2, np.float32))
    state, broadcast = algorithm.aggregate(first, [upload(1, 0, 4), upload(3, 8, 4)])
    # (1 * 0 + 3 * 8) / 4 and (1 * 4 + 3 * 4) / 4.
    assert state.weights_P.tolist() == broadcast.weights_P.tolist() == [6.0, 4.0]
    _, alike = algorithm.aggregate(first, [upload(0, 2, 2), upload(0, 4, 8)])
    assert alike.weights_P.tolist() == [3.0, 5.0]


def test_the_base_is_taken_over_and_the_head_stays() -> None:
    algorithm = fedper.build(CONFIG)
    _, broadcast = algorithm.start()
    model = models.build("cnn", CONFIG.shape, 3, 4, seed=1)
    head = weights.flat(model.head.parameters())
    algorithm.load_broadcast(model, ONE, broadcast)
    assert weights.flat(model.base.parameters()).tolist() == broadcast.weights_P.tolist()
    assert weights.flat(model.head.parameters()).tolist() == head.tolist()
    assert algorithm.sizes == {"P": len(broadcast.weights_P)}


def test_base_and_head_learn_together_and_the_base_travels(line: SplitModel) -> None:
    algorithm = fedper.build(CONFIG)
    sent = algorithm.train(line, ONE, Weights(np.ones(1, np.float32)))
    # Feature 1, logits (1, -1), label 0: with p = e^2 / (e^2 + 1) the slope at the logits is
    # (p - 1)(1, -1); at the head's weights the same, times the feature 1; at the feature 2(p - 1).
    gap = 1 - math.exp(2) / (math.exp(2) + 1)
    assert sent.samples == 1
    assert sent.weights_P.tolist() == pytest.approx([1 + 0.1 * 2 * gap])
    assert line.head.weight.flatten().tolist() == pytest.approx([1 + 0.1 * gap, -1 - 0.1 * gap])
    assert line.head.bias.tolist() == pytest.approx([0.1 * gap, -0.1 * gap])


def test_a_client_without_a_full_batch_sends_the_base_as_it_came(line: SplitModel) -> None:
    few = Batches(torch.ones(3, 1), torch.tensor([0, 1, 1]), size=4)
    sent = fedper.build(CONFIG).train(line, few, Weights(np.ones(1, np.float32)))
    assert (sent.samples, sent.weights_P.tolist()) == (3, [1.0])


def test_loss_and_scores_are_the_heads(identity: SplitModel) -> None:
    algorithm = fedper.build(CONFIG)
    inputs = torch.tensor([[1.0, 0.0], [2.0, 2.0]])
    assert algorithm.predict(identity, inputs, None).tolist() == [[1.0, 0.0], [2.0, 2.0]]
    assert algorithm.loss is cross_entropy


def test_the_seed_draws_the_first_base() -> None:
    def drawn(seed: int) -> list[float]:
        config = fedper.Config(classes=3, width=4, shape=(1, 16, 16), seed=seed)
        first: list[float] = fedper.build(config).start()[1].weights_P.tolist()
        return first

    assert drawn(1) == drawn(1) != drawn(2)


def test_what_batch_normalisation_counts_does_not_travel() -> None:
    normalisation = nn.BatchNorm1d(1)
    model = SplitModel(nn.Sequential(nn.Flatten(), normalisation), 1, 2, features=1)
    batches = Batches(torch.tensor([[0.0], [4.0]]), torch.tensor([0, 1]), size=2)
    sent = fedper.build(CONFIG).train(model, batches, Weights(np.array([1, 0], np.float32)))
    assert len(sent.weights_P) == 2  # scale and shift, not the two running statistics
    assert normalisation.running_mean is not None
    assert normalisation.running_mean.tolist() == pytest.approx([0.1 * 2])
