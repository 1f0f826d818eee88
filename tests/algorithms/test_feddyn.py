import math

import numpy as np
import pytest
import torch
from torch import nn

from edgeloop.algorithm import Batches
from edgeloop.algorithms import feddyn
from edgeloop.algorithms.feddyn import State, Upload
from edgeloop.knowledge import client_vectors, weights
from edgeloop.knowledge.weights import Vector, Weights
from edgeloop.models import SplitModel

SHAPE = (1, 16, 16)
CONFIG = feddyn.Config(classes=2, width=1, shape=SHAPE, local_epochs=2, local_lr=0.5, alpha=0.4)
ONE = Batches(torch.ones(1, 1), torch.tensor([0]), size=1)
OTHER = Batches(torch.ones(1, 1), torch.tensor([1]), size=1)
NONE = np.zeros(4, np.float32)


def zeros() -> SplitModel:
    """A model that passes its one input on, with a head of zeros: weights (2, 1), then biases."""
    model = SplitModel(nn.Flatten(), 1, 2, features=1)
    weights.assign(model.own(), NONE)
    client_vectors.init_client_vector(model)
    return model


def vector(*values: float) -> Vector:
    return np.array(values, np.float32)


def test_the_first_round_is_fedproxs_and_leaves_its_slope() -> None:
    model = zeros()
    sent = feddyn.build(CONFIG).train(model, ONE, Weights(NONE))
    # As in FedProx: the second step is drawn back by alpha times the first.
    gap = 1 - 1 / (1 + math.exp(-1))
    value = 0.25 - 0.5 * (-gap + 0.4 * 0.25)
    assert sent.first
    assert sent.weights_P.tolist() == pytest.approx([value, -value, value, -value])
    kept = client_vectors.client_vector(model).values_P.tolist()
    assert kept == pytest.approx([-0.4 * value, 0.4 * value, -0.4 * value, 0.4 * value])


def test_where_the_sum_of_the_gradients_is_0_nothing_moves() -> None:
    """Each g_k is its client's gradient there, so that h is 0: the paper's fixed point."""
    algorithm = feddyn.build(CONFIG)
    uploads = []
    for batches, sign in ((ONE, -1.0), (OTHER, 1.0)):
        model = zeros()
        slope = sign * torch.tensor([0.5, -0.5, 0.5, -0.5])
        client_vectors.client_vector(model).change(slope)
        uploads.append(algorithm.train(model, batches, Weights(NONE)))
    state, broadcast = algorithm.aggregate(State(2, NONE, NONE), uploads)
    assert broadcast.weights_P.tolist() == pytest.approx([0.0] * 4, abs=1e-7)
    assert state.mean_P.tolist() == pytest.approx([0.0] * 4, abs=1e-7)


def test_the_servers_mean_is_that_of_the_clients() -> None:
    algorithm = feddyn.build(CONFIG)
    state, broadcast = State(0, NONE, NONE), Weights(NONE)
    clients = [(zeros(), ONE), (zeros(), OTHER), (zeros(), ONE)]
    for _ in range(3):
        uploads = []
        for model, batches in clients:
            weights.assign(model.own(), broadcast.weights_P)
            uploads.append(algorithm.train(model, batches, broadcast))
        state, broadcast = algorithm.aggregate(state, uploads)
        own = [client_vectors.client_vector(model).values_P.numpy() for model, _ in clients]
        assert state.mean_P == pytest.approx(np.mean(own, axis=0), abs=1e-6)
        assert np.abs(state.mean_P).max() > 0.001


def test_the_servers_step_by_hand() -> None:
    state = State(0, vector(1.0), vector(0.0))
    uploads = [Upload(True, vector(3.0)), Upload(True, vector(5.0))]
    state, broadcast = feddyn.aggregate(state, uploads, 0.5)
    # h = -0.5 (2 + 4) / 2; mean 4, minus h / 0.5.
    assert (state.clients, state.mean_P.tolist()) == (2, [-1.5])
    assert broadcast.weights_P.tolist() == state.weights_P.tolist() == [7.0]
    state, broadcast = feddyn.aggregate(state, [Upload(False, vector(8.0))], 0.5)
    assert state.mean_P.tolist() == [-1.75]  # one of two moved by 1
    assert broadcast.weights_P.tolist() == [11.5]


def test_a_client_without_a_full_batch_changes_nothing() -> None:
    few, model = Batches(torch.ones(3, 1), torch.tensor([0, 1, 1]), size=4), zeros()
    sent = feddyn.build(CONFIG).train(model, few, Weights(NONE))
    assert sent.weights_P.tolist() == [0.0] * 4
    assert client_vectors.client_vector(model).values_P.tolist() == [0.0] * 4
