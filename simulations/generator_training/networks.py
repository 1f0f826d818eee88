"""A small style-based generator and its discriminator.

The generator follows StyleGAN2 (Karras et al. 2020, "Analyzing and Improving the Image Quality of
StyleGAN"): a mapping of noise to latents, and a synthesis whose convolutions a latent modulates and
whose output is the sum of what every resolution adds. It differs in that one latent goes to all
layers, there is no noise in the layers, and a tanh ends it: digits are mostly black and white.

Shape suffixes: N samples, Z entries of noise, H of a latent, I and O channels in and out, C
channels, Y and X pixels; K is 1 where there is nothing to tell apart.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

START = 7
"""Pixels on each side of the learned constant; every further resolution doubles them."""

SLOPE = 0.2
GAIN = math.sqrt(2.0)
"""Keeps the variance of what a leaky ReLU lets through."""

MAPPING_RATE = 0.1
"""How much slower the mapping learns, so that latents do not run away from the synthesis."""

LARGEST_GROUP = 8
"""Samples that the minibatch's standard deviation is taken over."""


@dataclass(frozen=True)
class Sizes:
    """How large the networks are.

    Attributes:
        noise_dim: Z.
        latent_dim: H.
        mapping_layers: of the mapping.
        generator: channels of each resolution, from 7 pixels up.
        discriminator: likewise.
    """

    noise_dim: int = 64
    latent_dim: int = 64
    mapping_layers: int = 4
    generator: tuple[int, ...] = (64, 32, 16)
    discriminator: tuple[int, ...] = (64, 32, 16)

    @property
    def pixels(self) -> int:
        """On each side of an image."""
        return int(START * 2 ** (len(self.generator) - 1))


class Linear(nn.Module):
    """A linear layer whose weights are standard normal and scaled at run time.

    So every layer learns at the same relative speed under Adam (Karras et al. 2018, "Progressive
    Growing of GANs", section 4.1).
    """

    def __init__(self, inputs: int, outputs: int, bias: float = 0.0, rate: float = 1.0) -> None:
        super().__init__()
        self.weight_OI = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias_O = nn.Parameter(torch.full((outputs,), bias / rate))
        self.rate = rate

    def forward(self, values_NI: Tensor) -> Tensor:
        """Return (N, O)."""
        scale = self.rate / math.sqrt(self.weight_OI.shape[1])
        return F.linear(values_NI, self.weight_OI * scale, self.bias_O * self.rate)


class Convolution(nn.Module):
    """A convolution with weights scaled at run time, as `Linear`'s."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.weight_OIYX = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias_O = nn.Parameter(torch.zeros(outputs))
        self.stride, self.padding = stride, (kernel - 1) // 2

    def forward(self, images_NIYX: Tensor) -> Tensor:
        """Return (N, O, Y / stride, X / stride), after a leaky ReLU."""
        weight_OIYX = self.weight_OIYX / math.sqrt(self.weight_OIYX[0].numel())
        mixed_NOYX = F.conv2d(images_NIYX, weight_OIYX, self.bias_O, self.stride, self.padding)
        return leaky_relu(mixed_NOYX)


class Modulated(nn.Module):
    """A convolution whose input channels a latent scales (StyleGAN2, section 2.2).

    With demodulation every output channel is divided by the norm of its scaled weights. Scaling
    inputs and outputs instead of weights gives the same, and keeps one weight for all samples.
    """

    def __init__(self, latent_dim: int, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__()
        self.style = Linear(latent_dim, inputs, bias=1.0)
        self.weight_OIYX = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias_O = nn.Parameter(torch.zeros(outputs))

    def forward(self, images_NIYX: Tensor, latents_NH: Tensor, demodulate: bool = True) -> Tensor:
        """Return (N, O, Y, X), without an activation."""
        scales_NI = self.style(latents_NH)
        weight_OIYX = self.weight_OIYX / math.sqrt(self.weight_OIYX[0].numel())
        padding = weight_OIYX.shape[-1] // 2
        mixed_NOYX = F.conv2d(
            images_NIYX * scales_NI[:, :, None, None], weight_OIYX, None, 1, padding
        )
        if demodulate:
            power_NO = F.linear(scales_NI.square(), weight_OIYX.square().sum((2, 3)))
            mixed_NOYX = mixed_NOYX * torch.rsqrt(power_NO + 1e-8)[:, :, None, None]
        return mixed_NOYX + self.bias_O[None, :, None, None]


class Mapping(nn.Module):
    """Noise (N, Z) to latents (N, H)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        widths = [sizes.noise_dim] + [sizes.latent_dim] * sizes.mapping_layers
        self.layers = nn.ModuleList(
            Linear(inputs, outputs, rate=MAPPING_RATE) for inputs, outputs in pairwise(widths)
        )

    def forward(self, noise_NZ: Tensor) -> Tensor:
        """Put the noise on the sphere of radius sqrt(Z), then map it."""
        power_NK = noise_NZ.square().mean(1, keepdim=True)
        values_NH = noise_NZ * torch.rsqrt(power_NK + 1e-8)
        for layer in self.layers:
            values_NH = leaky_relu(layer(values_NH))
        return values_NH


class Synthesis(nn.Module):
    """Latents (N, H) to images (N, 1, Y, X) from -1 to 1."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width, channels = sizes.latent_dim, sizes.generator
        self.constant_KCYX = nn.Parameter(torch.randn(1, channels[0], START, START))
        before = [channels[0], *channels]
        pairs = list(zip(before, channels, strict=False))
        self.narrowing = nn.ModuleList(Modulated(width, *pair) for pair in pairs)
        self.drawing = nn.ModuleList(Modulated(width, own, own) for own in channels)
        self.grey = nn.ModuleList(Modulated(width, own, 1, kernel=1) for own in channels)

    def forward(self, latents_NH: Tensor) -> Tensor:
        """Return images (N, 1, Y, X)."""
        content_NCYX = self.constant_KCYX.expand(latents_NH.shape[0], -1, -1, -1)
        image_NKYX: Tensor | None = None
        for narrow, draw, grey in zip(self.narrowing, self.drawing, self.grey, strict=True):
            content_NCYX = leaky_relu(narrow(content_NCYX, latents_NH))
            if image_NKYX is not None:  # narrowed before it is doubled: a quarter of the work
                content_NCYX, image_NKYX = upsample(content_NCYX), upsample(image_NKYX)
            content_NCYX = leaky_relu(draw(content_NCYX, latents_NH))
            added_NKYX = grey(content_NCYX, latents_NH, demodulate=False)
            image_NKYX = added_NKYX if image_NKYX is None else image_NKYX + added_NKYX
        return torch.tanh(cast(Tensor, image_NKYX))


class Generator(nn.Module):
    """The mapping, then the synthesis."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.mapping = Mapping(sizes)
        self.synthesis = Synthesis(sizes)

    def forward(self, noise_NZ: Tensor) -> Tensor:
        """Return images (N, 1, Y, X) from -1 to 1."""
        images_NKYX: Tensor = self.synthesis(self.mapping(noise_NZ))
        return images_NKYX


class Discriminator(nn.Module):
    """Images (N, 1, Y, X) to one score each (N,): the higher, the more real."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        channels = sizes.discriminator[::-1]
        layers: list[nn.Module] = [Convolution(1, channels[0])]
        for own, after in pairwise(channels):
            layers.append(Convolution(own, after, kernel=4, stride=2))
        self.seeing = nn.Sequential(*layers)
        self.comparing = Convolution(channels[-1] + 1, channels[-1])
        self.judging = Linear(channels[-1] * START**2, channels[-1])
        self.score = Linear(channels[-1], 1)

    def forward(self, images_NKYX: Tensor) -> Tensor:
        """Return scores (N,)."""
        seen_NCYX = self.seeing(images_NKYX)
        compared_NCYX = self.comparing(torch.cat([seen_NCYX, variety(seen_NCYX)], dim=1))
        scores_NK: Tensor = self.score(leaky_relu(self.judging(compared_NCYX.flatten(1))))
        return scores_NK[:, 0]


def variety(features_NCYX: Tensor) -> Tensor:
    """Return how much samples differ from one another, as one more channel (N, 1, Y, X).

    The standard deviation over groups of samples, averaged over channels and pixels (Karras et al.
    2018, section 3): a generator that repeats itself gives itself away.
    """
    count = len(features_NCYX)
    group = math.gcd(count, LARGEST_GROUP)
    grouped = features_NCYX.reshape(group, count // group, *features_NCYX.shape[1:])
    variance = grouped.square().mean(0) - grouped.mean(0).square()
    spread = (variance.clamp(min=0) + 1e-8).sqrt().mean((1, 2, 3))
    return spread.repeat(group)[:, None, None, None].expand(-1, 1, *features_NCYX.shape[2:])


def leaky_relu(values: Tensor) -> Tensor:
    """Return a leaky ReLU that keeps the variance."""
    return F.leaky_relu(values, SLOPE) * GAIN


def upsample(images_NCYX: Tensor) -> Tensor:
    """Return images of twice as many pixels a side, bilinear."""
    return F.interpolate(images_NCYX, scale_factor=2.0, mode="bilinear", align_corners=False)
