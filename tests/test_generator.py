"""What all generators share: their random draws, their latents' sphere, images as inputs."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgeloop.generator import as_inputs, check_width, drawn_classes, noise, on_sphere

Pixels = NDArray[np.uint8]


def drawn(*shape: int) -> Pixels:
    return np.random.default_rng(3).integers(0, 256, shape, np.uint8)


def by_pillow(plane: Pixels, height: int, width: int) -> NDArray[np.int64]:
    resized = Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized).astype(np.int64)


def apart(ours: Pixels, theirs: Sequence[NDArray[np.int64]] | NDArray[np.int64]) -> int:
    """How many grey levels two images differ by at most."""
    assert ours.shape == np.shape(theirs)
    return int(np.abs(ours.astype(np.int64) - np.asarray(theirs)).max())


def test_noise_is_the_seeds_and_standard_normal() -> None:
    whole = noise(4000, 5, seed=1)
    assert whole.shape == (4000, 5)
    assert whole.dtype == np.float32
    assert whole.mean() == pytest.approx(0, abs=0.03)
    assert whole.std() == pytest.approx(1, abs=0.03)
    assert np.array_equal(whole, noise(4000, 5, seed=1))
    assert not np.array_equal(whole, noise(4000, 5, seed=2))


def test_classes_are_the_seeds_and_all_as_likely() -> None:
    whole = drawn_classes(3000, 3, seed=1)
    assert whole.dtype == np.int64
    counts = np.bincount(whole)
    assert len(counts) == 3
    assert np.abs(counts - 1000).max() < 120
    assert np.array_equal(whole, drawn_classes(3000, 3, seed=1))
    assert not np.array_equal(whole, drawn_classes(3000, 3, seed=2))


def test_classes_are_not_drawn_from_the_noises_stream() -> None:
    noises_own = np.random.default_rng(1).integers(0, 1000, 8)
    assert not np.array_equal(drawn_classes(8, 1000, seed=1), noises_own)


def test_the_first_entries_are_put_on_the_sphere() -> None:
    latents_NH = np.array([[3, 4, 7], [-0.3, 0.4, 0]], np.float32)
    root = np.sqrt(2)
    expected = [[0.6 * root, 0.8 * root, 7], [-0.6 * root, 0.8 * root, 0]]
    np.testing.assert_allclose(on_sphere(latents_NH, 2), expected, rtol=1e-6)
    assert latents_NH[0].tolist() == [3, 4, 7]


def test_without_a_sphere_latents_are_as_they_were() -> None:
    latents_NH = np.array([[3, 4, 7]], np.float32)
    assert on_sphere(latents_NH, 0).tolist() == [[3, 4, 7]]


def test_a_latent_of_no_length_stays_a_number() -> None:
    found = on_sphere(np.zeros((1, 3), np.float32), 3)
    assert found.dtype == np.float32
    assert found.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("shape", [(2, 7), (2, 9), (8,), (1, 2, 8)])
def test_latents_of_another_width_are_refused(shape: tuple[int, ...]) -> None:
    check_width(np.zeros((0, 8), np.float32), 8)
    with pytest.raises(ValueError, match="the generator's are 8 wide") as caught:
        check_width(np.zeros(shape, np.float32), 8)
    assert f"latents of shape {shape}" in str(caught.value)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_that_fits_is_left_alone(channels: int) -> None:
    images = drawn(2, channels, 6, 6)
    found = as_inputs(images, (channels, 6, 6))
    assert found.dtype == np.uint8
    assert np.array_equal(found, images)


def test_a_colour_becomes_the_grey_it_looks_like() -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (10, 20, 30)]
    images = np.array(colours, np.uint8)[:, :, None, None].repeat(2, 2).repeat(2, 3)
    greys = as_inputs(images, (1, 2, 2))
    assert greys[:, 0, 0, 0].tolist() == [76, 150, 29, 255, 18]
    assert greys.shape == (5, 1, 2, 2)


def test_a_grey_becomes_three_equal_colours() -> None:
    images = drawn(2, 1, 4, 4)
    found = as_inputs(images, (3, 4, 4))
    assert np.array_equal(found, images.repeat(3, 1))


@pytest.mark.parametrize("side", [3, 5, 12, 17])
def test_a_resized_image_is_pillows(side: int) -> None:
    images = drawn(2, 3, 8, 8)
    expected = [[by_pillow(plane, side, side) for plane in image] for image in images]
    assert apart(as_inputs(images, (3, side, side)), np.array(expected)) <= 1


def test_the_middle_of_a_wide_image_is_cut_out() -> None:
    images = drawn(1, 1, 4, 10)
    assert np.array_equal(as_inputs(images, (1, 4, 4)), images[:, :, :, 3:7])
    expected = by_pillow(images[0, 0], 8, 20)[:, 6:14]
    assert apart(as_inputs(images, (1, 8, 8))[0, 0], expected) <= 1


def test_the_middle_of_a_tall_image_is_cut_out() -> None:
    images = drawn(1, 1, 10, 4)
    assert np.array_equal(as_inputs(images, (1, 4, 4)), images[:, :, 3:7])


def test_an_input_that_is_not_square() -> None:
    images = drawn(1, 1, 8, 8)
    expected = by_pillow(images[0, 0], 6, 6)[1:5]
    assert apart(as_inputs(images, (1, 4, 6))[0, 0], expected) <= 1
    assert as_inputs(drawn(1, 3, 7, 5), (3, 28, 31)).shape == (1, 3, 28, 31)


@pytest.mark.parametrize("shape", [(9, 1, 12), (9, 12), (3, 1, 12), (1, 12)])
def test_a_signal_is_the_whole_image_row_after_row(shape: tuple[int, ...]) -> None:
    images = drawn(2, 1, 8, 6)
    found = as_inputs(images, shape)
    expected = [by_pillow(image[0], shape[0], 12).reshape(shape) for image in images]
    assert apart(found, np.array(expected)) <= 1
    exact = drawn(2, 1, shape[0], 12)
    assert np.array_equal(as_inputs(exact, shape), exact.reshape(2, *shape))


def test_a_signal_of_a_colour_image_is_of_its_grey() -> None:
    images = drawn(2, 3, 9, 12)
    greys = as_inputs(images, (1, 9, 12))
    assert np.array_equal(as_inputs(images, (9, 1, 12)), greys.reshape(2, 9, 1, 12))


def test_the_generators_images_are_left_alone() -> None:
    images = drawn(2, 3, 8, 8)
    before = images.copy()
    as_inputs(images, (1, 4, 4))[:] = 0
    as_inputs(images, (3, 8, 8))[:] = 0
    assert np.array_equal(images, before)
