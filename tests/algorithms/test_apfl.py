import math
from typing import cast

import numpy as np
import pytest
import torch
from torch import nn

from edgeloop import algorithms, models
from edgeloop.algorithm import Batches
from edgeloop.algorithms import apfl
from edgeloop.errors import ConfigError
from edgeloop.knowledge import weights
from edgeloop.knowledge.weights import Weights, WeightsUpload
from edgeloop.models import SplitModel
from edgeloop.training.sgd import cross_entropy

SHAPE = (1, 16, 16)
CONFIG = apfl.Config(classes=2, width=1, shape=SHAPE, local_lr=0.5, alpha=0.25)
MIXED = apfl.Config(classes=2, width=1, shape=SHAPE, local_lr=0.5, alpha=0.25, through_mixture=True)
ONE = Batches(torch.ones(1, 1), torch.tensor([0]), size=1)
FEW = Batches(torch.ones(3, 1), torch.tensor([0, 1, 1]), size=4)
GLOBAL = Weights(np.array([1, 0, 0, 0], np.float32))


def client(config: apfl.Config, base: nn.Module | None = None) -> SplitModel:
    """A model of one feature with a head of zeros: weights (2, 1), then biases."""
    model = SplitModel(base or nn.Flatten(), 1, 2, features=1)
    weights.assign(model.head.parameters(), [0, 0, 0, 0])
    apfl.build(config).init_client_state(model)
    return model


def normalised(config: apfl.Config) -> SplitModel:
    return client(config, nn.Sequential(nn.Flatten(), nn.BatchNorm1d(1)))


def mean_seen(model: nn.Module) -> float:
    """The running mean of the one batch normalisation in a model's base."""
    normalisation = cast(nn.BatchNorm1d, cast(nn.Sequential, model.base)[1])
    return cast(torch.Tensor, normalisation.running_mean).item()


def trained_global() -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The broadcast after one step: logits (1, 0), p = e / (e + 1), slope (p - 1)(1, -1)."""
    gap = 1 - math.e / (math.e + 1)
    return np.array([1 + 0.5 * gap, -0.5 * gap, 0.5 * gap, -0.5 * gap])


def test_released_clients_count_by_their_samples_and_the_papers_alike() -> None:
    uploads = [WeightsUpload(n, np.array([v], np.float32)) for n, v in ((1, 0.0), (3, 8.0))]
    state, broadcast = apfl.build(CONFIG).aggregate(GLOBAL, uploads)
    assert state.weights_P.tolist() == broadcast.weights_P.tolist() == [6.0]
    options = algorithms.variant_options("apfl", "paper")
    paper = algorithms.load("apfl", classes=3, width=4, shape=SHAPE, **options)
    assert paper.aggregate(GLOBAL, uploads)[1].weights_P.tolist() == [4.0]
    assert options["through_mixture"]


@pytest.mark.parametrize("config", [CONFIG, MIXED])
def test_the_upload_is_the_global_model_trained_alone(config: apfl.Config) -> None:
    sent = apfl.build(config).train(client(config), ONE, GLOBAL)
    assert sent.samples == 1
    assert sent.weights_P.tolist() == pytest.approx(trained_global())


def test_the_released_round_by_hand() -> None:
    model = client(CONFIG)
    apfl.build(CONFIG).train(model, ONE, GLOBAL)
    # v from 0: slope (-1/2, 1/2, -1/2, 1/2), step 1/2.
    v, of_v = np.array([0.25, -0.25, 0.25, -0.25]), np.array([-0.5, 0.5, -0.5, 0.5])
    w, gap = trained_global(), 1 - math.e / (math.e + 1)
    of_w = gap * np.array([-1, 1, -1, 1])
    along = (v - w) @ (0.25 * of_v + 0.75 * of_w) + 0.02 * 0.25
    alpha = 0.25 - 0.5 * along
    assert 0 < alpha < 1
    assert apfl.client_state(model).alpha.item() == pytest.approx(alpha)
    mixture = alpha * v + (1 - alpha) * w
    assert weights.flat(model.own()).tolist() == pytest.approx(mixture, abs=1e-6)
    assert [part.flatten().tolist() for part in apfl.client_state(model).local] == [
        part.flatten().tolist() for part in model.own()
    ]


def test_the_papers_round_by_hand() -> None:
    model = client(MIXED)
    apfl.build(MIXED).train(model, ONE, GLOBAL)
    # The mixture of v = 0 and w: (3/4, 0, 0, 0); logits (3/4, 0), slope (p - 1)(1, -1, 1, -1).
    of_mixture = (1 / (1 + math.exp(-0.75)) - 1) * np.array([1, -1, 1, -1])
    # Alpha's slope is <v - w, slope>, v - w = (-1, 0, 0, 0); v's step is alpha times the slope.
    alpha = 0.25 - 0.5 * -of_mixture[0]
    v = -0.5 * 0.25 * of_mixture
    kept = apfl.client_state(model)
    assert 0 < alpha < 1
    assert kept.alpha.item() == pytest.approx(alpha)
    assert weights.flat(kept.local).tolist() == pytest.approx(v)
    mixture = alpha * v + (1 - alpha) * trained_global()
    assert weights.flat(model.own()).tolist() == pytest.approx(mixture, abs=1e-6)


def test_the_paper_mixes_with_what_is_received_and_the_released_code_does_not() -> None:
    mixed, apart = client(MIXED), client(CONFIG)
    algorithm = apfl.build(MIXED)
    algorithm.load_broadcast(mixed, ONE, GLOBAL)
    apfl.build(CONFIG).load_broadcast(apart, ONE, GLOBAL)
    # 1/4 of v = 0 and 3/4 of (1, 0, 0, 0).
    assert weights.flat(mixed.own()).tolist() == [0.75, 0.0, 0.0, 0.0]
    assert weights.flat(apart.own()).tolist() == [0.0] * 4
    assert algorithm.predict(mixed, torch.ones(1, 1), None).tolist() == [[0.75, 0.0]]


def test_alpha_moves_against_its_slope_and_stays_a_share() -> None:
    for slope, expected in ((0.4, 0.3), (-4.0, 1.0), (4.0, 0.0)):
        alpha = torch.tensor(0.5)
        apfl.update_alpha(alpha, torch.tensor(slope), lr=0.5)
        assert alpha.item() == pytest.approx(expected)


def test_alpha_grows_where_the_clients_own_model_is_better() -> None:
    model = client(MIXED)
    weights.assign(apfl.client_state(model).local, [3, -3, 0, 0])
    # The own model is right about label 0, the global one is wrong.
    apfl.build(MIXED).train(model, ONE, Weights(np.array([-3, 3, 0, 0], np.float32)))
    assert apfl.client_state(model).alpha.item() > 0.25


@pytest.mark.parametrize("config", [CONFIG, MIXED])
def test_a_client_without_a_full_batch_mixes_what_it_has(config: apfl.Config) -> None:
    model = client(config)
    sent = apfl.build(config).train(model, FEW, GLOBAL)
    assert (sent.samples, sent.weights_P.tolist()) == (3, [1.0, 0.0, 0.0, 0.0])
    assert weights.flat(model.own()).tolist() == [0.75, 0.0, 0.0, 0.0]
    assert apfl.client_state(model).alpha.item() == 0.25


@pytest.mark.parametrize("config", [CONFIG, MIXED])
def test_what_is_kept_comes_back_from_a_state_dict(config: apfl.Config) -> None:
    algorithm = apfl.build(config)
    model, restored = normalised(config), normalised(config)
    batches = Batches(torch.tensor([[0.0], [4.0]]), torch.tensor([0, 1]), size=2)
    broadcast = Weights(np.array([1, 0, 1, 0, 0, 0], np.float32))
    algorithm.train(model, batches, broadcast)
    restored.load_state_dict(model.state_dict())
    assert apfl.client_state(restored).alpha.item() == apfl.client_state(model).alpha.item() != 0.25
    for one in (model, restored):
        algorithm.train(one, batches, broadcast)
    assert all(
        torch.equal(ours, theirs)
        for ours, theirs in zip(
            model.state_dict().values(), restored.state_dict().values(), strict=True
        )
    )


@pytest.mark.parametrize("config", [CONFIG, MIXED])
def test_each_model_has_its_own_normalisation_and_only_parameters_travel(
    config: apfl.Config,
) -> None:
    model = normalised(config)
    batches = Batches(torch.tensor([[0.0], [4.0]]), torch.tensor([0, 1]), size=2)
    sent = apfl.build(config).train(model, batches, Weights(np.array([1, 0] * 3, np.float32)))
    assert len(sent.weights_P) == 6
    # A batch of mean 2 moves each running mean by a tenth of the way.
    assert mean_seen(apfl.client_state(model).shared) == pytest.approx(0.2)
    assert mean_seen(model) == pytest.approx(0.2)


def test_every_client_starts_with_the_servers_model() -> None:
    algorithm = apfl.build(apfl.Config(classes=3, width=4, shape=SHAPE))
    _, broadcast = algorithm.start()
    same, other = (models.build("cnn", SHAPE, 3, 4, seed=seed) for seed in (0, 1))
    assert weights.flat(same.own()).tolist() == broadcast.weights_P.tolist()
    assert weights.flat(other.own()).tolist() != broadcast.weights_P.tolist()
    assert algorithm.sizes == {"P": len(broadcast.weights_P)}


def test_the_first_alpha_is_a_share() -> None:
    assert apfl.Config(classes=2, width=1).alpha == 0.5
    with pytest.raises(ConfigError, match="alpha"):
        algorithms.config("apfl", classes=2, width=1, alpha=1.5)


def test_the_loss_is_that_of_a_batch_alone() -> None:
    assert apfl.build(CONFIG).loss is cross_entropy
