import math
from typing import cast

import numpy as np
import pytest
import torch
from torch import nn

from edgeloop import models
from edgeloop.algorithm import Batches
from edgeloop.algorithms import ditto
from edgeloop.knowledge import weights
from edgeloop.knowledge.weights import Weights, WeightsUpload
from edgeloop.models import SplitModel
from edgeloop.training.sgd import cross_entropy

SHAPE = (1, 16, 16)
CONFIG = ditto.Config(classes=2, width=1, shape=SHAPE, local_lr=0.5, mu=0.4)
ONE = Batches(torch.ones(1, 1), torch.tensor([0]), size=1)
GLOBAL = Weights(np.array([1, 0, 0, 0], np.float32))


@pytest.fixture
def zeros() -> SplitModel:
    """A model that passes its one input on, with a head of zeros: weights (2, 1), then biases."""
    model = SplitModel(nn.Flatten(), 1, 2, features=1)
    weights.assign(model.own(), [0, 0, 0, 0])
    ditto.build(CONFIG).init_client_state(model)
    return model


def normalised() -> SplitModel:
    model = SplitModel(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(1)), 1, 2, features=1)
    ditto.build(CONFIG).init_client_state(model)
    return model


def mean_seen(model: nn.Module) -> float:
    """The running mean of the one batch normalisation in a model's base."""
    normalisation = cast(nn.BatchNorm1d, cast(nn.Sequential, model.base)[1])
    return cast(torch.Tensor, normalisation.running_mean).item()


def test_clients_count_by_their_samples() -> None:
    uploads = [WeightsUpload(n, np.array([v], np.float32)) for n, v in ((1, 0.0), (3, 8.0))]
    state, broadcast = ditto.build(CONFIG).aggregate(GLOBAL, uploads)
    assert state.weights_P.tolist() == broadcast.weights_P.tolist() == [6.0]


def test_the_personal_model_is_held_near_the_global_one_as_received(zeros: SplitModel) -> None:
    ditto.build(CONFIG).train(zeros, ONE, GLOBAL)
    # v = 0: slope (-1/2, 1/2) at the logits, plus 0.4 (v - w), w = (1, 0, 0, 0); a step of 1/2.
    assert weights.flat(zeros.own()).tolist() == pytest.approx(
        [0.5 * (0.5 + 0.4), -0.25, 0.25, -0.25]
    )


def test_the_upload_is_the_global_model_trained_without_the_term(zeros: SplitModel) -> None:
    sent = ditto.build(CONFIG).train(zeros, ONE, GLOBAL)
    # w = (1, 0, 0, 0): logits (1, 0), p = e / (e + 1), slope (p - 1)(1, -1).
    gap = 1 - math.e / (math.e + 1)
    assert sent.samples == 1
    assert sent.weights_P.tolist() == pytest.approx(
        [1 + 0.5 * gap, -0.5 * gap, 0.5 * gap, -0.5 * gap]
    )


def test_each_model_has_its_own_number_of_epochs(zeros: SplitModel) -> None:
    config = ditto.Config(classes=2, width=1, shape=SHAPE, local_lr=0.5, mu=0.0, personal_epochs=2)
    sent = ditto.build(config).train(zeros, ONE, GLOBAL)
    # v after one step: +-1/4, so logits +-1/2 and another slope of (p - 1)(1, -1).
    gap = 1 - 1 / (1 + math.exp(-1))
    assert zeros.head.bias[0].item() == pytest.approx(0.25 + 0.5 * gap)
    assert sent.weights_P[2] == pytest.approx(0.5 * (1 - math.e / (math.e + 1)))


def test_mu_is_not_the_released_nothing() -> None:
    assert ditto.Config(classes=2, width=1).mu == 1.0


def test_a_broadcast_leaves_the_evaluated_model_alone(zeros: SplitModel) -> None:
    algorithm = ditto.build(CONFIG)
    algorithm.load_broadcast(zeros, ONE, GLOBAL)
    assert weights.flat(zeros.own()).tolist() == [0.0] * 4
    assert algorithm.predict(zeros, torch.ones(1, 1), None).tolist() == [[0.0, 0.0]]


def test_every_client_starts_with_the_servers_model() -> None:
    algorithm = ditto.build(ditto.Config(classes=3, width=4, shape=SHAPE))
    _, broadcast = algorithm.start()
    same, other = (models.build("cnn", SHAPE, 3, 4, seed=seed) for seed in (0, 1))
    algorithm.init_client_state(same)
    assert weights.flat(same.own()).tolist() == broadcast.weights_P.tolist()
    assert weights.flat(other.own()).tolist() != broadcast.weights_P.tolist()
    assert algorithm.sizes == {"P": len(broadcast.weights_P)}


def test_each_model_has_its_own_normalisation_and_only_parameters_travel() -> None:
    model = normalised()
    batches = Batches(torch.tensor([[0.0], [4.0]]), torch.tensor([0, 1]), size=2)
    broadcast = Weights(np.array([1, 0, 0, 0, 0, 0], np.float32))
    config = ditto.Config(classes=2, width=1, shape=SHAPE, personal_epochs=2)
    sent = ditto.build(config).train(model, batches, broadcast)
    assert len(sent.weights_P) == 6
    # A batch of mean 2 moves the running mean by a tenth of the way: once for w, twice for v.
    assert mean_seen(model.kept[ditto.COPY]) == pytest.approx(0.2)
    assert mean_seen(model) == pytest.approx(0.38)


def test_what_is_kept_comes_back_from_a_state_dict() -> None:
    model, restored = normalised(), normalised()
    batches = Batches(torch.tensor([[0.0], [4.0]]), torch.tensor([0, 1]), size=2)
    broadcast = Weights(np.array([1, 0, 0, 0, 0, 0], np.float32))
    algorithm = ditto.build(CONFIG)
    algorithm.train(model, batches, broadcast)
    restored.load_state_dict(model.state_dict())
    sent = [
        algorithm.train(one, batches, broadcast).weights_P.tolist() for one in (model, restored)
    ]
    assert sent[0] == sent[1]
    assert weights.flat(model.own()).tolist() == weights.flat(restored.own()).tolist()
    # 0.9 x 0.2 + 0.1 x 2: the copy's statistics continue from round to round.
    assert mean_seen(restored.kept[ditto.COPY]) == pytest.approx(0.38)


def test_a_client_without_a_full_batch_sends_the_global_model(zeros: SplitModel) -> None:
    few = Batches(torch.ones(3, 1), torch.tensor([0, 1, 1]), size=4)
    sent = ditto.build(CONFIG).train(zeros, few, GLOBAL)
    assert (sent.samples, sent.weights_P.tolist()) == (3, [1.0, 0.0, 0.0, 0.0])
    assert weights.flat(zeros.own()).tolist() == [0.0] * 4


def test_the_loss_is_that_of_a_batch_alone() -> None:
    assert ditto.build(CONFIG).loss is cross_entropy
