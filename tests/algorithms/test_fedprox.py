import math

import numpy as np
import pytest
import torch
from torch import nn

from edgeloop import algorithms, models
from edgeloop.algorithm import Batches
from edgeloop.algorithms import fedprox
from edgeloop.knowledge import weights
from edgeloop.knowledge.weights import Weights, WeightsUpload
from edgeloop.models import SplitModel
from edgeloop.training.sgd import cross_entropy

SHAPE = (1, 16, 16)
CONFIG = fedprox.Config(classes=2, width=1, shape=SHAPE, local_epochs=2, local_lr=0.5, mu=0.4)
ONE = Batches(torch.ones(1, 1), torch.tensor([0]), size=1)
ZERO = Weights(np.zeros(4, np.float32))


@pytest.fixture
def zeros() -> SplitModel:
    """A model that passes its one input on, with a head of zeros: weights (2, 1), then biases."""
    model = SplitModel(nn.Flatten(), 1, 2, features=1)
    weights.assign(model.own(), ZERO.weights_P)
    return model


def test_clients_count_by_their_samples() -> None:
    uploads = [WeightsUpload(n, np.array([v], np.float32)) for n, v in ((1, 0.0), (3, 8.0))]
    state, broadcast = fedprox.build(CONFIG).aggregate(ZERO, uploads)
    assert state.weights_P.tolist() == broadcast.weights_P.tolist() == [6.0]


def test_the_second_step_is_drawn_back_to_the_global_model(zeros: SplitModel) -> None:
    sent = fedprox.build(CONFIG).train(zeros, ONE, ZERO)
    # Step 1: logits 0, slope (-1/2, 1/2), nothing to be drawn to: weights and biases +-1/4.
    # Step 2: logits +-1/2, p = 1 / (1 + e^-1), slope (p - 1)(1, -1) + 0.4 (1/4, -1/4).
    gap = 1 - 1 / (1 + math.exp(-1))
    value = 0.25 - 0.5 * (-gap + 0.4 * 0.25)
    assert sent.samples == 1
    assert sent.weights_P.tolist() == pytest.approx([value, -value, value, -value])


def test_without_mu_it_is_fedavg(zeros: SplitModel) -> None:
    config = fedprox.Config(classes=2, width=1, shape=SHAPE, local_epochs=2, local_lr=0.5, mu=0.0)
    sent = fedprox.build(config).train(zeros, ONE, ZERO)
    gap = 1 - 1 / (1 + math.exp(-1))
    assert sent.weights_P[0] == pytest.approx(0.25 + 0.5 * gap)


def test_the_variants_differ_in_mu() -> None:
    assert fedprox.Config(classes=2, width=1).mu == 1e-5
    assert algorithms.variant_options("fedprox", "released") == {}
    assert algorithms.variant_options("fedprox", "paper") == {"mu": 1.0}


def test_every_client_starts_with_the_servers_model_and_takes_it_over() -> None:
    algorithm = fedprox.build(fedprox.Config(classes=3, width=4, shape=SHAPE))
    _, broadcast = algorithm.start()
    same, other = (models.build("cnn", SHAPE, 3, 4, seed=seed) for seed in (0, 1))
    assert weights.flat(same.own()).tolist() == broadcast.weights_P.tolist()
    assert weights.flat(other.own()).tolist() != broadcast.weights_P.tolist()
    algorithm.load_broadcast(other, ONE, broadcast)
    assert weights.flat(other.own()).tolist() == broadcast.weights_P.tolist()
    assert algorithm.sizes == {"P": len(broadcast.weights_P)}


def test_a_client_without_a_full_batch_sends_the_global_model(zeros: SplitModel) -> None:
    few = Batches(torch.ones(3, 1), torch.tensor([0, 1, 1]), size=4)
    sent = fedprox.build(CONFIG).train(zeros, few, ZERO)
    assert (sent.samples, sent.weights_P.tolist()) == (3, [0.0] * 4)


def test_loss_and_scores_are_the_heads(identity: SplitModel) -> None:
    algorithm = fedprox.build(CONFIG)
    inputs = torch.tensor([[1.0, 0.0], [2.0, 2.0]])
    assert algorithm.predict(identity, inputs, None).tolist() == [[1.0, 0.0], [2.0, 2.0]]
    assert algorithm.loss is cross_entropy
