import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edge.agent.export import Classifier, check, export
from edgeloop import models
from edgeloop.algorithm import Batches
from edgeloop.algorithms import feddbe
from edgeloop.knowledge import weights
from edgeloop.models import SplitModel
from edgeloop.protocol import wire

CONFIG = feddbe.Config(classes=2, width=2, shape=(1, 16, 16), local_lr=0.1)
ALGORITHM = feddbe.build(CONFIG)
BATCHES = Batches(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1]), 1)


def configured(**options: Any) -> feddbe.Config:
    return feddbe.Config(classes=2, width=2, shape=(1, 16, 16), local_lr=0.1, **options)


def equipped(model: SplitModel) -> SplitModel:
    ALGORITHM.init_client_state(model)
    return model


def two_layers() -> SplitModel:
    torch.manual_seed(0)
    return SplitModel(nn.Sequential(nn.Flatten(), nn.Linear(2, 2)), 2, 2, features=2)


def shared(model: SplitModel, *mean: float) -> feddbe.Shared:
    """What a client gets: with a mean from round 1 on, without one in round 0."""
    mean_D = np.array(mean or (0, 0), np.float32)
    return feddbe.Shared(bool(mean), mean_D, weights.flat(model.own()))


def means(samples: int, *mean: float) -> feddbe.Upload:
    rows = np.array([mean], np.float32) if mean else np.zeros((0, 2), np.float32)
    return feddbe.Upload(samples, rows, np.zeros((0, 3), np.float32))


def models_of(samples: int, *values: float) -> feddbe.Upload:
    return feddbe.Upload(samples, np.zeros((0, 2), np.float32), np.array([values], np.float32))


def test_the_running_mean_by_hand() -> None:
    running = feddbe.RunningMean(2, 0.5, torch.device("cpu"))
    # From 0: half of the mean (2, 4); then half of that plus half of (3, 0).
    first = running.update(torch.tensor([[1.0, 4.0], [3.0, 4.0]], requires_grad=True))
    assert (first.tolist(), first.requires_grad) == ([1.0, 2.0], True)
    second = running.update(torch.tensor([[3.0, 0.0]]))
    assert (second.tolist(), second.requires_grad) == ([2.0, 1.0], False)


def test_round_0_is_plain_training_and_uploads_the_mean_alone(identity: SplitModel) -> None:
    equipped(identity)
    sent = ALGORITHM.train(identity, BATCHES, shared(identity))
    assert sent.samples == 2
    assert sent.mean_RD.tolist() == [[0.0, 2.0]]  # momentum 1: the last batch's features
    assert sent.weights_SP.shape == (0, 6)
    assert feddbe.bias_memory(identity).tolist() == [0.0, 0.0]
    # The first step: logits (1, 0) of class 0, so the bias goes up by 0.1 / (1 + e) ...
    first = 0.1 / (1 + math.exp(1))
    assert identity.head.bias[0].item() != 0.0
    one = equipped(SplitModel(nn.Flatten(), 2, 2, features=2))
    with torch.no_grad():
        one.head.weight.copy_(torch.eye(2))
        one.head.bias.zero_()
    ALGORITHM.train(one, Batches(BATCHES.inputs[:1], BATCHES.labels[:1], 1), shared(one))
    assert one.head.bias[0].item() == pytest.approx(first)


def test_the_mean_starts_at_0_in_every_training(identity: SplitModel) -> None:
    algorithm = feddbe.build(configured(momentum=0.5))
    algorithm.init_client_state(identity)
    # (1, 0) / 2, then half of that plus (0, 2) / 2; the same in the second round.
    for _ in range(2):
        sent = algorithm.train(identity, BATCHES, shared(identity))
        assert sent.mean_RD.tolist() == [[0.25, 1.0]]


def test_the_objective_by_hand(identity: SplitModel) -> None:
    equipped(identity)
    with torch.no_grad():
        feddbe.bias_memory(identity).copy_(torch.tensor([1.0, 0.0]))
    running = feddbe.RunningMean(2, 1.0, torch.device("cpu"))
    batch = torch.tensor([[1.0, 1.0], [1.0, 3.0]]), torch.tensor([0, 1])
    # Logits z + m: (2, 1) and (2, 3), both right by 1. Mean (1, 2), gap (-2, 1) to (3, 1): half
    # the squares, 2 and 0.5, have the mean 1.25.
    got = feddbe.objective(identity, batch, running, torch.tensor([3.0, 1.0]), 4.0)
    assert got.item() == pytest.approx(math.log(1 + math.exp(-1)) + 4 * 1.25)
    # No gap to (1, 2).
    none = feddbe.objective(identity, batch, running, torch.tensor([1.0, 2.0]), 4.0)
    assert none.item() == pytest.approx(math.log(1 + math.exp(-1)))


def test_from_round_1_on_the_own_vector_learns_and_the_model_is_sent() -> None:
    model = equipped(two_layers())
    before = weights.flat(model.own())
    sent = ALGORITHM.train(model, BATCHES, shared(model, 1.0, 1.0))
    assert sent.mean_RD.shape == (0, 2)
    assert sent.weights_SP.tolist() == [weights.flat(model.own()).tolist()]
    assert (sent.weights_SP[0] != before).any()
    assert (feddbe.bias_memory(model) != 0).any()


def test_the_own_vector_steps_with_the_same_rate(identity: SplitModel) -> None:
    equipped(identity)
    one = Batches(BATCHES.inputs[:1], BATCHES.labels[:1], 1)
    ALGORITHM.train(identity, one, shared(identity, 0.0, 0.0))
    # Logits (1, 0) of class 0: the slope at m is (p - 1, 1 - p), p = 1 / (1 + 1/e).
    step = 0.1 * (1 - 1 / (1 + math.exp(-1)))
    assert feddbe.bias_memory(identity).tolist() == pytest.approx([step, -step])


def test_the_global_mean_is_weighed_by_samples_and_the_first_model_stays() -> None:
    state, broadcast = ALGORITHM.start()
    assert not broadcast.measured
    new, opened = ALGORITHM.aggregate(state, [means(1, 0.0, 4.0), means(3, 4.0, 8.0), means(9)])
    assert opened.measured
    assert opened.mean_D.tolist() == [3.0, 7.0]
    assert opened.weights_P is state.weights_P
    assert new.mean_D.tolist() == [3.0, 7.0]
    assert not state.measured


def test_without_any_mean_it_is_0() -> None:
    state, _ = ALGORITHM.start()
    _, opened = ALGORITHM.aggregate(state, [means(2), means(0)])
    assert opened.measured
    assert opened.mean_D.tolist() == [0.0, 0.0]


def test_later_rounds_average_models_and_leave_the_mean() -> None:
    state = feddbe.Shared(True, np.array([3, 7], np.float32), np.ones(3, np.float32))
    new, opened = ALGORITHM.aggregate(state, [models_of(1, 0, 0, 4), models_of(3, 8, 8, 4)])
    assert opened.weights_P.tolist() == [6.0, 6.0, 4.0]
    assert opened.mean_D.tolist() == [3.0, 7.0]
    assert (new.measured, state.weights_P.tolist()) == (True, [1.0, 1.0, 1.0])


def test_round_1_starts_from_the_first_model() -> None:
    state, first = ALGORITHM.start()
    model = equipped(models.build("cnn", CONFIG.shape, 2, 2, seed=CONFIG.seed))
    assert weights.flat(model.own()).tolist() == first.weights_P.tolist()
    batches = Batches(torch.ones(2, *CONFIG.shape), torch.tensor([0, 1]), 2)
    ALGORITHM.load_broadcast(model, batches, first)
    sent = ALGORITHM.train(model, batches, first)
    assert weights.flat(model.own()).tolist() != first.weights_P.tolist()
    _, second = ALGORITHM.aggregate(state, [sent])
    ALGORITHM.load_broadcast(model, batches, second)
    assert weights.flat(model.own()).tolist() == first.weights_P.tolist()
    assert ALGORITHM.sizes == {"P": len(first.weights_P), "D": 2}
    other = feddbe.build(configured(seed=1)).start()[1]
    assert other.weights_P.tolist() != first.weights_P.tolist()


def test_a_client_without_a_full_batch(identity: SplitModel) -> None:
    equipped(identity)
    small = Batches(BATCHES.inputs, BATCHES.labels, 4)
    sent = ALGORITHM.train(identity, small, shared(identity))
    assert (sent.samples, sent.mean_RD.shape, sent.weights_SP.shape) == (2, (0, 2), (0, 6))
    later = shared(identity, 1.0, 1.0)
    sent = ALGORITHM.train(identity, small, later)
    assert sent.weights_SP.tolist() == [later.weights_P.tolist()]


def test_an_upload_has_one_row_at_most() -> None:
    with pytest.raises(ValueError, match="more than one"):
        feddbe.Upload(1, np.zeros((1, 2), np.float32), np.zeros((1, 3), np.float32))
    with pytest.raises(ValueError, match="negative"):
        means(-1)


@pytest.mark.parametrize("upload", [means(2, 1.0, 2.0), means(2), models_of(2, 1.0, 2.0, 3.0)])
def test_both_kinds_of_upload_fit_a_frame(upload: feddbe.Upload) -> None:
    envelope = wire.Envelope("task", "run", 0, "device")
    sizes = {"P": 3, "D": 2}
    got = wire.decode(wire.encode(envelope, upload), feddbe.Upload, sizes=sizes)[feddbe.Upload]
    assert got.mean_RD.tolist() == upload.mean_RD.tolist()
    assert got.weights_SP.tolist() == upload.weights_SP.tolist()


def test_what_is_kept_is_part_of_the_state(identity: SplitModel) -> None:
    model = equipped(two_layers())
    ALGORITHM.train(model, BATCHES, shared(model, 1.0, 1.0))
    other = equipped(two_layers())
    other.load_state_dict(model.state_dict())
    assert feddbe.bias_memory(other).tolist() == feddbe.bias_memory(model).tolist()
    ALGORITHM.load_broadcast(other, BATCHES, shared(two_layers(), 1.0, 1.0))
    assert feddbe.bias_memory(other).tolist() == feddbe.bias_memory(model).tolist()


def test_the_own_vector_is_part_of_the_prediction(identity: SplitModel) -> None:
    equipped(identity)
    with torch.no_grad():
        feddbe.bias_memory(identity).copy_(torch.tensor([10.0, 20.0]))
    got = ALGORITHM.predict(identity, torch.tensor([[3.0, 4.0]]), None)
    assert got.tolist() == [[13.0, 24.0]]


def test_the_exported_prediction_is_the_same(tmp_path: Path) -> None:
    model = equipped(models.build("cnn", CONFIG.shape, 2, 2, CONFIG.seed))
    with torch.no_grad():
        feddbe.bias_memory(model).copy_(torch.tensor([1.0, -2.0]))
    scores = Classifier(model, lambda any_model, x: ALGORITHM.predict(any_model, x, None), False)
    inputs = torch.randn(5, *CONFIG.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = ALGORITHM.predict(model.eval(), inputs, None)
        torch.testing.assert_close(scores(inputs), plain, atol=1e-5, rtol=1e-5)
    path = tmp_path / "model.onnx"
    export(scores, path, shape=CONFIG.shape, class_names=("a", "b"), pixels=False, facts={})
    assert check(path, scores, inputs) < 1e-4
