"""Latents and images beside a generator's own."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeloop import generators
from edgeloop.generator import Images
from edgeloop.generators.onnx import OnnxGenerator
from edgeloop.knowledge import sample_statistics
from edgeloop.knowledge.sample_statistics import SampleStatistics
from tests.generators.tiny import write_tiny


def test_values_by_hand() -> None:
    latents = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    images = np.zeros((2, 1, 2, 2), np.uint8)
    images[0, 0] = [[0, 10], [0, 0]]
    found = sample_statistics.measure(latents, images)
    assert found.norm == 2.5
    assert found.variance == (1.5**2 + 2**2) / 2
    assert (found.apart, found.difference) == (5.0, 10.0)
    assert found.sharpness == pytest.approx(np.sqrt(100 / 4 + 100 / 4))


@pytest.mark.parametrize("shape", [(1, 9, 9), (3, 8, 8), (6, 1, 128), (9, 128)])
def test_every_shape_of_an_input_has_edges(shape: tuple[int, ...]) -> None:
    flat = np.full((3, *shape), 7, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (3, *shape), np.uint8)
    latents = np.zeros((3, 4), np.float32)
    assert sample_statistics.measure(latents, flat).sharpness == 0
    assert sample_statistics.measure(latents, noise).sharpness > 50


def test_many_classes_are_compared_by_some_of_them() -> None:
    points = np.random.default_rng(0).standard_normal((1000, 50)).astype(np.float32)
    assert sample_statistics.mean_distance(points) == pytest.approx(10, rel=0.02)
    assert sample_statistics.mean_distance(points[:1]) == 0


def test_a_generators_own_are_a_function_of_the_seed(tmp_path: Path) -> None:
    generator = OnnxGenerator(write_tiny(tmp_path / "tiny"))
    first, again, other = (
        sample_statistics.measure_generator(generator, (1, 6, 6), s) for s in (1, 1, 2)
    )
    assert first == again != other


@pytest.fixture(scope="module")
def digits() -> tuple[SampleStatistics, NDArray[np.float32], Images]:
    generator = generators.load(generators.EMBEDDED)
    latents = generator.sample_latents(160, 3)
    own = sample_statistics.measure_generator(generator, generator.shape, 1)
    return own, latents, generator.synthesize(latents)


def told(own: SampleStatistics, latents: NDArray[np.float32], images: Images) -> set[str]:
    found = sample_statistics.relative_to(
        sample_statistics.measure(latents, images), own, len(latents)
    )
    sentences = sample_statistics.metric_warnings(found)
    assert all(sentence.startswith("the classes' ") for sentence in sentences.values())
    return set(sentences)


def test_other_samples_are_as_the_generators_own(
    digits: tuple[SampleStatistics, NDArray[np.float32], Images],
) -> None:
    own, latents, images = digits
    for start in range(0, 160, 10):
        assert told(own, latents[start : start + 10], images[start : start + 10]) == set()


def test_what_is_wrong_is_named(
    digits: tuple[SampleStatistics, NDArray[np.float32], Images],
) -> None:
    own, latents, images = digits
    ten, shown = latents[:10], images[:10]
    assert told(own, 5 * ten, shown) == {"far"}
    assert told(own, ten, shown[:1].repeat(10, axis=0)) == {"alike"}
    assert told(own, ten, shown // 3) == {"dull"}
    means = images.reshape(10, 16, 1, 28, 28).mean(axis=1).astype(np.uint8)
    assert told(own, ten, means) == {"alike", "dull"}
    assert told(own, 5 * ten, np.zeros_like(shown)) == {"far", "alike", "dull"}


def test_a_generator_of_one_picture_is_no_yardstick() -> None:
    nothing = SampleStatistics(0.0, 0.0, 0.0, 0.0, 0.0)
    found = sample_statistics.relative_to(nothing, nothing, 5)
    assert set(found.values()) == {1.0}
