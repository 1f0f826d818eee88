"""FedKTL's client: its loss, the pairs it draws, one round, and what it uploads."""

import copy
import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeloop.algorithm import Batches
from edgeloop.algorithms import fedktl
from edgeloop.algorithms.fedktl import Config, Goal
from edgeloop.knowledge import etf, latent_pairs
from edgeloop.knowledge.latent_pairs import Pairs
from edgeloop.models import SplitModel
from edgeloop.protocol import wire
from edgeloop.seeds import derive

CPU = torch.device("cpu")
CONFIG = Config(classes=3, width=3, shape=(1, 1, 3), latent_dim=4, seed=7, transfer=20.0, scale=2.0)
INPUTS = torch.tensor([[1.0, 2.0, -1.0], [0.5, -3.0, 0.0], [-2.0, 0.1, 0.3], [1.0, 1.0, 4.0]])
LABELS = torch.tensor([0, 1, 0, 1])


def plain() -> SplitModel:
    """A model whose features are its three inputs, and whose logits are its features."""
    model = SplitModel(nn.Flatten(), width=3, classes=3, features=3)
    with torch.no_grad():
        model.head.weight.copy_(torch.eye(3))
        model.head.bias.zero_()
    return model


def learner(seed: int = 0) -> SplitModel:
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(3, 3), nn.BatchNorm1d(3))
    return SplitModel(layers, width=3, classes=3, features=3)


def some_pairs(count: int = 3) -> Pairs:
    random = np.random.default_rng(4)
    images_NP = random.integers(0, 256, (count, 3), np.uint8)
    return Pairs(images_NP, random.standard_normal((count, 4)).astype(np.float16))


def margin_loss(inputs: Tensor, labels: Tensor, frame_CC: Tensor) -> float:
    """The own loss in numpy, double precision."""
    logits, frame = inputs.double().numpy(), frame_CC.double().numpy()
    cosines = logits / np.linalg.norm(logits, axis=1, keepdims=True) @ frame
    own = np.arange(len(labels)), labels.numpy()
    cosines[own] = np.cos(np.arccos(cosines[own]) + CONFIG.margin)
    powers = np.exp(CONFIG.scale * cosines)
    return float(-np.log(powers[own] / powers.sum(axis=1)).mean())


def test_before_the_first_round_there_are_no_pairs_and_the_loss_is_the_margins_alone() -> None:
    algorithm = fedktl.build(CONFIG)
    broadcast = algorithm.start()[1]
    assert (broadcast.images_NP.shape, broadcast.latents_NH.shape) == ((0, 3), (0, 4))
    goal = algorithm.targets(broadcast, CPU)
    loss = algorithm.loss(plain(), (INPUTS, LABELS), goal)
    expected = margin_loss(INPUTS, LABELS, goal.frame_CC)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_with_pairs_the_loss_adds_how_badly_features_tell_latents() -> None:
    algorithm, broadcast = fedktl.build(CONFIG), some_pairs()
    goal: Goal = algorithm.targets(broadcast, CPU)
    loss = algorithm.loss(plain(), (INPUTS, LABELS), goal)
    features = broadcast.images_NP / 127.5 - 1
    told = features @ goal.guess_HK.numpy().T + goal.guess_H.numpy()
    apart = np.square(told - broadcast.latents_NH).mean()
    expected = margin_loss(INPUTS, LABELS, goal.frame_CC) + 20.0 * apart
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_a_sample_on_its_own_vector_has_a_finite_loss_and_slope() -> None:
    algorithm, model = fedktl.build(CONFIG), plain()
    goal = algorithm.targets(algorithm.start()[1], CPU)._replace(frame_CC=torch.eye(3))
    loss = algorithm.loss(model, (3 * torch.eye(3), torch.arange(3)), goal)
    loss.backward()
    expected = math.log(1 + 2 * math.exp(-2.0 * math.cos(0.5)))
    assert loss.item() == pytest.approx(expected, rel=1e-3)
    assert model.head.weight.grad is not None
    assert model.head.weight.grad.isfinite().all()


def test_the_class_is_the_nearest_vectors_and_the_margin_is_of_no_concern() -> None:
    algorithm = fedktl.build(dataclasses.replace(CONFIG, margin=3.0))
    goal = algorithm.targets(algorithm.start()[1], CPU)
    scores = algorithm.predict(plain(), 5 * goal.frame_CC.T, goal)
    torch.testing.assert_close(scores, torch.eye(3) * 1.5 - 0.5, atol=1e-6, rtol=0)


def test_pairs_come_in_batches_shuffled_anew_each_pass() -> None:
    images_N = torch.arange(5).view(5, 1)
    goal = Goal(torch.eye(3), images_N, 10.0 * images_N, torch.zeros(1), torch.zeros(1))
    drawn = list(
        itertools.islice(latent_pairs.sample_pairs(goal.images_N, goal.latents_NH, 3, seed=1), 6)
    )
    assert [len(part["images_N"]) for part in drawn] == [3, 2] * 3
    passes = [torch.cat([part["images_N"] for part in drawn[at : at + 2]]) for at in (0, 2, 4)]
    orders = [each.flatten().tolist() for each in passes]
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)
    assert len({tuple(order) for order in orders}) > 1
    assert all(torch.equal(part["latents_NH"], 10.0 * part["images_N"]) for part in drawn)


def test_no_part_of_several_is_a_single_pair_unless_all_are() -> None:
    goal = Goal(torch.eye(3), torch.arange(7), torch.arange(7), torch.zeros(1), torch.zeros(1))
    for size, lengths in [(2, [2, 2, 3]), (3, [3, 4]), (4, [4, 3]), (9, [7]), (1, [1] * 7)]:
        drawn = itertools.islice(
            latent_pairs.sample_pairs(goal.images_N, goal.latents_NH, size, seed=1), len(lengths)
        )
        assert [len(part["images_N"]) for part in drawn] == lengths


def test_pairs_are_drawn_by_the_clients_seed() -> None:
    goal = Goal(torch.eye(3), torch.arange(9), torch.arange(9), torch.zeros(1), torch.zeros(1))
    first, again, other = (
        next(latent_pairs.sample_pairs(goal.images_N, goal.latents_NH, 9, seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(first["images_N"], again["images_N"])
    assert not torch.equal(first["images_N"], other["images_N"])


def by_hand(model: SplitModel, broadcast: Pairs, config: Config, seed: int) -> list[float]:
    """Train one round with plain SGD on the model and on the guess; return the gradients' norms."""
    frame_CC = etf.frame(config.classes, derive(config.seed, "frame"))
    goal: Goal = fedktl.build(config).targets(broadcast, CPU)
    guess = [goal.guess_HK.clone().requires_grad_(), goal.guess_H.clone().requires_grad_()]
    whole, norms = (goal.images_N, goal.latents_NH), list[float]()
    drawn = latent_pairs.sample_pairs(*whole, config.pair_batch, seed)
    model.train()
    for rows in [slice(0, 2), slice(2, 4)] * config.local_epochs:
        some = next(drawn)
        cosines = F.normalize(model(INPUTS[rows])[1]) @ frame_CC
        own = etf.arcface_loss(cosines, LABELS[rows], config.margin, config.scale)
        gap = F.linear(model(some["images_N"])[0], *guess) - some["latents_NH"]
        (own + config.transfer * gap.square().mean()).backward()
        norms += [sgd(group, config) for group in (list(model.parameters()), guess)]
    return norms


@torch.no_grad()
def sgd(group: list[Any], config: Config) -> float:
    """Step against the gradient, shortened to the clip; return how long it was."""
    norm = float(torch.cat([each.grad.flatten() for each in group]).norm())
    for each in group:
        each -= config.local_lr * min(1.0, config.clip / norm) * each.grad
        each.grad = None
    return norm


@pytest.mark.parametrize("clip", [1e6, 0.5])
def test_a_round_is_plain_sgd_on_the_model_and_on_the_guess(clip: float) -> None:
    config = dataclasses.replace(CONFIG, local_epochs=3, local_lr=0.02, pair_batch=2, clip=clip)
    broadcast, ours, theirs = some_pairs(4), learner(), learner()
    norms = by_hand(theirs, broadcast, config, seed=5)
    assert (min(norms) > clip) if clip < 1 else (max(norms) < clip)
    fedktl.build(config).train(ours, Batches(INPUTS, LABELS, 2, seed=5), broadcast)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, atol=1e-4, rtol=1e-4)


def test_the_guess_begins_every_round_anew() -> None:
    algorithm, broadcast, model = fedktl.build(CONFIG), some_pairs(), learner()
    before: Goal = algorithm.targets(broadcast, CPU)
    fresh = copy.deepcopy(model)
    first = algorithm.train(model, Batches(INPUTS, LABELS, 2), broadcast)
    second = algorithm.train(fresh, Batches(INPUTS, LABELS, 2), broadcast)
    assert wire.fingerprint(first) == wire.fingerprint(second)
    after: Goal = algorithm.targets(broadcast, CPU)
    assert torch.equal(before.guess_HK, after.guess_HK)
    assert torch.equal(before.guess_H, after.guess_H)


def test_the_guess_is_the_runs() -> None:
    guesses = [
        fedktl.initial_guess(dataclasses.replace(CONFIG, seed=seed))[0] for seed in (1, 1, 2)
    ]
    assert guesses[0].shape == (4, 3)
    assert torch.equal(guesses[0], guesses[1])
    assert not torch.equal(guesses[0], guesses[2])


def directions(model: SplitModel, classes: list[int]) -> NDArray[np.float64]:
    """The expected upload, from the model's logits in evaluation mode."""
    model.eval()
    with torch.no_grad():
        logits = model(INPUTS)[1].double().numpy()
    units = logits / np.linalg.norm(logits, axis=1, keepdims=True)
    means = np.stack([units[LABELS.numpy() == label].mean(axis=0) for label in classes])
    whole: NDArray[np.float64] = means / np.linalg.norm(means, axis=1, keepdims=True)
    return whole


@pytest.mark.parametrize("broadcast", [some_pairs(), fedktl.no_pairs(CONFIG)])
def test_an_upload_is_a_unit_vector_for_each_class_of_the_client(broadcast: Pairs) -> None:
    model = learner()
    upload = fedktl.build(CONFIG).train(model, Batches(INPUTS, LABELS, 2), broadcast)
    assert [field.name for field in dataclasses.fields(upload)] == [
        "labels_N",
        "counts_N",
        "prototypes_ND",
    ]
    assert (upload.labels_N.tolist(), upload.counts_N.tolist()) == ([0, 1], [2, 2])
    assert upload.prototypes_ND.shape == (2, 3)
    np.testing.assert_allclose(np.linalg.norm(upload.prototypes_ND, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(upload.prototypes_ND, directions(model, [0, 1]), atol=1e-5)


def test_a_client_with_too_few_samples_uploads_nothing() -> None:
    upload = fedktl.build(CONFIG).train(learner(), Batches(INPUTS, LABELS, 5), some_pairs())
    assert upload.prototypes_ND.shape == (0, 3)


def test_an_upload_of_an_unknown_class_is_refused() -> None:
    algorithm = fedktl.build(CONFIG)
    upload = algorithm.train(learner(), Batches(INPUTS, LABELS + 1, 2), some_pairs())
    algorithm.check(upload)
    with pytest.raises(ValueError, match="class 3, the task has 3"):
        algorithm.check(dataclasses.replace(upload, labels_N=upload.labels_N + 1))
