"""The four-layer CNN of FedAvg (McMahan et al. 2017) without its classifier, and its relatives.

As HtFLlib and FedTGP build them.

Shape suffixes: B samples, C colours, H and W pixels.
"""

from itertools import pairwise

from torch import nn

from edgeloop.models.replaced import draw_replaced

FEATURES = 512


def cnn(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return two convolutions and one linear layer: (B, C, H, W) to (B, 512).

    Args:
        shape: (C, H, W); H and W at least 16.
        classes: of the classifier that is left out.

    Raises:
        ValueError: inputs too small for two convolutions, or of another rank.
    """
    channels, height, width = shape
    flat = 64 * _after(_after(height)) * _after(_after(width))
    base = nn.Sequential(
        *(nn.Conv2d(channels, 32, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(flat, FEATURES), nn.ReLU()),
    )
    draw_replaced(FEATURES, classes)
    return base


def hcnn(shape: tuple[int, ...], classes: int, blocks: int, hidden: tuple[int, ...]) -> nn.Module:
    """Return the same with one or two convolutions and any linear layers: (B, C, H, W) to (B, any).

    Args:
        shape: (C, H, W).
        classes: of the classifier that is left out.
        blocks: convolutions, 1 or 2.
        hidden: widths of the linear layers.

    Raises:
        ValueError: inputs too small for the convolutions, or of another rank.
    """
    channels, height, width = shape
    layers: list[nn.Module] = []
    for outputs in (32, 64)[:blocks]:
        layers += [nn.Conv2d(channels, outputs, 5), nn.ReLU(), nn.MaxPool2d(2)]
        channels, height, width = outputs, _after(height), _after(width)
    widths = (channels * height * width, *hidden)
    layers.append(nn.Flatten())
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    draw_replaced(widths[-1], classes)
    return nn.Sequential(*layers)


def _after(pixels: int) -> int:
    """Return what a 5-wide convolution and a pooling by 2 leave of so many pixels."""
    left = (pixels - 4) // 2
    if left < 1:
        raise ValueError("too small for two convolutions")
    return left
