"""Image-latent pairs: what a generator makes of classes' latents, for models to learn from.

A pair is an anchor, not a sample: nothing says that the image shows its class, or anything of the
task's domain. A model that can tell these images' latents sees what images have in common.

Shape suffixes: N pairs, P entries of one input, H entries of a latent.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgeloop.generator import Generator, Latents, as_inputs
from edgeloop.seeds import derive


@dataclass(frozen=True, eq=False)
class Pairs:
    """An image and its latent for each class; none at first.

    Attributes:
        images_NP: pixels of one input, flattened; class n's in row n.
        latents_NH: the latents that the images were made from.
    """

    images_NP: npt.NDArray[np.uint8]
    latents_NH: npt.NDArray[np.float16]


def no_pairs(shape: tuple[int, ...], latent_dim: int) -> Pairs:
    """Return no pairs, of inputs of this shape."""
    return Pairs(np.zeros((0, math.prod(shape)), np.uint8), np.zeros((0, latent_dim), np.float16))


def generate_pairs(latents_NH: Latents, generator: Generator, shape: tuple[int, ...]) -> Pairs:
    """Have a generator make an image of each latent, as it travels and as it normalises it.

    Raises:
        GeneratorError: if the generator cannot be reached, or is another one by now.
    """
    largest = np.finfo(np.float16).max
    sent_NH = generator.normalise(latents_NH).clip(-largest, largest).astype(np.float16)
    images = as_inputs(generator.synthesize(sent_NH.astype(np.float32)), shape)
    return Pairs(images.reshape(len(images), -1), sent_NH)


def as_tensors(pairs: Pairs, shape: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the images (N, *shape) as a model reads them, in [-1, 1], and the latents (N, H)."""
    pixels_N = torch.tensor(pairs.images_NP, device=device).view(-1, *shape)
    images_N = pixels_N.float() / 127.5 - 1
    if images_N.ndim == 4:
        images_N = images_N.contiguous(memory_format=torch.channels_last)
    return images_N, torch.tensor(pairs.latents_NH, device=device).float()


def sample_pairs(
    images_N: Tensor, latents_NH: Tensor, size: int, seed: int
) -> Iterator[Mapping[str, Tensor]]:
    """Yield a few pairs, by these names, for ever; each pass in an order of its own.

    A last part that is one pair only joins the part before: batch normalisation needs two.
    """
    random = torch.Generator().manual_seed(derive(seed, "pairs"))
    count = len(images_N)
    while True:
        order_N = torch.randperm(count, generator=random)
        for rows in order_N.split(_sizes(count, size)) if count else [order_N]:
            picked = rows.to(images_N.device)
            yield {"images_N": images_N[picked], "latents_NH": latents_NH[picked]}


def _sizes(count: int, size: int) -> list[int]:
    sizes = [min(size, count - start) for start in range(0, count, size)]
    return [*sizes[:-2], sizes[-2] + 1] if len(sizes) > 1 and sizes[-1] == 1 < size else sizes
