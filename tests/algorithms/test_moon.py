import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeloop.algorithm import Batches
from edgeloop.algorithms import fedavg, moon
from edgeloop.knowledge import weights
from edgeloop.knowledge.weights import Weights
from edgeloop.models import SplitModel

OPTIONS: dict[str, Any] = {
    "classes": 2,
    "width": 2,
    "shape": (1, 16, 16),
    "local_epochs": 2,
    "local_lr": 0.1,
}
BATCHES = Batches(torch.tensor([[1.0, 0.5], [0.2, 2.0]]), torch.tensor([0, 1]), 1)


def two_layers() -> SplitModel:
    torch.manual_seed(0)
    model = SplitModel(nn.Sequential(nn.Flatten(), nn.Linear(2, 2)), 2, 2, features=2)
    moon.init_client_state(model)
    return model


def test_the_contrast_by_hand() -> None:
    near = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    goal = torch.tensor([[3.0, 0.0], [0.0, -1.0]])
    past = torch.tensor([[0.0, 1.0], [0.0, 4.0]])
    # Cosines 1 and -1 to the goal, 0 and 1 to the past: log(1 + e^-2) and log(1 + e^4).
    expected = (math.log1p(math.exp(-2)) + math.log1p(math.exp(4))) / 2
    assert moon.contrast(near, goal, past, 0.5).item() == pytest.approx(expected)


def test_without_mu_it_is_fedavg_to_the_bit() -> None:
    mine, theirs = two_layers(), two_layers()
    broadcast = Weights(weights.flat(mine.own()))
    for _ in range(2):
        sent = moon.build(moon.Config(**OPTIONS, mu=0.0)).train(mine, BATCHES, broadcast)
        plain = fedavg.build(fedavg.Config(**OPTIONS)).train(theirs, BATCHES, broadcast)
        assert sent.weights_P.tolist() == plain.weights_P.tolist()


def test_in_the_first_step_global_and_last_model_are_one() -> None:
    """Both cosines are the same, and so the first training's first step is FedAvg's."""
    options = {**OPTIONS, "local_epochs": 1}
    one = Batches(BATCHES.inputs[:1], BATCHES.labels[:1], 1)
    mine, theirs = two_layers(), two_layers()
    broadcast = Weights(weights.flat(mine.own()))
    sent = moon.build(moon.Config(**options, mu=5.0)).train(mine, one, broadcast)
    plain = fedavg.build(fedavg.Config(**options)).train(theirs, one, broadcast)
    assert sent.weights_P == pytest.approx(plain.weights_P, abs=1e-6)


def test_the_last_model_is_kept_and_matters_in_the_next_round() -> None:
    algorithm = moon.build(moon.Config(**OPTIONS, mu=5.0))
    model = two_layers()
    broadcast = Weights(weights.flat(model.own()))
    sent = algorithm.train(model, BATCHES, broadcast)
    previous = model.kept[moon.PREVIOUS]
    assert isinstance(previous, SplitModel)
    assert weights.flat(previous.own()).tolist() == sent.weights_P.tolist()
    algorithm.load_broadcast(model, BATCHES, broadcast)
    again = algorithm.train(model, BATCHES, broadcast)
    assert np.abs(again.weights_P - sent.weights_P).max() > 1e-6


def test_no_gradient_reaches_the_other_models() -> None:
    model = two_layers()
    frozen = moon.frozen(model)
    assert not frozen(BATCHES.inputs).requires_grad
