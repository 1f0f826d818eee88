import math

import numpy as np
import pytest
import torch
from torch import nn

from edgeloop.algorithm import Batches
from edgeloop.algorithms import fedavg, scaffold
from edgeloop.algorithms.scaffold import Broadcast, State, Upload
from edgeloop.knowledge import client_vectors, weights
from edgeloop.knowledge.weights import Vector, Weights
from edgeloop.models import SplitModel

SHAPE = (1, 16, 16)
CONFIG = scaffold.Config(classes=2, width=1, shape=SHAPE, local_epochs=2, local_lr=0.5)
ONE = Batches(torch.ones(1, 1), torch.tensor([0]), size=1)
OTHER = Batches(torch.ones(1, 1), torch.tensor([1]), size=1)
NONE = np.zeros(4, np.float32)
GAP = 1 - 1 / (1 + math.exp(-1))
"""1 - p of the right class where the logits are 1/2 and -1/2."""


def zeros() -> SplitModel:
    """A model that passes its one input on, with a head of zeros: weights (2, 1), then biases."""
    model = SplitModel(nn.Flatten(), 1, 2, features=1)
    weights.assign(model.own(), NONE)
    client_vectors.init_client_vector(model)
    return model


def vector(*values: float) -> Vector:
    return np.array(values, np.float32)


def test_the_first_round_is_fedavgs_and_leaves_the_mean_gradient() -> None:
    model, plain = zeros(), zeros()
    sent = scaffold.build(CONFIG).train(model, ONE, Broadcast(NONE, NONE))
    config = fedavg.Config(classes=2, width=1, shape=SHAPE, local_epochs=2, local_lr=0.5)
    expected = fedavg.build(config).train(plain, ONE, Weights(NONE))
    assert sent.first
    assert sent.weights_P.tolist() == expected.weights_P.tolist()
    # Slopes -1/2 and -(1 - p): c_i is their mean over both steps.
    mean = -(0.5 + GAP) / 2
    assert sent.change_P.tolist() == pytest.approx([mean, -mean, mean, -mean])
    kept = client_vectors.client_vector(model).values_P
    assert kept.tolist() == sent.change_P.tolist()


def test_the_second_round_steps_by_the_corrected_gradient() -> None:
    config = scaffold.Config(classes=2, width=1, shape=SHAPE, local_lr=0.5)
    model = zeros()
    client_vectors.client_vector(model).change(torch.tensor([-0.5, 0.5, -0.5, 0.5]))
    sent = scaffold.build(config).train(model, ONE, Broadcast(NONE, vector(0.25, 0, 0, -0.25)))
    # The slope is (-1/2, 1/2, -1/2, 1/2), which its c_i takes out: c remains.
    assert sent.weights_P.tolist() == pytest.approx([-0.125, 0.0, 0.0, 0.125])
    # c_i+ = c_i - c + (x - y) / eta = c_i - c + c: no change.
    assert sent.change_P.tolist() == pytest.approx([0.0] * 4)
    assert not sent.first


def test_the_mean_of_control_variates_is_the_servers_and_corrections_cancel() -> None:
    """The c - c_i of all clients sum to 0, round after round."""
    algorithm = scaffold.build(CONFIG)
    state, broadcast = State(0, NONE, NONE), Broadcast(NONE, NONE)
    clients = [(zeros(), ONE), (zeros(), OTHER), (zeros(), ONE)]
    for _ in range(3):
        uploads = []
        for model, batches in clients:
            weights.assign(model.own(), broadcast.weights_P)
            uploads.append(algorithm.train(model, batches, broadcast))
        state, broadcast = algorithm.aggregate(state, uploads)
        own = [client_vectors.client_vector(model).values_P.numpy() for model, _ in clients]
        corrections = sum(broadcast.control_P - each for each in own)
        assert np.abs(corrections).max() < 1e-6
        assert np.abs(own[0]).max() > 0.1
    assert state.clients == 3


def test_two_opposed_clients_stay_where_their_sum_is_least() -> None:
    """At zeros their gradients cancel; FedAvg's clients drift apart, these do not move."""
    config = scaffold.Config(classes=2, width=1, shape=SHAPE, local_epochs=5, local_lr=0.5)
    algorithm = scaffold.build(config)
    for batches, sign in ((ONE, -1.0), (OTHER, 1.0)):
        model = zeros()
        slope = sign * torch.tensor([0.5, -0.5, 0.5, -0.5])
        client_vectors.client_vector(model).change(slope)
        sent = algorithm.train(model, batches, Broadcast(NONE, NONE))
        assert sent.weights_P.tolist() == pytest.approx([0.0] * 4, abs=1e-7)


def test_only_some_answer() -> None:
    """Control variates of whom the server has not heard do not count; the others' stay."""
    state = State(0, vector(1.0), vector(0.0))
    first = [Upload(True, vector(3.0), vector(2.0)), Upload(True, vector(5.0), vector(4.0))]
    state, broadcast = scaffold.aggregate(state, first, 1.0)
    assert (state.clients, state.control_P.tolist()) == (2, [3.0])
    assert broadcast.weights_P.tolist() == [4.0]
    state, broadcast = scaffold.aggregate(state, [Upload(False, vector(0.0), vector(1.0))], 0.5)
    assert (state.clients, broadcast.control_P.tolist()) == (2, [3.5])
    assert broadcast.weights_P.tolist() == [2.0]
    state, _ = scaffold.aggregate(state, [Upload(True, vector(0.0), vector(0.5))], 1.0)
    assert (state.clients, state.control_P.tolist()) == (3, [2.5])


def test_a_client_without_a_full_batch_changes_nothing() -> None:
    few = Batches(torch.ones(3, 1), torch.tensor([0, 1, 1]), size=4)
    sent = scaffold.build(CONFIG).train(zeros(), few, Broadcast(NONE, vector(1, 2, 3, 4)))
    assert (sent.weights_P.tolist(), sent.change_P.tolist()) == ([0.0] * 4, [0.0] * 4)
