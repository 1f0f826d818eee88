"""A yardstick for latents and images that were made for classes: the generator's own samples.

Shape suffixes: N latents or images, H entries of a latent; after N come an input's own dimensions.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeloop.generator import Generator, Images, Latents, as_inputs

LATENTS, IMAGES = 256, 16
"""How many of the generator's own are measured. An image of Stable Diffusion takes a minute."""

MOST = 64
"""Of latents or images, how many are compared with one another."""


class SampleStatistics(NamedTuple):
    """What latents and images have.

    Attributes:
        norm: the mean length of a latent.
        variance: of a latent's entries, their mean.
        apart: the mean distance of two latents.
        sharpness: the root mean square of the images' gradient, in grey levels a pixel.
        difference: the mean distance of two images, in grey levels.
    """

    norm: float
    variance: float
    apart: float
    sharpness: float
    difference: float


def measure(latents_NH: Latents, images_N: Images) -> SampleStatistics:
    """Measure latents (N, H), and images (N, ...) as models read them."""
    flat = images_N.reshape(len(images_N), -1)
    exact_NH = latents_NH.astype(np.float64)
    norm, variance = np.linalg.norm(exact_NH, axis=1).mean(), exact_NH.var(axis=0).mean()
    apart = mean_distance(latents_NH)
    return SampleStatistics(
        float(norm), float(variance), apart, sharpness(images_N), mean_distance(flat)
    )


def measure_generator(generator: Generator, shape: tuple[int, ...], seed: int) -> SampleStatistics:
    """Measure what a generator makes of its own prior, its images as inputs of this shape.

    Raises:
        GeneratorError: if it cannot be reached, or is another one by now.
    """
    latents_NH = generator.sample_latents(LATENTS, seed)
    return measure(latents_NH, as_inputs(generator.synthesize(latents_NH[:IMAGES]), shape))


def sharpness(images_N: Images) -> float:
    """Return the root mean square of the gradient along the last two dimensions of images."""
    pixels = torch.from_numpy(images_N).double()
    squares = [pixels.diff(dim=place).square() for place in _sides(pixels)]
    return math.sqrt(sum(float(each.mean()) for each in squares if each.numel()))


def _sides(pixels: Tensor) -> range:
    """Return the dimensions along which an image may have edges."""
    return range(max(1, pixels.ndim - 2), pixels.ndim)


def mean_distance(points_NP: NDArray[np.float32] | Images) -> float:
    """Return the mean distance of any two of these points; 0 for fewer than two."""
    step = max(1, math.ceil(len(points_NP) / MOST))
    some_NP = torch.from_numpy(points_NP[::step].astype(np.float64))
    return float(torch.pdist(some_NP).mean()) if len(some_NP) > 1 else 0.0


FAR, ALIKE, DULL = 3.0, 0.3, 0.5
"""Of the generator's own: latents longer than so many times, images less apart, less sharp.

With the embedded generator, measured (docs/fedktl.md): trained
centroids are 0.5 to 0.9 times as long as the prior's latents, collapsed ones 5 to 15 times; trained
images are 0.6 to 1.0 as far apart, collapsed ones below 0.15; trained ones are 0.9 to 1.1 times as
sharp, the mean of four images or a blur of 3 x 3 pixels 0.55.
"""


def relative_to(found: SampleStatistics, own: SampleStatistics, count: int) -> dict[str, float]:
    """Return what so many latents and images have, as shares of the generator's own.

    1 where there is nothing to compare: a single image, or a generator whose own are all alike.
    """
    shares = {
        "centroid_norm": (found.norm, own.norm),
        "centroid_spread": (found.apart, own.apart if count > 1 else 0.0),
        "image_sharpness": (found.sharpness, own.sharpness),
        "image_difference": (found.difference, own.difference if count > 1 else 0.0),
    }
    return {name: ours / theirs if theirs else 1.0 for name, (ours, theirs) in shares.items()}


def metric_warnings(measures: Mapping[str, float]) -> dict[str, str]:
    """Return what is wrong with latents and images that were `relative_to`, a sentence each."""
    length, apart = measures["centroid_norm"], measures["image_difference"]
    sharp = measures["image_sharpness"]
    found = {}
    if length > FAR:
        found["far"] = (
            f"the classes' latents are {length:.1f} times as long as the generator's own: it was"
            " not trained to make images of such"
        )
    if apart < ALIKE:
        found["alike"] = (
            f"the classes' images are nearly alike, {apart:.2f} times as far apart as the"
            " generator's own"
        )
    if sharp < DULL:
        found["dull"] = (
            f"the classes' images are dull, {sharp:.2f} times as sharp as the generator's own"
        )
    return found
