import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from edgeloop import algorithms, models
from edgeloop.algorithm import Batches
from edgeloop.algorithms import perfedavg
from edgeloop.knowledge import weights
from edgeloop.knowledge.weights import Weights, WeightsUpload
from edgeloop.models import SplitModel
from edgeloop.training.sgd import cross_entropy

SHAPE = (1, 16, 16)
CONFIG = perfedavg.Config(classes=2, width=1, shape=SHAPE, repeats=1, local_lr=0.5, outer_lr=0.25)
PAIR = Batches(torch.ones(2, 1), torch.tensor([0, 1]), size=1)
ZERO = Weights(np.zeros(4, np.float32))
SIGNS = np.array([1, -1, 1, -1])


@pytest.fixture
def zeros() -> SplitModel:
    """A model that passes its one input on, with a head of zeros: weights (2, 1), then biases."""
    model = SplitModel(nn.Flatten(), 1, 2, features=1)
    weights.assign(model.own(), ZERO.weights_P)
    return model


def test_clients_count_by_their_samples() -> None:
    uploads = [WeightsUpload(n, np.array([v], np.float32)) for n, v in ((1, 0.0), (3, 8.0))]
    state, broadcast = perfedavg.build(CONFIG).aggregate(ZERO, uploads)
    assert state.weights_P.tolist() == broadcast.weights_P.tolist() == [6.0]


def test_a_meta_step_by_hand(zeros: SplitModel) -> None:
    sent = perfedavg.build(CONFIG).train(zeros, PAIR, ZERO)
    # Inner: logits 0, label 0, slope (-1/2, 1/2), step 1/2: theta' = +-1/4, logits +-1/2.
    # Outer, label 1: p = 1 / (1 + e^-1), slope p (1, -1), taken from theta = 0 with step 1/4.
    p = 1 / (1 + math.exp(-1))
    assert sent.samples == 2
    assert sent.weights_P.tolist() == pytest.approx(-0.25 * p * SIGNS)


def test_a_second_order_meta_step_by_hand(zeros: SplitModel) -> None:
    config = replace(CONFIG, second_order=True)
    sent = perfedavg.build(config).train(zeros, PAIR, ZERO)
    # As above, u the signs: outer slope p u. The Hessian of log(1 + e^-d), d = u theta, at 0 is
    # u u^T / 4, and u u = 4: H p u = p u, so that p u - 1/2 p u is left.
    p = 1 / (1 + math.exp(-1))
    assert sent.weights_P.tolist() == pytest.approx(-0.25 * 0.5 * p * SIGNS)


def test_the_second_order_gradient_is_that_of_the_meta_objective() -> None:
    torch.manual_seed(1)
    model = SplitModel(nn.Sequential(nn.Linear(3, 4), nn.Tanh()), 4, 2, features=4).double()
    inputs = torch.randn(2, 5, 3, dtype=torch.float64)
    first, second = ((batch, torch.tensor([0, 1, 1, 0, 1])) for batch in inputs)
    start = [parameter.detach().clone() for parameter in model.own()]

    def after_the_inner_step() -> float:
        moved = copy.deepcopy(model)
        perfedavg.sgd_step(moved.own(), perfedavg.gradients(moved, first), 0.7)
        return cross_entropy(moved, second).item()

    expected, tiny = [], 1e-6
    for parameter in model.own():
        for entry in parameter.detach().view(-1).split(1):
            ends = []
            for away in (tiny, -2 * tiny):
                entry.add_(away)
                ends.append(after_the_inner_step())
            entry.add_(tiny)
            expected.append((ends[0] - ends[1]) / (2 * tiny))
    perfedavg.second_order_step(model, first, second, 0.7, 1.0)
    gone = [old - new.detach() for old, new in zip(start, model.own(), strict=True)]
    found = torch.cat([each.flatten() for each in gone])
    torch.testing.assert_close(found, torch.tensor(expected).double(), atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("architecture", ["cnn", "resnet4", "hcnn1"])
def test_the_papers_round_trains_models_of_every_kind(architecture: str) -> None:
    options = algorithms.variant_options("perfedavg", "paper")
    config = perfedavg.Config(classes=3, width=4, shape=SHAPE, architecture=architecture, **options)
    model = models.build(architecture, SHAPE, 3, 4)
    random = torch.Generator().manual_seed(0)
    batches = Batches(torch.randn(8, *SHAPE, generator=random), torch.arange(8) % 3, size=2)
    broadcast = perfedavg.build(config).start()[1]
    sent = perfedavg.build(config).train(model, batches, broadcast)
    first = perfedavg.build(replace(config, second_order=False)).train(model, batches, broadcast)
    assert np.isfinite(sent.weights_P).all()
    assert np.abs(sent.weights_P - broadcast.weights_P).max() > 0
    assert np.abs(sent.weights_P - first.weights_P).max() > 0


def test_the_released_outer_step_is_as_long_as_the_inner_and_taken_twice(
    zeros: SplitModel,
) -> None:
    config = perfedavg.Config(classes=2, width=1, shape=SHAPE, local_lr=0.5)
    sent = perfedavg.build(config).train(zeros, PAIR, ZERO)
    theta = 0.0
    for _ in range(2):
        # All weights are +-theta, logits +-2 theta, slope at label 0 (p - 1) and at label 1 p.
        ahead = theta - 0.5 * (1 / (1 + math.exp(-4 * theta)) - 1)
        theta = theta - 0.5 / (1 + math.exp(-4 * ahead))
    assert sent.weights_P.tolist() == pytest.approx(theta * SIGNS)


def test_training_starts_again_from_the_broadcast(zeros: SplitModel) -> None:
    algorithm = perfedavg.build(CONFIG)
    fresh = algorithm.train(zeros, PAIR, ZERO).weights_P.tolist()
    algorithm.load_broadcast(zeros, PAIR, ZERO)
    assert algorithm.train(zeros, PAIR, ZERO).weights_P.tolist() == fresh


def test_the_evaluated_model_is_one_step_from_the_global_one(zeros: SplitModel) -> None:
    algorithm = perfedavg.build(CONFIG)
    weights.assign(zeros.own(), [5, 5, 5, 5])
    algorithm.load_broadcast(zeros, PAIR, ZERO)
    # The first batch alone: slope (-1/2, 1/2), step 1/2.
    assert weights.flat(zeros.own()).tolist() == [0.25, -0.25, 0.25, -0.25]
    assert algorithm.predict(zeros, torch.ones(1, 1), None).tolist() == [[0.5, -0.5]]


def test_an_epoch_is_its_pairs_of_batches() -> None:
    batches = Batches(torch.arange(7.0), torch.arange(7), size=1)
    labels = [(first[1].item(), second[1].item()) for first, second in perfedavg.pairs(batches, 0)]
    assert labels == [(0, 1), (2, 3), (4, 5)]


def test_a_client_without_two_batches_does_not_train(zeros: SplitModel) -> None:
    algorithm = perfedavg.build(CONFIG)
    few = Batches(torch.ones(3, 1), torch.tensor([0, 1, 1]), size=2)
    sent = algorithm.train(zeros, few, ZERO)
    assert (sent.samples, sent.weights_P.tolist()) == (3, [0.0] * 4)


def test_a_client_without_a_batch_is_evaluated_as_it_came(zeros: SplitModel) -> None:
    few = Batches(torch.ones(3, 1), torch.tensor([0, 1, 1]), size=4)
    perfedavg.build(CONFIG).load_broadcast(zeros, few, ZERO)
    assert weights.flat(zeros.own()).tolist() == [0.0] * 4


def test_the_variants() -> None:
    paper = algorithms.config(
        "perfedavg", classes=2, width=1, **algorithms.variant_options("perfedavg", "paper")
    )
    released = perfedavg.Config(classes=2, width=1)
    assert (paper.repeats, paper.outer_lr, paper.second_order) == (1, 0.001, True)
    assert (released.repeats, released.outer_lr, released.second_order) == (2, None, False)


def test_every_client_starts_with_the_servers_model() -> None:
    algorithm = perfedavg.build(perfedavg.Config(classes=3, width=4, shape=SHAPE))
    _, broadcast = algorithm.start()
    same, other = (models.build("cnn", SHAPE, 3, 4, seed=seed) for seed in (0, 1))
    assert weights.flat(same.own()).tolist() == broadcast.weights_P.tolist()
    assert weights.flat(other.own()).tolist() != broadcast.weights_P.tolist()
    assert algorithm.sizes == {"P": len(broadcast.weights_P)}


def test_the_loss_is_that_of_a_batch_alone() -> None:
    assert perfedavg.build(CONFIG).loss is cross_entropy
