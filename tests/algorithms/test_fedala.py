import math
from typing import cast

import numpy as np
import pytest
import torch
from torch import nn

from edgeloop.algorithm import Algorithm, Batches
from edgeloop.algorithms import fedala
from edgeloop.knowledge import weights
from edgeloop.knowledge.weights import Weights, WeightsUpload
from edgeloop.models import SplitModel

CONFIG = fedala.Config(classes=2, width=2, shape=(1, 16, 16), local_lr=0.1, share=1.0)
Ala = Algorithm[Weights, WeightsUpload, Weights]


def batches(*rows: tuple[float, float, int], size: int = 1, seed: int = 0) -> Batches:
    inputs = torch.tensor([row[:2] for row in rows]).reshape(-1, 2)
    return Batches(inputs, torch.tensor([row[2] for row in rows], dtype=torch.int64), size, seed)


def blend_of(model: SplitModel) -> fedala.Blend:
    return cast(fedala.Blend, model.kept["blend"])


def equipped(model: SplitModel, config: fedala.Config = CONFIG, *, settled: bool = True) -> Ala:
    algorithm = fedala.build(config)
    algorithm.init_client_state(model)
    blend_of(model).settled.fill_(int(settled))
    return algorithm


def moved(model: SplitModel, *steps: float) -> Weights:
    """The model's weights plus these steps: a global model."""
    return Weights(weights.flat(model.own()) + np.array(steps, np.float32))


def two_layers() -> SplitModel:
    torch.manual_seed(0)
    return SplitModel(nn.Sequential(nn.Flatten(), nn.Linear(2, 2)), 2, 2, features=2)


def test_one_pass_by_hand(identity: SplitModel) -> None:
    algorithm = equipped(identity)
    broadcast = moved(identity, 1, 0, 0, 0, 0, 0)
    algorithm.load_broadcast(identity, batches((1.0, 0.0, 1)), broadcast)
    # The trial takes W = 1: the global weight 2, logits (2, 0), of which class 0 is wrong. The
    # slope at the weight is p = 1 / (1 + e^-2), times a gap of 1: W = 1 - p, the new weight 1 + W.
    p = 1 / (1 + math.exp(-2))
    assert blend_of(identity).weights_H.tolist() == pytest.approx([1 - p, 1, 1, 1, 1, 1])
    assert identity.head.weight.flatten().tolist() == pytest.approx([2 - p, 0, 0, 1])


def test_a_weight_stays_between_own_and_global(identity: SplitModel) -> None:
    algorithm = equipped(identity)
    # Class 0 is right: the slope is negative, W would grow beyond 1.
    algorithm.load_broadcast(identity, batches((1.0, 0.0, 0)), moved(identity, 1, 0, 0, 0, 0, 0))
    assert blend_of(identity).weights_H.tolist() == [1.0] * 6
    # With rate 9 a wrong class takes W far below 0: the client keeps its own weight, now 2.
    config = fedala.Config(classes=2, width=2, shape=(1, 16, 16), share=1.0, blend_lr=9.0)
    fedala.adapt(identity, batches((1.0, 0.0, 1)), moved(identity, 1, 0, 0, 0, 0, 0), config)
    assert blend_of(identity).weights_H[0] == 0
    assert identity.head.weight[0, 0] == 2


def test_batches_follow_one_another_with_what_was_learned(identity: SplitModel) -> None:
    config = fedala.Config(classes=2, width=2, shape=(1, 16, 16), share=1.0, blend_lr=0.5)
    algorithm = equipped(identity, config)
    broadcast = moved(identity, 1, 0, 0, 0, 0, 0)
    algorithm.load_broadcast(identity, batches((1.0, 0.0, 1), (1.0, 0.0, 1)), broadcast)
    # First W = 1 - p(2) / 2; then the trial's weight is 1 + W, and W goes down by p(1 + W) / 2.
    first = 1 - 0.5 / (1 + math.exp(-2))
    second = first - 0.5 / (1 + math.exp(-(1 + first)))
    assert blend_of(identity).weights_H[0].item() == pytest.approx(second)


def test_lower_tensors_are_the_global_ones() -> None:
    model = two_layers()
    algorithm = equipped(model)
    blend_of(model).weights_H.fill_(0.25)
    before = weights.flat(model.own())
    # One sample of a share of 0.8 is none: W stays as it is.
    few = fedala.Config(classes=2, width=2, shape=(1, 16, 16), share=0.8)
    fedala.adapt(model, batches((1.0, 0.0, 0)), Weights(before + np.float32(4)), few)
    after = weights.flat(model.own())
    np.testing.assert_allclose(after - before, [4] * 6 + [1] * 6, atol=1e-5)
    assert algorithm.sizes["P"] > 12


@pytest.mark.parametrize(("tensors", "entries"), [(0, 12), (1, 2), (2, 6), (3, 8), (9, 12)])
def test_how_many_tensors_are_blended(tensors: int, entries: int) -> None:
    model = two_layers()
    equipped(model, fedala.Config(classes=2, width=2, shape=(1, 16, 16), tensors=tensors))
    assert blend_of(model).weights_H.tolist() == [1.0] * entries


def test_nothing_is_adapted_where_global_and_own_are_the_same(identity: SplitModel) -> None:
    algorithm = equipped(identity, settled=False)
    algorithm.load_broadcast(identity, batches((1.0, 0.0, 1)), moved(identity, 0, 0, 0, 0, 0, 0))
    assert int(blend_of(identity).settled) == 0
    # A sum of gaps of 0 is not the same as no gap.
    algorithm.load_broadcast(identity, batches((1.0, 0.0, 1)), moved(identity, 1, -1, 0, 0, 0, 0))
    assert int(blend_of(identity).settled) == 1
    assert identity.head.weight[0, 1] != 0


@pytest.mark.parametrize(
    ("variant", "cap", "passes"),
    [("released", 100, 11), ("paper", 100, 100), ("released", 5, 5)],
)
def test_the_start_phase_ends_when_losses_are_calm(
    identity: SplitModel,
    monkeypatch: pytest.MonkeyPatch,
    variant: str,
    cap: int,
    passes: int,
) -> None:
    made: list[float] = []

    def one_pass(*_: object) -> float:
        made.append(0.1 * (len(made) % 2))  # a deviation of 0.05: between 0.01 and 0.1
        return made[-1]

    monkeypatch.setattr(fedala, "one_pass", one_pass)
    options = fedala.INFO.variants[variant]
    config = fedala.Config(
        classes=2, width=2, shape=(1, 16, 16), share=1.0, start_passes=cap, **options
    )
    algorithm = equipped(identity, config, settled=False)
    algorithm.load_broadcast(identity, batches((1.0, 0.0, 1)), moved(identity, 1, 0, 0, 0, 0, 0))
    assert len(made) == passes
    algorithm.load_broadcast(identity, batches((1.0, 0.0, 1)), moved(identity, 1, 0, 0, 0, 0, 0))
    assert len(made) == passes + 1


def test_only_the_last_ten_losses_count() -> None:
    assert not fedala.has_converged([0.0] * 10, 0.1)
    assert fedala.has_converged([9.0] + [0.0] * 10, 0.1)
    # Nine zeros and a 0.4: variance 0.016 - 0.0016, deviation 0.12.
    assert not fedala.has_converged([0.0, 0.4] + [0.0] * 9, 0.1)
    assert fedala.has_converged([0.0, 0.4] + [0.0] * 9, 0.13)


def test_the_slice_is_of_neighbours_and_from_the_seed() -> None:
    config = fedala.Config(classes=2, width=2, shape=(1, 16, 16), share=0.5)
    rows = [(float(number), 0.0, 0) for number in range(25)]
    starts = set()
    for seed in range(30):
        part = fedala.sample_slice(batches(*rows, size=5, seed=seed), config)
        again = fedala.sample_slice(batches(*rows, size=5, seed=seed), config)
        numbers = torch.cat([inputs for inputs, _ in part])[:, 0]
        assert [len(labels) for _, labels in part] == [5, 5, 2]  # int(12.5), the last as it comes
        assert (numbers.diff() == 1).all()
        assert torch.equal(numbers, torch.cat([inputs for inputs, _ in again])[:, 0])
        starts.add(int(numbers[0]))
    assert len(starts) > 5
    assert max(starts) <= 13
    assert fedala.sample_slice(batches(size=5), config) == []


@pytest.mark.parametrize("training", [True, False])
def test_the_trial_normalises_by_the_batch_whatever_mode_the_model_is_in(training: bool) -> None:
    model = SplitModel(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(2)), 2, 2, features=2)
    algorithm = equipped(model.train(training))
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.zero_()
    broadcast = moved(model, *[0.0] * 4, 1, 0, 0, 0, 0, 0)
    algorithm.load_broadcast(model, batches((1.0, 5.0, 1), (3.0, 1.0, 0), size=2), broadcast)
    # By the batch the first feature is -1 and 1, and with the global weight so is the logit of
    # class 0: both right, with slopes -(1 - p) / 2 each, and W cannot grow. By the first running
    # mean, 0, it would be 1 and 3, and the mean slope above 0.
    assert blend_of(model).weights_H[0] == 1


def test_batch_normalisation_sees_nothing_of_the_trial() -> None:
    base = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(2))
    model = SplitModel(base, 2, 2, features=2)
    algorithm = equipped(model)
    broadcast = Weights(weights.flat(model.own()) + np.float32(1))
    algorithm.load_broadcast(model, batches((1.0, 5.0, 1), (3.0, 1.0, 0), size=2), broadcast)
    assert model.state_dict()["base.1.running_mean"].tolist() == [0.0, 0.0]
    assert int(model.state_dict()["base.1.num_batches_tracked"]) == 0
    assert (blend_of(model).weights_H < 1).any()


def test_what_is_kept_is_part_of_the_state(identity: SplitModel) -> None:
    algorithm = equipped(identity, settled=False)
    algorithm.load_broadcast(identity, batches((1.0, 0.0, 1)), moved(identity, 1, 0, 0, 0, 0, 0))
    other = SplitModel(nn.Flatten(), width=2, classes=2, features=2)
    algorithm.init_client_state(other)
    other.load_state_dict(identity.state_dict())
    assert int(blend_of(other).settled) == 1
    assert torch.equal(blend_of(other).weights_H, blend_of(identity).weights_H)
    assert blend_of(other).weights_H[0] < 1


def test_a_round_is_plain_training_and_a_mean_by_samples(identity: SplitModel) -> None:
    algorithm = equipped(identity)
    _, broadcast = algorithm.start()
    # Logits (1, 0) of class 1: the slope at the first bias is p = 1 / (1 + 1/e).
    sent = algorithm.train(identity, batches((1.0, 0.0, 1)), broadcast)
    assert sent.weights_P[4] == pytest.approx(-0.1 / (1 + math.exp(-1)))
    _, mean = algorithm.aggregate(
        broadcast,
        [WeightsUpload(1, np.zeros(2, np.float32)), WeightsUpload(3, np.full(2, 8, np.float32))],
    )
    assert mean.weights_P.tolist() == [6.0, 6.0]


def test_a_client_without_a_full_batch_adapts_but_does_not_train(identity: SplitModel) -> None:
    algorithm = equipped(identity)
    small = batches((1.0, 0.0, 1), size=2)
    algorithm.load_broadcast(identity, small, moved(identity, 1, 0, 0, 0, 0, 0))
    adapted = weights.flat(identity.own())
    assert 1 < adapted[0] < 2
    sent = algorithm.train(identity, small, algorithm.start()[1])
    assert (sent.samples, sent.weights_P.tolist()) == (1, adapted.tolist())


def test_the_plain_logits_are_the_scores(identity: SplitModel) -> None:
    assert equipped(identity).predict(identity, torch.tensor([[3.0, 4.0]]), None).tolist() == [
        [3.0, 4.0]
    ]
