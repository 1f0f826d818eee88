"""Resampling with FIR filters in plain torch, as StyleGAN networks call it; for inference.

The batch axis stays free, so that a traced graph serves any batch. The definitions are those of
Karras et al., Analyzing and Improving the Image Quality of StyleGAN (2020), and the names of the
parameters those that the networks' own source uses. What only chooses an implementation is
ignored.

Shape suffixes: N samples, I channels, Y rows, X columns; x and f have none, as their callers name
them.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Padding = int | Sequence[int]
Margins = tuple[int, int, int, int]
"""Left, right, top, bottom; negative to crop."""


def setup_filter(
    f: Any,
    device: torch.device | str | None = None,
    normalize: bool = True,
    flip_filter: bool = False,
    gain: float = 1,
    separable: bool | None = None,
) -> Tensor:
    """Return a filter's taps: 2-d, or 1-d to be used along both axes, as eight or more are.

    Its gain is divided between the two uses of a 1-d one.
    """
    taps = torch.as_tensor(1 if f is None else f, dtype=torch.float32)
    taps = taps.reshape(1) if taps.ndim == 0 else taps
    if separable is None:
        separable = taps.ndim == 1 and taps.numel() >= 8
    if taps.ndim == 1 and not separable:
        taps = torch.outer(taps, taps)
    if normalize:
        taps = taps / taps.sum()
    if flip_filter:
        taps = taps.flip(list(range(taps.ndim)))
    scaled: Tensor = (taps * gain ** (taps.ndim / 2)).to(device=device)
    return scaled


def upfirdn2d(
    x: Tensor,
    f: Tensor | None,
    up: Padding = 1,
    down: Padding = 1,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1,
    **_: Any,
) -> Tensor:
    """Insert zeros, pad or crop, filter, keep every down-th pixel.

    Args:
        x: (N, I, Y, X).
        f: taps of `setup_filter`; None for the identity.
        up: factor, or (x, y).
        down: factor, or (x, y).
        padding: pixels of the upsampled image: one number, (x, y), or `Margins`.
        flip_filter: whether to correlate instead of to convolve.
        gain: of the whole.
    """
    x = _padded(_spread(x, *_pair(up)), four(padding))
    x = x * float(gain) if f is None else _filtered(x, f * gain ** (f.ndim / 2), flip_filter)
    down_x, down_y = _pair(down)
    return x[:, :, ::down_y, ::down_x]


def filter2d(
    x: Tensor, f: Tensor | None, padding: Padding = 0, flip_filter: bool = False, gain: float = 1
) -> Tensor:
    """Filter an image; it stays as large as it is."""
    width, height = _size(f)
    margins = (width // 2, (width - 1) // 2, height // 2, (height - 1) // 2)
    return upfirdn2d(x, f, 1, 1, added(padding, margins), flip_filter, gain)


def upsample2d(
    x: Tensor,
    f: Tensor | None,
    up: Padding = 2,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1,
    **_: Any,
) -> Tensor:
    """Make an image `up` times as large, and as bright."""
    by_x, by_y = _pair(up)
    margins = added(padding, up_margins(f, by_x, by_y))
    return upfirdn2d(x, f, up, 1, margins, flip_filter, gain * by_x * by_y)


def downsample2d(
    x: Tensor,
    f: Tensor | None,
    down: Padding = 2,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1,
    **_: Any,
) -> Tensor:
    """Make an image a `down`-th as large."""
    margins = added(padding, down_margins(f, *_pair(down)))
    return upfirdn2d(x, f, 1, down, margins, flip_filter, gain)


def up_margins(f: Tensor | None, by_x: int, by_y: int) -> Margins:
    """Return the padding that centres a filter behind upsampling."""
    width, height = _size(f)
    return (
        (width + by_x - 1) // 2,
        (width - by_x) // 2,
        (height + by_y - 1) // 2,
        (height - by_y) // 2,
    )


def down_margins(f: Tensor | None, by_x: int, by_y: int) -> Margins:
    """Return the padding that centres a filter before downsampling."""
    width, height = _size(f)
    return (
        (width - by_x + 1) // 2,
        (width - by_x) // 2,
        (height - by_y + 1) // 2,
        (height - by_y) // 2,
    )


def four(padding: Padding) -> Margins:
    """Return margins of one number, of (x, y), or of margins."""
    numbers = _numbers(padding)
    if len(numbers) == 1:
        numbers *= 4
    elif len(numbers) == 2:
        numbers = [numbers[0], numbers[0], numbers[1], numbers[1]]
    left, right, top, bottom = numbers
    return (left, right, top, bottom)


def added(padding: Padding, margins: Margins) -> Margins:
    """Return padding and margins together."""
    left, right, top, bottom = (
        one + other for one, other in zip(four(padding), margins, strict=True)
    )
    return (left, right, top, bottom)


def _pair(factor: Padding) -> tuple[int, int]:
    """Return factors along x and y."""
    numbers = _numbers(factor)
    return numbers[0], numbers[-1]


def _numbers(value: Padding) -> list[int]:
    """Return the numbers that a caller gave; a trace's number is a tensor."""
    return [int(number) for number in value] if isinstance(value, Sequence) else [int(value)]


def _size(f: Tensor | None) -> tuple[int, int]:
    """Return a filter's width and height."""
    return (1, 1) if f is None else (int(f.shape[-1]), int(f.shape[0]))


def _spread(x: Tensor, up_x: int, up_y: int) -> Tensor:
    """Put zeros behind every pixel."""
    if up_x == up_y == 1:
        return x
    channels, height, width = (int(side) for side in x.shape[1:])
    x = F.pad(x.reshape(-1, channels, height, 1, width, 1), [0, up_x - 1, 0, 0, 0, up_y - 1])
    return x.reshape(-1, channels, height * up_y, width * up_x)


def _padded(x: Tensor, margins: Margins) -> Tensor:
    if any(margins):
        x = F.pad(x, [max(margin, 0) for margin in margins])
    left, right, top, bottom = (max(-margin, 0) for margin in margins)
    if left or right or top or bottom:
        x = x[:, :, top : int(x.shape[2]) - bottom, left : int(x.shape[3]) - right]
    return x


def _filtered(x: Tensor, f: Tensor, flip_filter: bool) -> Tensor:
    """Filter each channel by itself; torch's convolution is a correlation."""
    channels = int(x.shape[1])
    taps = (f if flip_filter else f.flip(list(range(f.ndim)))).to(x.dtype)
    if f.ndim == 2:
        return F.conv2d(x, taps.expand(channels, 1, -1, -1), groups=channels)
    x = F.conv2d(x, taps[:, None].expand(channels, 1, -1, -1), groups=channels)
    return F.conv2d(x, taps[None].expand(channels, 1, -1, -1), groups=channels)
