import numpy as np
import pytest
import torch
from torch import nn

from edgeloop.algorithm import Batches
from edgeloop.algorithms import fedavg, fednova
from edgeloop.algorithms.fednova import Upload
from edgeloop.knowledge import weights
from edgeloop.knowledge.weights import Vector, Weights, WeightsUpload
from edgeloop.models import SplitModel

CONFIG = fednova.Config(classes=2, width=1, shape=(1, 16, 16), local_epochs=3, local_lr=0.5)
AVERAGING = fedavg.Config(classes=2, width=1, shape=(1, 16, 16), local_epochs=3, local_lr=0.5)
BEFORE = Weights(np.array([1.0, -2.0], np.float32))


def vector(*values: float) -> Vector:
    return np.array(values, np.float32)


def test_with_equal_steps_it_is_fedavg() -> None:
    sent = [(1, vector(0.0, 3.0)), (3, vector(8.0, -1.0)), (4, vector(2.5, 0.25))]
    mine = fednova.aggregate(BEFORE, [Upload(n, 7, each) for n, each in sent])[1]
    theirs = fedavg.build(AVERAGING).aggregate(BEFORE, [WeightsUpload(*each) for each in sent])[1]
    assert mine.weights_P.tolist() == pytest.approx(theirs.weights_P.tolist())


def test_more_steps_do_not_count_for_more() -> None:
    """One client steps 4 times by 1, the other once by -1: 2.5 steps of the mean of both, 0."""
    uploads = [Upload(5, 4, vector(5.0, 2.0)), Upload(5, 1, vector(0.0, -3.0))]
    state, broadcast = fednova.aggregate(BEFORE, uploads)
    assert state.weights_P.tolist() == broadcast.weights_P.tolist() == [1.0, -2.0]
    # With 3 of 4 samples the first's mean step is 1 (3/4) - 1 (1/4), 3.25 times.
    uploads = [Upload(3, 4, vector(5.0, 2.0)), Upload(1, 1, vector(0.0, -3.0))]
    _, broadcast = fednova.aggregate(BEFORE, uploads)
    assert broadcast.weights_P.tolist() == pytest.approx([1 + 1.625, -2 + 1.625])


def test_a_client_says_its_steps() -> None:
    model = SplitModel(nn.Flatten(), 1, 2, features=1)
    weights.assign(model.own(), np.zeros(4, np.float32))
    batches = Batches(torch.ones(5, 1), torch.tensor([0, 0, 1, 0, 1]), size=2)
    sent = fednova.build(CONFIG).train(model, batches, Weights(np.zeros(4, np.float32)))
    assert (sent.samples, sent.steps) == (5, 6)
    assert sent.weights_P.tolist() == weights.flat(model.own()).tolist()


def test_who_takes_no_step_moves_nothing() -> None:
    uploads = [Upload(1, 0, BEFORE.weights_P), Upload(1, 2, vector(3.0, 0.0))]
    _, broadcast = fednova.aggregate(BEFORE, uploads)
    # One step on average, of half of (1, 1).
    assert broadcast.weights_P.tolist() == pytest.approx([1.5, -1.5])
    _, broadcast = fednova.aggregate(BEFORE, [Upload(0, 0, BEFORE.weights_P)])
    assert broadcast.weights_P.tolist() == BEFORE.weights_P.tolist()


def test_negative_numbers_are_refused() -> None:
    for numbers in ((-1, 1), (1, -1)):
        with pytest.raises(ValueError, match="negative"):
            Upload(*numbers, vector(1.0))
