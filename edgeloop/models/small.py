"""Small CNNs that differ in depth, width, kernel, normalisation and wiring: eight for CPUs.

Shape suffixes: B samples, C colours, H and W pixels.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from torch import nn

from edgeloop.models.replaced import draw_replaced
from edgeloop.models.resnet import BasicBlock, GlobalAverage

Blocks = Callable[[int], tuple[list[nn.Module], int]]
"""Colours to layers and the features that they end in; 0 where that depends on the image."""

SMALL = (
    *("cnn", "conv2", "conv3", "conv4-norm"),
    *("wide2", "strided3", "residual3", "separable4"),
)
"""The group of eight, the 4-layer CNN first, as in the papers' group of eight."""


def small(shape: tuple[int, ...], classes: int, blocks: Blocks) -> nn.Module:
    """Return a small CNN: (B, C, H, W) to (B, any).

    Args:
        shape: (C, H, W); H and W at least 16.
        classes: of the classifier that is left out.
        blocks: its layers.

    Raises:
        ValueError: inputs of another rank.
    """
    colours, _, _ = shape
    layers, features = blocks(colours)
    if features:
        draw_replaced(features, classes)
    return nn.Sequential(*layers)


def pooled(colours: int, widths: Sequence[int], norm: bool) -> tuple[list[nn.Module], int]:
    """Return 3x3 convolutions, each with ReLU and a pooling by 2; then the maps or their mean."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip((colours, *widths), widths, strict=False):
        layers += _convolution(inputs, outputs, 3, 1, norm)
        layers.append(nn.MaxPool2d(2))
    if norm:
        return [*layers, GlobalAverage()], widths[-1]
    return [*layers, nn.Flatten()], 0


def wide(colours: int) -> tuple[list[nn.Module], int]:
    """Return two convolutions with wide kernels, the first of stride 2, and the maps' mean."""
    layers = [*_convolution(colours, 16, 7, 2), *_convolution(16, 40, 5, 1)]
    return [*layers, nn.MaxPool2d(2), GlobalAverage(), nn.Linear(40, 256), nn.ReLU()], 256


def strided(colours: int) -> tuple[list[nn.Module], int]:
    """Return three convolutions of stride 2 without poolings, and the maps' mean."""
    widths = (24, 48, 96)
    layers: list[nn.Module] = []
    for inputs, outputs in zip((colours, *widths), widths, strict=False):
        layers += _convolution(inputs, outputs, 3, 2)
    return [*layers, GlobalAverage()], 96


def residual(colours: int) -> tuple[list[nn.Module], int]:
    """Return a stem and three residual blocks of 16, 32 and 64 channels, and the maps' mean."""
    blocks = [BasicBlock(16, 16, 1), BasicBlock(16, 32, 2), BasicBlock(32, 64, 2)]
    return [*_convolution(colours, 16, 3, 2, norm=True), *blocks, GlobalAverage()], 64


def separable(colours: int) -> tuple[list[nn.Module], int]:
    """Return a stem and three depthwise separable convolutions (Howard et al. 2017), normalised."""
    layers = [*_convolution(colours, 32, 3, 2, norm=True)]
    for inputs, outputs, stride in ((32, 64, 1), (64, 128, 2), (128, 128, 1)):
        layers += _convolution(inputs, inputs, 3, stride, norm=True, apart=True)
        layers += _convolution(inputs, outputs, 1, 1, norm=True)
    return [*layers, GlobalAverage()], 128


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int, norm: bool = False, apart: bool = False
) -> list[nn.Module]:
    """Return a padded convolution, its normalisation, and ReLU; apart: every channel by itself."""
    convolution = nn.Conv2d(
        *(inputs, outputs, kernel, stride, kernel // 2),
        groups=inputs if apart else 1,
        bias=not norm,
    )
    return [convolution, *([nn.BatchNorm2d(outputs)] if norm else []), nn.ReLU()]


BASES: Mapping[str, Callable[[tuple[int, ...], int], nn.Module]] = {
    "conv2": partial(small, blocks=partial(pooled, widths=(16, 32), norm=False)),
    "conv3": partial(small, blocks=partial(pooled, widths=(16, 32, 64), norm=False)),
    "conv4-norm": partial(small, blocks=partial(pooled, widths=(16, 32, 64, 128), norm=True)),
    "wide2": partial(small, blocks=wide),
    "strided3": partial(small, blocks=strided),
    "residual3": partial(small, blocks=residual),
    "separable4": partial(small, blocks=separable),
}
