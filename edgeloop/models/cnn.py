"""The CNNs of FedAvg's kind without their classifiers, as HtFLlib and FedTGP build them.

The four-layer CNN (McMahan et al. 2017) has two convolutions and one linear layer before the
classifier; FedTGP's group HCNNs8 has one or two convolutions and up to three linear layers.

Shape suffixes: B samples, C colours, H and W pixels.
"""

from itertools import pairwise

from torch import nn

from edgeloop.models.replaced import draw_replaced

FEATURES = 512


def cnn(
    shape: tuple[int, ...], classes: int, convolutions: int = 2, hidden: tuple[int, ...] = ()
) -> nn.Module:
    """Return convolutions and linear layers: (B, C, H, W) to (B, 512).

    Args:
        shape: (C, H, W); H and W at least 6 for one convolution, 16 for two.
        classes: of the classifier that is left out.
        convolutions: 1 or 2, of 32 and 64 channels.
        hidden: widths of the linear layers before the one of 512.

    Raises:
        ValueError: inputs too small for so many convolutions, or of another rank.
    """
    channels, height, width = shape
    layers: list[nn.Module] = []
    for outputs in (32, 64)[:convolutions]:
        layers += [nn.Conv2d(channels, outputs, 5), nn.ReLU(), nn.MaxPool2d(2)]
        channels, height, width = outputs, _after(height), _after(width)
    layers.append(nn.Flatten())
    for inputs, outputs in pairwise((channels * height * width, *hidden, FEATURES)):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    draw_replaced(FEATURES, classes)
    return nn.Sequential(*layers)


def _after(pixels: int) -> int:
    """Return what a 5-wide convolution and a pooling by 2 leave of so many pixels."""
    left = (pixels - 4) // 2
    if left < 1:
        raise ValueError("too small for the convolutions")
    return left
