"""Metrics and descents by hand-made numbers."""

import math

import numpy as np
import pytest
import torch

from edgeloop.batches import Batches, Descent
from edgeloop.errors import ConfigError
from edgeloop.training import descent, metrics

SCORES = np.array([[2, 1, 0], [2, 1, 0], [0, 1, 0], [2, 1, 0]], np.float32)
LABELS = np.array([0, 0, 1, 1])


def test_balanced_accuracy() -> None:
    assert metrics.balanced_accuracy(SCORES, LABELS) == pytest.approx((1 + 0.5) / 2)


def test_macro_f1() -> None:
    first, second = 2 * 2 / (3 + 2), 2 * 1 / (1 + 2)
    assert metrics.macro_f1(SCORES, LABELS) == pytest.approx((first + second) / 2)


def test_schedules() -> None:
    cosine, linear, base = map(descent.schedule_of, ("cosine", "linear", "exponential 0.5"))
    assert [cosine(number, 4) for number in (0, 2)] == pytest.approx([1, 0.5])
    assert [linear(number, 4) for number in range(4)] == [1, 0.75, 0.5, 0.25]
    assert [base(number, 4) for number in range(3)] == [1, 0.5, 0.25]
    for wrong in ("exponential", "exponential x", "exponential 2", "cosine 3"):
        with pytest.raises(ConfigError, match="schedule: there is no"):
            descent.schedule_of(wrong)


def test_flip_and_crop_keep_the_images() -> None:
    images = torch.arange(2 * 16 * 16, dtype=torch.float32).view(1, 2, 16, 16).repeat(64, 1, 1, 1)
    turned = descent.flip(images)
    whole = {tuple(each[0, 0, :2].tolist()) for each in turned}
    assert whole == {(0.0, 1.0), (15.0, 14.0)}
    moved = descent.crop(images)
    assert moved.shape == images.shape
    places = {math.floor(float(each[1, 8, 8])) - 256 for each in moved}
    assert {divmod(place, 16) for place in places} <= {
        (y, x) for y in range(6, 11) for x in range(6, 11)
    }
    assert len(places) > 10


def test_augmentation_is_a_function_of_the_batch_s_seed() -> None:
    inputs, labels = torch.zeros(8, 1, 2, 2), torch.arange(8)

    def noisy(seed: int, epoch: int) -> list[float]:
        how = Descent(augment=lambda inputs: inputs + torch.rand_like(inputs))
        batches = Batches(inputs, labels, 4, seed, descent=how)
        return [float(each.sum()) for each, _ in batches.epoch(epoch)]

    before = torch.get_rng_state()
    assert noisy(1, 0) == noisy(1, 0)
    assert torch.equal(before, torch.get_rng_state())  # nobody else's stream has moved
    found = [*noisy(1, 0), *noisy(1, 1), *noisy(2, 0)]
    assert len(set(found)) == 6
