"""Differential privacy of a client's round: sensitivity, noise and sampling, with small numbers."""

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeloop import algorithms, models
from edgeloop.algorithm import Algorithm, Batches
from edgeloop.errors import ConfigError, ModelError
from edgeloop.knowledge import prototypes
from edgeloop.knowledge.latent_pairs import Pairs
from edgeloop.knowledge.prototypes import PrototypeUpload
from edgeloop.models import SplitModel
from edgeloop.privacy import dp_sgd, noise
from edgeloop.privacy.dp_sgd import clip_factors, noisy_class_means, sample_step, totals
from edgeloop.runtime.config import PrivacySettings
from edgeloop.training.sgd import cross_entropy, with_fields

SHAPE, CLASSES, WIDTH, SAMPLES, SIZE = (1, 16, 16), 4, 8, 22, 5
KEY = b"a key that only this test has"
HUGE = 1e12

PRIVATE = (
    *("local", "fedavg", "fedper", "lgfedavg", "fedgh", "fedproto", "feddistill", "fedtgp"),
    *("fedktl", "fedorgp", "tinyproto"),
)


def quiet(**changes: Any) -> PrivacySettings:
    """Return settings without noise, which nobody may ask for: for what is left without it."""
    fields: dict[str, Any] = {"noise": 0.0, "clip": HUGE, "prototype_noise": 0.0}
    fields |= {"prototype_clip": HUGE, "delta": 1e-5, "epsilon": None, **changes}
    return PrivacySettings.model_construct(None, **fields)


def built(name: str, **options: Any) -> Algorithm[Any, Any, Any]:
    facts = {"classes": CLASSES, "width": WIDTH, "shape": SHAPE, "architecture": "cnn"}
    few = {"server_epochs": 2, "local_epochs": 2, "latent_dim": 3}
    return algorithms.load(
        name, None, **{**algorithms.supported_options(name, **facts, **few), **options}
    )


def model(architecture: str = "cnn") -> SplitModel:
    return models.build(architecture, SHAPE, CLASSES, WIDTH, 3)


def batches(samples: int = SAMPLES) -> Batches:
    random = torch.Generator().manual_seed(1)
    inputs = torch.randn(samples, *SHAPE, generator=random)
    return Batches(inputs, torch.arange(samples) % CLASSES, SIZE, seed=9)


def weights(model: SplitModel) -> Tensor:
    return torch.cat([each.detach().flatten() for each in model.own()])


def opening(name: str) -> Any:
    """Return a broadcast; FedKTL's has images."""
    first = built(name).start()[1]
    if name != "fedktl":
        return first
    images = np.random.default_rng(0).integers(0, 255, (CLASSES, 256)).astype(np.uint8)
    return Pairs(images, np.linspace(-1, 1, CLASSES * 3).reshape(-1, 3).astype(np.float16))


@pytest.mark.parametrize("name", PRIVATE)
def test_without_noise_it_is_plain_descent_on_the_drawn_samples(name: str) -> None:
    algorithm, mine, plain = built(name), model(), model()
    recipe, data = algorithm.recipe, batches()
    assert recipe is not None
    dp_sgd.train_dp_sgd(recipe, mine, data, opening(name), quiet(), KEY)
    goal = recipe.targets(opening(name), torch.device("cpu"))
    guesses = {name: getattr(goal, name).requires_grad_(True) for name in recipe.extra_params(goal)}
    learning = [*plain.own(), *guesses.values()]
    fields = recipe.step_inputs(goal, data.seed)
    plain.train()
    for step in range(recipe.epochs * len(data)):
        aim = with_fields(goal, {**guesses, **next(fields)})
        chosen = sample_step(KEY, step, SAMPLES, SIZE / SAMPLES).tolist()
        losses = [
            recipe.loss(plain, (data.inputs[one : one + 1], data.labels[one : one + 1]), aim)
            for one in chosen
        ]
        gradients = torch.autograd.grad(torch.stack(losses).sum(), learning, allow_unused=True)
        for parameter, gradient in zip(learning, gradients, strict=True):
            if gradient is not None:
                parameter.data.sub_(recipe.lr * gradient / SIZE)
    assert torch.allclose(weights(mine), weights(plain), atol=1e-5)
    assert not torch.allclose(weights(mine), weights(model()), atol=1e-4)
    assert (name == "fedktl") == bool(guesses)


def test_clipping_by_hand() -> None:
    gradients = [torch.tensor([[3.0], [0.3], [0.0], [math.nan], [math.inf]]), torch.zeros(5, 1, 1)]
    gradients[1][:3, 0, 0] = torch.tensor([4.0, 0.4, 0.0])
    assert clip_factors(gradients, 1.0).tolist() == pytest.approx([0.2, 1.0, 1.0, 0.0, 0.0])


def test_a_step_by_hand(identity: SplitModel) -> None:
    # One sample (4, 0) of class 1, logits (4, 0): the gradient of the bias is (p, -p).
    inputs, labels = torch.tensor([[4.0, 0.0]]), torch.tensor([1])
    before = weights(identity)
    gradients = torch.autograd.grad(cross_entropy(identity, (inputs, labels)), identity.own())
    whole = torch.cat([gradient.flatten() for gradient in gradients])
    norm = whole.norm()
    assert norm > 2
    algorithm = algorithms.load("local", None, classes=2, width=2, local_lr=0.5)
    assert algorithm.recipe is not None
    asked = quiet(noise=1.5, clip=2.0)
    dp_sgd.train_dp_sgd(algorithm.recipe, identity, Batches(inputs, labels, 1), None, asked, KEY)
    disturbance = 1.5 * 2.0 * noise.normal(KEY, "step 0", len(whole))
    step = whole * (2.0 / norm) + disturbance
    assert torch.allclose(weights(identity), before - 0.5 * step, atol=1e-6)


@pytest.mark.parametrize("name", ["fedproto", "fedktl"])
def test_one_sample_more_moves_a_steps_sum_by_the_clip_at_most(name: str) -> None:
    algorithm = built(name)
    recipe, data, clip = algorithm.recipe, batches(), 0.01
    assert recipe is not None
    goal = recipe.targets(opening(name), torch.device("cpu"))
    descent = dp_sgd._PerSampleGradients(recipe, model().train(), goal)
    fields = next(recipe.step_inputs(goal, 0))
    everyone = torch.arange(SAMPLES)
    for gone in (0, 7, SAMPLES - 1):
        sums = [
            descent.sums(data, chosen, fields, clip)
            for chosen in (everyone, everyone[everyone != gone])
        ]
        away = torch.cat([(sums[0][key] - sums[1][key]).flatten() for key in sums[0]])
        assert away.norm() == pytest.approx(clip, rel=1e-3)  # each sample's is longer


def test_one_sample_more_moves_what_is_released_by_the_root_of_two_at_most() -> None:
    random = torch.Generator().manual_seed(2)
    values_NK = 5 * torch.randn(SAMPLES, WIDTH, generator=random)
    values_NK[3] = 0.01  # shorter than the clip
    values_NK[4] = math.inf
    labels_N = torch.arange(SAMPLES) % CLASSES
    for clip in (0.5, 100.0):
        whole = totals(values_NK, labels_N, CLASSES, clip)
        for gone in range(SAMPLES):
            kept = torch.arange(SAMPLES) != gone
            less = totals(values_NK[kept], labels_N[kept], CLASSES, clip)
            away = sum((a - b).square().sum() for a, b in zip(whole, less, strict=True))
            assert 1.0 <= math.sqrt(float(away)) <= math.sqrt(2) + 1e-5


def fedproto(data: Batches, asked: PrivacySettings) -> PrototypeUpload:
    algorithm = built("fedproto")
    assert algorithm.recipe is not None
    upload: PrototypeUpload = dp_sgd.train_private(
        algorithm.recipe, model(), data, algorithm.start()[1], asked, KEY
    )
    return upload


def test_without_noise_the_prototypes_are_the_means_of_all_samples() -> None:
    data, trained = batches(), model()
    algorithm = built("fedproto")
    assert algorithm.recipe is not None
    found = fedproto(data, quiet())
    dp_sgd.train_dp_sgd(algorithm.recipe, trained, data, algorithm.start()[1], quiet(), KEY)
    with torch.no_grad():
        features_NK = trained.eval()(data.inputs)[0]
    expected = prototypes.upload_of(features_NK, data.labels, CLASSES)
    assert found.labels_N.tolist() == expected.labels_N.tolist()
    assert found.counts_N.tolist() == [6, 6, 5, 5]  # the last incomplete batch's samples too
    assert np.allclose(found.prototypes_ND, expected.prototypes_ND, atol=1e-5)


def test_the_noise_of_what_is_released() -> None:
    algorithm, data = built("fedproto"), batches(400)
    assert algorithm.recipe is not None
    asked = quiet(prototype_noise=2.0, prototype_clip=3.0)
    found = noisy_class_means(algorithm.recipe, model(), data, asked, KEY)
    truth = noisy_class_means(algorithm.recipe, model(), data, quiet(prototype_clip=3.0), KEY)
    scale = 2.0 * math.sqrt(2)
    drawn_P = scale * noise.normal(KEY, "prototypes", CLASSES * WIDTH + CLASSES)
    counts_C = truth.counts_N + drawn_P[-CLASSES:]
    sums_CK = truth.means_NK / 3.0 * 100 + drawn_P[:-CLASSES].view(CLASSES, WIDTH)
    assert found.counts_N.tolist() == counts_C.round().tolist()
    assert torch.allclose(found.means_NK, 3.0 * sums_CK / counts_C[:, None], atol=1e-5)


def test_a_class_of_few_samples_is_not_sent() -> None:
    data = batches(200)
    few = replace(data, labels=torch.where(torch.arange(200) < 4, 1, 0))
    asked = quiet(prototype_noise=3.0, prototype_clip=1.0)
    found = fedproto(few, asked)
    assert found.labels_N.tolist() == [0]  # 4 samples are below 3 x 3 x sqrt 2
    assert abs(int(found.counts_N[0]) - 196) < 15
    assert np.linalg.norm(found.prototypes_ND, axis=1).max() <= 1.0 + 1e-6


def test_nothing_may_be_sent_at_all() -> None:
    found = fedproto(batches(), PrivacySettings(prototype_noise=100.0))
    assert len(found.labels_N) == 0
    state, broadcast = built("fedtgp").start()
    _, after = built("fedtgp").aggregate(state, [found, found])
    assert after.prototypes_CD.shape == broadcast.prototypes_CD.shape


@pytest.mark.parametrize("name", PRIVATE)
def test_a_round_of_every_private_algorithm(name: str) -> None:
    algorithm, asked = built(name), PrivacySettings(prototype_noise=0.1)
    assert algorithm.recipe is not None
    broadcast, uploads = algorithm.start()[1], []
    for key in (KEY, KEY, b"another"):
        mine = model()
        upload = dp_sgd.train_private(algorithm.recipe, mine, batches(), broadcast, asked, key)
        algorithm.check(upload)
        uploads.append((weights(mine), upload))
    assert torch.equal(uploads[0][0], uploads[1][0])
    assert not torch.equal(uploads[0][0], uploads[2][0])
    if isinstance(uploads[0][1], PrototypeUpload):
        assert len(uploads[0][1].labels_N) == CLASSES
        assert not np.array_equal(uploads[0][1].prototypes_ND, uploads[2][1].prototypes_ND)


def test_samples_are_drawn_with_one_chance_each() -> None:
    times = torch.zeros(50)
    for step in range(2000):
        times[sample_step(KEY, step, 50, 0.2)] += 1
    assert times.sub(400).abs().max() < 70  # four standard deviations
    assert 390 < times.mean() < 410


def test_without_a_full_batch_nothing_is_trained() -> None:
    algorithm, mine = built("fedavg"), model()
    assert algorithm.recipe is not None
    dp_sgd.train_dp_sgd(algorithm.recipe, mine, batches(3), None, PrivacySettings(), KEY)
    assert torch.equal(weights(mine), weights(model()))


def test_batch_normalisation_is_refused() -> None:
    with pytest.raises(ModelError, match="mixes the samples of a batch; use one without it"):
        dp_sgd.check_model(model("resnet4"), "somebody")
    dp_sgd.check_model(model("cnn"), "somebody")


def test_a_model_that_looks_at_its_numbers_is_refused() -> None:
    class Choosy(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            flat: Tensor = inputs.flatten(1)
            return flat if flat.sum() > 0 else -flat

    algorithm = algorithms.load("local", None, classes=2, width=2)
    assert algorithm.recipe is not None
    mine = SplitModel(Choosy(), width=2, classes=2, features=2)
    data = Batches(torch.ones(4, 2), torch.zeros(4, dtype=torch.int64), 4)
    with pytest.raises(ModelError, match=r"no gradient of a single sample .*; use another"):
        dp_sgd.train_dp_sgd(algorithm.recipe, mine, data, None, PrivacySettings(), KEY)


def test_algorithms_of_more_than_one_descent_are_refused() -> None:
    refused = [name for name in algorithms.built_in() if built(name).recipe is None]
    assert not set(refused) & set(PRIVATE)
    for name in refused:
        with pytest.raises(ConfigError, match=f"a round of {name} .* has no private form"):
            algorithms.check_private(name, built(name))
    for name in PRIVATE:
        algorithms.check_private(name, built(name))


def test_dropout_is_drawn_for_each_sample() -> None:
    mine = SplitModel(nn.Sequential(nn.Flatten(), nn.Dropout(0.5)), width=2, classes=2, features=2)
    first = copy.deepcopy(mine)
    data = Batches(torch.ones(8, 2), torch.zeros(8, dtype=torch.int64), 4)
    algorithm = algorithms.load("local", None, classes=2, width=2)
    assert algorithm.recipe is not None
    dp_sgd.train_dp_sgd(algorithm.recipe, mine, data, None, quiet(), KEY)
    assert not torch.equal(weights(mine), weights(first))
