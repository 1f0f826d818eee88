"""A pool's clients: what they hold, and what identifies them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeloop.data import Partition, Pool, split
from edgeloop.errors import DataError

PIXELS = np.array([0, 51, 102, 255] * 4, np.uint8).reshape(16, 1, 1, 1)
POOL = Pool(PIXELS, np.arange(16) % 2, ("even", "odd"))
HALVES = Partition("iid", clients=2, balanced=True)


def test_bytes_become_pixels_between_minus_one_and_one() -> None:
    federation = split(POOL, Partition("iid", clients=1))
    train = federation.client(0).train
    assert train.inputs.dtype == np.float32
    expected = np.array([-1, -0.6, -0.2, 1], np.float32)
    np.testing.assert_allclose(np.unique(train.inputs), expected, atol=1e-7)
    assert federation.pixels
    assert (federation.classes, federation.shape, len(train)) == (2, (1, 1, 1), 12)


def test_values_stay_as_they_are() -> None:
    values = np.array([[3.5], [-2.0]] * 4, np.float32)
    federation = split(Pool(values, np.array([0, 1] * 4), ("a", "b")), Partition("iid", clients=1))
    assert set(federation.client(0).train.inputs[:, 0].tolist()) == {3.5, -2.0}
    assert not federation.pixels


def test_images_of_values_are_pixels_only_in_their_range() -> None:
    image = np.full((4, 3, 2, 2), -1, np.float32)
    names, labels = ("a", "b"), np.array([0, 1, 0, 1])
    assert Pool(image, labels, names).pixels
    assert not Pool(image * 1.01, labels, names).pixels
    assert Pool(-image, labels, names).pixels
    assert not Pool(-image * 1.01, labels, names).pixels
    assert not Pool(image[:, :, :1], labels, names).pixels
    assert not Pool(np.concatenate([image, image], axis=1), labels, names).pixels


@pytest.mark.parametrize("client", [-1, 2])
def test_a_client_out_of_range_is_named(client: int) -> None:
    federation = split(POOL, HALVES)
    with pytest.raises(DataError, match=f"client {client}: does not exist.*use 0 to 1"):
        federation.client(client)
    with pytest.raises(DataError, match=f"client {client}"):
        federation.labels(client)


def test_the_fingerprint_tells_partitions_and_labels_apart() -> None:
    fingerprint = split(POOL, HALVES).fingerprint()
    assert len(bytes.fromhex(fingerprint)) == 32
    assert split(POOL, HALVES).fingerprint() == fingerprint
    assert split(POOL, replace(HALVES, seed=2)).fingerprint() != fingerprint
    natural = replace(POOL, clients=np.repeat(np.arange(2), 8))
    swapped = replace(natural, labels=1 - POOL.labels)
    subjects = Partition("natural")
    assert split(swapped, subjects).fingerprint() != split(natural, subjects).fingerprint()


@pytest.mark.parametrize(
    ("pool", "problem"),
    [
        ({"labels": np.array([0, 1, 2] + [0] * 13)}, "sample 2 has label 2, out of range"),
        ({"labels": np.array([-1] + [0] * 15)}, "sample 0 has label -1, out of range"),
        ({"labels": np.zeros(15, np.int64)}, "16 inputs for labels of shape"),
        ({"clients": np.zeros(3, np.int64)}, "clients: 3 client ids for 16 samples"),
    ],
)
def test_a_pool_checks_itself(pool: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        replace(POOL, **pool)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_named(value: float) -> None:
    inputs = np.zeros((3, 2), np.float32)
    inputs[1, 1] = value
    with pytest.raises(DataError, match="sample 1 holds a value that is not finite"):
        Pool(inputs, np.zeros(3, np.int64), ("a",))
