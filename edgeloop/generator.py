"""What a generator is: latents to images, frozen; the implementations are in `edgeloop.generators`.

Shape suffixes: N samples, H entries of a latent, P an input's entries; after N come an image's own
channels, height and width.
"""

from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from edgeloop.errors import GeneratorError

Latents = NDArray[np.float32]
Images = NDArray[np.uint8]

_LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601: what grey a colour looks like."""


class Generator(Protocol):
    """A frozen image generator; it owns the normalisation of its latents.

    Attributes:
        identity: SHA-256 of its weights, hexadecimal: another one's images are another's.
        latent_dim: H.
        shape: of one image: channels (1 or 3), height, width.
    """

    @property
    def identity(self) -> str:
        """SHA-256 of the weights."""
        ...

    @property
    def latent_dim(self) -> int:
        """H."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image, channels first."""
        ...

    def sample_latents(self, count: int, seed: int) -> Latents:
        """Draw latents (N, H) from the generator's prior; a seed's latents are always the same.

        Raises:
            GeneratorError: if it cannot be reached, or is another one by now.
        """
        ...

    def normalise(self, latents_NH: Latents) -> Latents:
        """Return the latents (N, H) that images are really made from: an average's, say.

        Raises:
            ValueError: if the latents are not H wide.
        """
        ...

    def synthesize(self, latents_NH: Latents) -> Images:
        """Return the images (N, channels, height, width) of latents (N, H), averages included.

        The images of latents and of the same latents normalised are the same.

        Raises:
            ValueError: if the latents are not H wide.
            GeneratorError: if it cannot be reached, or is another one by now.
        """
        ...


def noise(count: int, width: int, seed: int) -> NDArray[np.float32]:
    """Draw standard normal noise (N, width), the same for a seed wherever it is drawn."""
    return np.random.default_rng(seed).standard_normal((count, width), np.float32)


def drawn_classes(count: int, classes: int, seed: int) -> NDArray[np.int64]:
    """Draw classes (N,) of a conditional generator, each as likely as any other."""
    return np.random.default_rng([seed, 1]).integers(0, classes, count)


def on_sphere(latents_NH: Latents, entries: int) -> Latents:
    """Put the first so many entries of each latent on the sphere of radius sqrt(entries).

    That is where standard normal vectors of many entries lie, but their averages do not.
    """
    first = latents_NH[:, :entries]
    lengths = np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-8)
    scaled: Latents = latents_NH.copy()
    scaled[:, :entries] = first * (np.sqrt(np.float32(entries)) / lengths)
    return scaled


def check_identity(generator: Generator, agreed: str) -> None:
    """Refuse another generator than was agreed on, by its SHA-256.

    Raises:
        GeneratorError: naming both.
    """
    if generator.identity != agreed:
        problem = (
            f"is another one ({generator.identity[:12]}) than the run began with "
            f"({agreed[:12] or 'none'})"
        )
        raise GeneratorError("generator", problem, "bring the old one back, or start a new run")


def check_width(latents_NH: Latents, latent_dim: int) -> None:
    """Refuse latents of another width than the generator's.

    Raises:
        ValueError: naming both.
    """
    if latents_NH.ndim != 2 or latents_NH.shape[1] != latent_dim:
        problem = f"latents of shape {latents_NH.shape}"
        raise ValueError(f"{problem}, the generator's are {latent_dim} wide")


def as_inputs(images: Images, shape: tuple[int, ...]) -> Images:
    """Make generated images what a client's model reads, still as pixels.

    An image is resized so that its shorter side fits (bilinear, antialiased), cut in the middle,
    and made grey or coloured. For a signal, (channels, 1, steps) or (channels, steps), the grey
    image is resized to channels x steps: row after row, it is read as channels over time.

    Args:
        images: (N, channels, height, width).
        shape: of one input of the clients, channels first.

    Returns:
        (N, *shape).
    """
    pixels = torch.from_numpy(images).float()
    if len(shape) == 3 and shape[0] in (1, 3) and shape[1] > 1:
        fitted = _coloured(_cut(pixels, shape[1], shape[2]), shape[0])
    else:
        fitted = _resized(_coloured(pixels, 1), shape[0], int(np.prod(shape[1:])))
    whole: Images = fitted.round().clamp(0, 255).byte().numpy().reshape(-1, *shape)
    return whole


def _cut(pixels: Tensor, height: int, width: int) -> Tensor:
    """Resize until both sides are long enough, then cut the middle."""
    scale = max(height / pixels.shape[2], width / pixels.shape[3])
    tall, wide = (max(1, round(side * scale)) for side in pixels.shape[2:])
    larger = _resized(pixels, tall, wide)
    top, left = (tall - height) // 2, (wide - width) // 2
    return larger[:, :, top : top + height, left : left + width]


def _resized(pixels: Tensor, height: int, width: int) -> Tensor:
    if pixels.shape[2:] == (height, width):
        return pixels
    return F.interpolate(
        pixels, (height, width), mode="bilinear", antialias=True, align_corners=False
    )


def _coloured(pixels: Tensor, channels: int) -> Tensor:
    if pixels.shape[1] == channels:
        return pixels
    if channels == 3:
        return pixels.expand(-1, 3, -1, -1)
    return (pixels * torch.tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
