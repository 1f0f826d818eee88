"""Draws rings: `rings:SIDE` makes grey images of SIDE x SIDE pixels, 28 where nothing is said.

Shape suffixes: N samples, H entries of a latent; then channels, height and width.
"""

import hashlib

import numpy as np

from edgeloop.errors import GeneratorError
from edgeloop.generator import check_width, noise


class Rings:
    """Four numbers to a ring: the middle's place, its radius, its width."""

    latent_dim = 4

    def __init__(self, words: str) -> None:
        if words and not words.isdecimal():
            raise GeneratorError("generator", f"rings of {words!r} pixels", "write rings:28")
        side = int(words or 28)
        self.shape = (1, side, side)
        self.identity = hashlib.sha256(f"rings 1, {side} pixels".encode()).hexdigest()

    def sample_latents(self, count, seed):
        """Draw latents (N, 4)."""
        return noise(count, self.latent_dim, seed)

    def normalise(self, latents_NH):
        """Return the latents: any four numbers are a ring."""
        check_width(latents_NH, self.latent_dim)
        return latents_NH

    def synthesize(self, latents_NH):
        """Return images (N, 1, side, side), uint8."""
        x, y, radius, width = np.tanh(self.normalise(latents_NH)).T[:, :, None, None]
        line = np.linspace(-1, 1, self.shape[1], dtype=np.float32)
        away = np.hypot(line[None, None, :] - x / 2, line[None, :, None] - y / 2)
        bright = np.exp(-(((away - 0.4 - radius / 4) / (0.15 + width / 10)) ** 2))
        return (255 * bright).astype(np.uint8)[:, None]
