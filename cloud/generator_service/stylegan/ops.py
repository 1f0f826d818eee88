"""Activations, convolutions and sampling points in plain torch, as StyleGAN networks call them.

The batch axis stays free, so that a traced graph serves any batch. The definitions are those of
Karras et al., Training Generative Adversarial Networks with Limited Data (2020) and Alias-Free
Generative Adversarial Networks (2021), and the names of the parameters those that the networks' own
source uses. What only chooses an implementation is ignored.

Shape suffixes: N samples, I channels in, O channels out, Y rows, X columns; x, f, w, b, s and c
have none, as the callers name them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cloud.generator_service.stylegan.filters import (
    Padding,
    added,
    down_margins,
    four,
    up_margins,
    upfirdn2d,
)


@dataclass(frozen=True)
class Activation:
    """A function, with the defaults that networks look up by these names.

    Attributes:
        func: of a tensor and alpha.
        def_alpha: alpha, where none is given.
        def_gain: where none is given.
    """

    func: Callable[[Tensor, float], Tensor]
    def_alpha: float = 0.0
    def_gain: float = 1.0


activation_funcs = {
    "linear": Activation(lambda x, _: x),
    "relu": Activation(lambda x, _: F.relu(x), def_gain=math.sqrt(2)),
    "lrelu": Activation(F.leaky_relu, 0.2, math.sqrt(2)),
    "tanh": Activation(lambda x, _: torch.tanh(x)),
    "sigmoid": Activation(lambda x, _: torch.sigmoid(x)),
    "elu": Activation(lambda x, _: F.elu(x)),
    "selu": Activation(lambda x, _: F.selu(x)),
    "softplus": Activation(lambda x, _: F.softplus(x)),
    "swish": Activation(lambda x, _: torch.sigmoid(x) * x, def_gain=math.sqrt(2)),
}


def bias_act(
    x: Tensor,
    b: Tensor | None = None,
    dim: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
    **_: Any,
) -> Tensor:
    """Add a bias along an axis, apply an activation, multiply by a gain, clamp to +-clamp."""
    kind = activation_funcs[act]
    if b is not None:
        x = x + b.reshape([-1 if axis == dim else 1 for axis in range(x.ndim)])
    x = kind.func(x, kind.def_alpha if alpha is None else float(alpha))
    x = x * float(kind.def_gain if gain is None else gain)
    return x if clamp is None or clamp < 0 else x.clamp(-float(clamp), float(clamp))


def fma(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return a * b + c."""
    return a * b + c


def conv2d_resample(
    x: Tensor,
    w: Tensor,
    f: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: Padding = 0,
    groups: int = 1,
    flip_weight: bool = True,
    flip_filter: bool = False,
    **_: Any,
) -> Tensor:
    """Upsample, convolve with weights (O, I / groups, Y, X), downsample.

    Args:
        x: (N, I, Y, X).
        w: the weights.
        f: taps of `setup_filter`, for both resamplings.
        up: factor.
        down: factor.
        padding: pixels of the upsampled image.
        groups: of the convolution.
        flip_weight: False for a convolution; True for a correlation, which torch calls one.
        flip_filter: whether to correlate with the filter.
    """
    margins = four(padding)
    margins = added(margins, up_margins(f, up, up)) if up > 1 else margins
    margins = added(margins, down_margins(f, down, down)) if down > 1 else margins
    kernel = w if flip_weight else w.flip([2, 3])
    if up > 1 and groups == 1:
        x = _upsampled(x, kernel, f, up, added(margins, _tails(kernel, up)), flip_filter)
    else:
        x = upfirdn2d(x, f if up > 1 else None, up, 1, margins, flip_filter, up**2)
        x = F.conv2d(x, kernel, groups=groups)
    return upfirdn2d(x, f, 1, down, 0, flip_filter) if down > 1 else x


def _upsampled(
    x: Tensor,
    kernel: Tensor,
    f: Tensor | None,
    up: int,
    margins: Sequence[int],
    flip_filter: bool,
) -> Tensor:
    """Convolve first, with a stride, and filter then: the same, and spares the inserted zeros."""
    x = F.conv_transpose2d(x, kernel.flip([2, 3]).transpose(0, 1), stride=up)
    return upfirdn2d(x, f, 1, 1, margins, flip_filter, up**2)


def _tails(kernel: Tensor, up: int) -> tuple[int, int, int, int]:
    """Return what a strided transposed convolution has too much, before and behind."""
    across, along = 1 - int(kernel.shape[3]), 1 - int(kernel.shape[2])
    return (across, across + up - 1, along, along + up - 1)


def filtered_lrelu(
    x: Tensor,
    fu: Tensor | None = None,
    fd: Tensor | None = None,
    b: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: Padding = 0,
    gain: float = math.sqrt(2),
    slope: float = 0.2,
    clamp: float | None = None,
    flip_filter: bool = False,
    **_: Any,
) -> Tensor:
    """Add a bias, upsample, apply a leaky ReLU, downsample."""
    x = upfirdn2d(bias_act(x, b), fu, up, 1, padding, flip_filter, up**2)
    x = bias_act(x, act="lrelu", alpha=slope, gain=gain, clamp=clamp)
    return upfirdn2d(x, fd, 1, down, 0, flip_filter)


def modulated_conv2d(
    x: Tensor,
    w: Tensor,
    s: Tensor,
    demodulate: bool = True,
    padding: int = 0,
    input_gain: Tensor | None = None,
) -> Tensor:
    """Convolve with weights (O, I, Y, X) scaled by styles (N, I), as StyleGAN3 does.

    It scales what goes in and what comes out instead of the weights, so that all samples share one
    convolution. Styles are normalised a sample, not over the batch: demodulation cancels it, and a
    sample does not depend on its neighbours.
    """
    if demodulate:
        w = w * w.square().mean([1, 2, 3], keepdim=True).rsqrt()
        s = s * s.square().mean(dim=1, keepdim=True).rsqrt()
    scale_NI = s if input_gain is None else s * input_gain
    y = F.conv2d(x * scale_NI[:, :, None, None], w.to(x.dtype), padding=padding)
    if not demodulate:
        return y
    power_NO = s.square() @ w.square().sum(dim=[2, 3]).t()
    return y * (power_NO + 1e-8).rsqrt()[:, :, None, None]


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """Return the sampling points (N, Y, X, 2) that torch does, with operations that ONNX 17 has."""
    height, width = int(size[-2]), int(size[-1])
    rows_YX, columns_YX = torch.meshgrid(
        _places(height, align_corners), _places(width, align_corners), indexing="ij"
    )
    points = torch.stack([columns_YX, rows_YX, torch.ones(height, width)], dim=2)
    placed = points.reshape(1, height * width, 3) @ theta.transpose(1, 2)
    return placed.reshape(-1, height, width, 2)


def _places(count: int, align_corners: bool) -> Tensor:
    """Return the places of pixels, or of their centres, between -1 and 1."""
    edge = 1.0 if align_corners else 1 - 1 / count
    return torch.linspace(-edge, edge, count)
