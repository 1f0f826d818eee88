from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeloop.algorithm import Batches
from edgeloop.algorithms import fedl2g
from edgeloop.algorithms.fedl2g import Gradients, Guides, State, Targets
from edgeloop.knowledge import weights
from edgeloop.models import SplitModel

OPTIONS: dict[str, Any] = {"classes": 3, "width": 2, "local_lr": 0.1, "warm_up": 1}
BATCHES = Batches(
    torch.tensor([[1.0, 0.5], [0.2, 2.0], [1.5, -1.0], [0.3, 0.7]]), torch.tensor([0, 1, 0, 1]), 2
)


def two_layers() -> SplitModel:
    torch.manual_seed(0)
    return SplitModel(nn.Sequential(nn.Flatten(), nn.Linear(2, 2)), 2, 3, features=2)


def vectors() -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]], np.float32)


@pytest.mark.parametrize("guide", ["features", "logits"])
def test_the_gradient_is_that_of_differences(guide: Any) -> None:
    """The quiz's loss after the step, with each entry of each vector moved a little."""
    config = fedl2g.Config(**OPTIONS, guide=guide)
    model = two_layers().double()
    inputs = BATCHES.inputs.double()
    parts = fedl2g.divide(Batches(inputs, BATCHES.labels, 2), config)
    entries = 2 if guide == "features" else 3
    start = torch.randn(3, entries, generator=torch.Generator().manual_seed(0)).double()
    sent = fedl2g.guide_gradients(model, parts, Targets(start), config)
    assert sent.labels_N.tolist() == [0, 1]  # nobody studies class 2
    for row, label in enumerate(sent.labels_N.tolist()):
        for entry in range(entries):
            losses = []
            for step in (1e-4, -1e-4):
                moved = start.clone()
                moved[label, entry] += step
                losses.append(fedl2g.loss_after_step(model, parts, Targets(moved), config).item())
            slope = (losses[0] - losses[1]) / 2e-4
            assert sent.gradients_ND[row, entry] == pytest.approx(slope, rel=1e-5)


def test_in_the_warm_up_no_client_trains() -> None:
    algorithm = fedl2g.build(fedl2g.Config(**OPTIONS))
    model = two_layers()
    before = weights.flat(model.own())
    state, broadcast = algorithm.start()
    assert not broadcast.training
    sent = algorithm.train(model, BATCHES, broadcast)
    assert weights.flat(model.own()).tolist() == before.tolist()
    _, broadcast = algorithm.aggregate(state, [sent])
    assert broadcast.training
    algorithm.train(model, BATCHES, broadcast)
    assert (weights.flat(model.own()) != before).any()


def test_the_quiz_is_held_out() -> None:
    """Training is the same whatever the quiz's samples are; the gradient is not."""
    algorithm = fedl2g.build(fedl2g.Config(**OPTIONS))
    other = BATCHES.inputs.clone()
    other[:2] = 7.0
    one, two = two_layers(), two_layers()
    sent = algorithm.train(one, BATCHES, Guides(True, vectors()))
    changed = algorithm.train(two, Batches(other, BATCHES.labels, 2), Guides(True, vectors()))
    assert weights.flat(one.own()).tolist() == weights.flat(two.own()).tolist()
    assert sent.gradients_ND.tolist() != changed.gradients_ND.tolist()


def test_too_few_samples_for_a_quiz() -> None:
    algorithm = fedl2g.build(fedl2g.Config(**OPTIONS))
    model = two_layers()
    before = weights.flat(model.own())
    few = Batches(BATCHES.inputs[:3], BATCHES.labels[:3], 2)
    sent = algorithm.train(model, few, Guides(True, vectors()))
    assert sent.gradients_ND.shape == (0, 2)
    assert (weights.flat(model.own()) != before).any()


def test_the_servers_step_by_hand() -> None:
    algorithm = fedl2g.build(fedl2g.Config(**OPTIONS, server_lr=10.0))
    one = Gradients(np.array([0, 1]), np.array([[0.1, 0.0], [0.2, 0.4]], np.float32))
    two = Gradients(np.array([1]), np.array([[0.0, 0.2]], np.float32))
    state, broadcast = algorithm.aggregate(State(0, vectors()), [one, two])
    expected = [[0.0, 0.0], [-1.0, -2.0], [2.0, 2.0]]
    assert np.array(expected) == pytest.approx(broadcast.vectors_CD, abs=1e-6)
    assert state.rounds == 1


def test_a_long_gradient_is_clipped() -> None:
    long = np.array([[60.0, 80.0], [0.0, 0.0]]) * 3
    assert fedl2g.clipped(long, 100.0).tolist() == [[60.0, 80.0], [0.0, 0.0]]
    assert fedl2g.clipped(long / 3, 100.0) is not long
    assert (fedl2g.clipped(long / 3, 100.0) == long / 3).all()


def test_labels_are_checked() -> None:
    with pytest.raises(ValueError, match="ascending"):
        Gradients(np.array([1, 0]), np.zeros((2, 2), np.float32))
    algorithm = fedl2g.build(fedl2g.Config(**OPTIONS))
    with pytest.raises(ValueError, match="class 3, the task has 3"):
        algorithm.check(Gradients(np.array([3]), np.zeros((1, 2), np.float32)))
