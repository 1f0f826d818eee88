import math

import numpy as np
import pytest
import torch
from torch import nn

from edgeloop import algorithms, models
from edgeloop.algorithm import Batches
from edgeloop.algorithms import fedrep
from edgeloop.knowledge import weights
from edgeloop.knowledge.weights import Weights, WeightsUpload
from edgeloop.models import SplitModel
from edgeloop.training.sgd import cross_entropy

CONFIG = fedrep.Config(classes=3, width=4, shape=(1, 16, 16), local_lr=0.5)
ONE = Batches(torch.ones(1, 1), torch.tensor([0]), size=1)
UPLOADS = [
    WeightsUpload(1, np.array([0, 4], np.float32)),
    WeightsUpload(3, np.array([8, 4], np.float32)),
]
TWO = Weights(np.array([2], np.float32))


@pytest.fixture
def line() -> SplitModel:
    """A model whose one feature is its input times 2, with a head of zeros."""
    model = SplitModel(nn.Sequential(nn.Flatten(), nn.Linear(1, 1, bias=False)), 1, 2, features=1)
    weights.assign(model.own(), [2, 0, 0, 0, 0])
    return model


def test_released_bases_count_by_their_samples_and_the_papers_alike() -> None:
    first = Weights(np.zeros(2, np.float32))
    _, released = fedrep.build(CONFIG).aggregate(first, UPLOADS)
    assert released.weights_P.tolist() == [6.0, 4.0]
    options = dict(algorithms.variant_options("fedrep", "paper"))
    paper = algorithms.load("fedrep", classes=3, width=4, shape=(1, 16, 16), **options)
    state, broadcast = paper.aggregate(first, UPLOADS)
    assert state.weights_P.tolist() == broadcast.weights_P.tolist() == [4.0, 4.0]
    assert options["head_epochs"] == 10


def test_the_base_is_taken_over_and_the_head_stays() -> None:
    algorithm = fedrep.build(CONFIG)
    _, broadcast = algorithm.start()
    model = models.build("cnn", CONFIG.shape, 3, 4, seed=1)
    head = weights.flat(model.head.parameters())
    algorithm.load_broadcast(model, ONE, broadcast)
    assert weights.flat(model.base.parameters()).tolist() == broadcast.weights_P.tolist()
    assert weights.flat(model.head.parameters()).tolist() == head.tolist()
    assert algorithm.sizes == {"P": len(broadcast.weights_P)}


def test_the_head_learns_first_and_the_base_under_the_new_head(line: SplitModel) -> None:
    sent = fedrep.build(CONFIG).train(line, ONE, TWO)
    # Head: feature 2, logits 0, slope (-1/2, 1/2), times the feature for the weights. A step of
    # 1/2 makes weights (1/2, -1/2) and biases (1/4, -1/4).
    assert line.head.weight.flatten().tolist() == pytest.approx([0.5, -0.5])
    assert line.head.bias.tolist() == pytest.approx([0.25, -0.25])
    # Base: logits +-(2 / 2 + 1/4), p = 1 / (1 + e^-2.5), slope at the feature (p - 1)(1/2 + 1/2).
    gap = 1 - 1 / (1 + math.exp(-2.5))
    assert sent.samples == 1
    assert sent.weights_P.tolist() == pytest.approx([2 + 0.5 * gap])


def test_each_half_has_its_own_number_of_epochs(line: SplitModel) -> None:
    config = fedrep.Config(classes=2, width=1, local_lr=0.5, head_epochs=2, shape=(1, 16, 16))
    fedrep.build(config).train(line, ONE, TWO)
    # The second step of the head: logits +-1.25 as above, slope (p - 1)(1, -1).
    gap = 1 - 1 / (1 + math.exp(-2.5))
    assert line.head.bias.tolist() == pytest.approx([0.25 + 0.5 * gap, -0.25 - 0.5 * gap])
    assert line.head.weight[0].item() == pytest.approx(0.5 + 0.5 * 2 * gap)


def test_a_client_without_a_full_batch_sends_the_base_as_it_came(line: SplitModel) -> None:
    few = Batches(torch.ones(3, 1), torch.tensor([0, 1, 1]), size=4)
    sent = fedrep.build(CONFIG).train(line, few, TWO)
    assert (sent.samples, sent.weights_P.tolist()) == (3, [2.0])
    assert not line.head.weight.any()


def test_loss_and_scores_are_the_heads(identity: SplitModel) -> None:
    algorithm = fedrep.build(CONFIG)
    inputs = torch.tensor([[1.0, 0.0], [2.0, 2.0]])
    assert algorithm.predict(identity, inputs, None).tolist() == [[1.0, 0.0], [2.0, 2.0]]
    assert algorithm.loss is cross_entropy


def test_the_seed_draws_the_first_base() -> None:
    def drawn(seed: int) -> list[float]:
        config = fedrep.Config(classes=3, width=4, shape=(1, 16, 16), seed=seed)
        first: list[float] = fedrep.build(config).start()[1].weights_P.tolist()
        return first

    assert drawn(1) == drawn(1) != drawn(2)


def test_batch_normalisation_counts_in_both_phases_and_does_not_travel() -> None:
    normalisation = nn.BatchNorm1d(1)
    model = SplitModel(nn.Sequential(nn.Flatten(), normalisation), 1, 2, features=1)
    batches = Batches(torch.tensor([[0.0], [4.0]]), torch.tensor([0, 1]), size=2)
    sent = fedrep.build(CONFIG).train(model, batches, Weights(np.array([1, 0], np.float32)))
    assert len(sent.weights_P) == 2  # scale and shift, not the two running statistics
    # Two passes over a batch of mean 2: 0.9 (0.1 x 2) + 0.1 x 2.
    assert normalisation.running_mean is not None
    assert normalisation.running_mean.tolist() == pytest.approx([0.38])
