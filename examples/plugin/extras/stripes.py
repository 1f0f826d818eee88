"""A base for images: one convolution of whole columns, then one of whole rows."""

from torch import nn

from edgeloop.models import Architecture


def stripes(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return the base: (B, channels, height, width) to (B, 32)."""
    channels, height, width = shape
    return nn.Sequential(
        nn.Conv2d(channels, 16, (height, 1)),
        nn.ReLU(),
        nn.Conv2d(16, 32, (1, width)),
        nn.ReLU(),
        nn.Flatten(),
    )


ARCHITECTURE = Architecture(stripes, shape=(3, 32, 32))
