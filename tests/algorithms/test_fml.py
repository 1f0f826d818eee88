import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from edgeloop import algorithms, models
from edgeloop.algorithm import Batches
from edgeloop.algorithms import fml
from edgeloop.errors import ConfigError
from edgeloop.knowledge import mutual_distillation, weights
from edgeloop.knowledge.weights import Weights, WeightsUpload
from edgeloop.models import SplitModel
from edgeloop.training.sgd import cross_entropy

CONFIG = fml.Config(
    classes=3, width=4, shape=(1, 16, 16), local_lr=0.1, model_share=0.25, auxiliary_share=0.75
)
IMAGES = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
BATCHES = Batches(IMAGES, torch.tensor([0, 1, 2, 0]), 4)


def personal() -> SplitModel:
    return models.build("cnn", CONFIG.shape, 3, 4, seed=1)


def test_clients_count_alike() -> None:
    def upload(samples: int, value: float) -> WeightsUpload:
        return WeightsUpload(samples, np.array([value, 4.0], np.float32))

    uploads = [upload(1, 0.0), upload(3, 8.0)]
    _, broadcast = fml.build(CONFIG).aggregate(Weights(np.zeros(2, np.float32)), uploads)
    assert broadcast.weights_P.tolist() == [4.0, 4.0]


def test_the_auxiliary_model_is_the_seeds() -> None:
    algorithm = fml.build(CONFIG)
    _, broadcast = algorithm.start()
    expected = models.build("cnn", CONFIG.shape, 3, 4, seed=0)
    assert broadcast.weights_P.tolist() == weights.flat(expected.own()).tolist()
    assert algorithm.sizes == {"P": len(broadcast.weights_P)}
    _, other = fml.build(dataclasses.replace(CONFIG, seed=1)).start()
    assert other.weights_P.tolist() != broadcast.weights_P.tolist()


def stepped(parameters: list[Tensor], slopes: tuple[Tensor, ...], clip: float) -> list[Tensor]:
    """A step of 0.1 down the slopes, which together are no longer than `clip`."""
    norm = torch.cat([slope.reshape(-1) for slope in slopes]).norm().item()
    scale = min(1.0, clip / norm)
    return [old - 0.1 * scale * slope for old, slope in zip(parameters, slopes, strict=True)]


@pytest.mark.parametrize("clip", [10.0, 0.01])
def test_both_models_descend_both_losses_each_clipped_alone(clip: float) -> None:
    algorithm = fml.build(dataclasses.replace(CONFIG, clip=clip))
    _, broadcast = algorithm.start()
    weights_P = broadcast.weights_P * np.float32(1.5)
    model, auxiliary = personal(), models.build("cnn", CONFIG.shape, 3, 4)
    weights.assign(auxiliary.own(), weights_P)
    logits, others = model(IMAGES)[1], auxiliary(IMAGES)[1]
    both = (
        0.25 * F.cross_entropy(logits, BATCHES.labels)
        + 0.75 * mutual_distillation.divergence(logits, others)
        + 0.75 * F.cross_entropy(others, BATCHES.labels)
        + 0.25 * mutual_distillation.divergence(others, logits)
    )
    slopes = [
        torch.autograd.grad(both, each.own(), retain_graph=True) for each in (model, auxiliary)
    ]
    expected = [
        weights.flat(stepped([*each.own()], slope, clip))
        for each, slope in zip((model, auxiliary), slopes, strict=True)
    ]
    sent = algorithm.train(model, BATCHES, Weights(weights_P))
    np.testing.assert_allclose(weights.flat(model.own()), expected[0], atol=1e-6)
    np.testing.assert_allclose(sent.weights_P, expected[1], atol=1e-6)
    assert sent.samples == 4


def test_the_auxiliary_model_has_no_memory() -> None:
    algorithm = fml.build(CONFIG)
    _, broadcast = algorithm.start()
    first = algorithm.train(personal(), BATCHES, broadcast)
    again = algorithm.train(personal(), BATCHES, broadcast)
    assert first.weights_P.tolist() == again.weights_P.tolist()
    assert not personal().kept


def test_batch_normalisation_learns_in_training_mode() -> None:
    config = dataclasses.replace(CONFIG, architecture="resnet4")
    algorithm = fml.build(config)
    _, broadcast = algorithm.start()
    model, auxiliary = personal(), models.build("resnet4", CONFIG.shape, 3, 4).train()
    both = fml.both_losses(model, auxiliary, (IMAGES, BATCHES.labels), config)
    slopes = torch.autograd.grad(both, auxiliary.own())
    expected = weights.flat(stepped([*auxiliary.own()], slopes, 10.0))
    sent = algorithm.train(model, BATCHES, broadcast)
    np.testing.assert_allclose(sent.weights_P, expected, atol=1e-5)


def test_a_client_without_a_full_batch_sends_the_model_back() -> None:
    algorithm = fml.build(CONFIG)
    _, broadcast = algorithm.start()
    sent = algorithm.train(personal(), Batches(IMAGES, BATCHES.labels, 5), broadcast)
    assert sent.weights_P.tolist() == broadcast.weights_P.tolist()


def test_classification_and_loss_are_the_clients_own(identity: SplitModel) -> None:
    algorithm = fml.build(CONFIG)
    assert algorithm.predict(identity, torch.tensor([[3.0, 5.0]]), None).tolist() == [[3.0, 5.0]]
    assert algorithm.loss is cross_entropy


@pytest.mark.parametrize("options", [{"model_share": 1.5}, {"auxiliary_share": -0.1}, {"clip": 0}])
def test_a_share_is_between_0_and_1(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        algorithms.load("fml", classes=3, width=4, **options)
