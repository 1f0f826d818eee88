"""CNNs for sensor signals without their classifiers: HAR-CNN and its relatives in HtFLlib.

Shape suffixes: B samples, C channels, T steps.
"""

import torch
from torch import Tensor, nn

from edgeloop.models.replaced import draw_replaced

REPLACED_STEPS = 26  # steps a channel that the reference's classifiers expect, whatever the stride


class Signal(nn.Module):
    """Reads an image row after row as one signal: (B, C, H, W) to (B, C, 1, H * W)."""

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, C, 1, T)."""
        return torch.flatten(images, 2).unsqueeze(2)


def sensor_cnn(
    shape: tuple[int, ...], classes: int, blocks: int, kernel: int, stride: int
) -> nn.Module:
    """Return a stack of convolutions along time: (B, C, 1, T) to (B, any).

    A block is a convolution to 32, 64, then 128 channels, ReLU, and a pooling of 2 steps by 2.

    Args:
        shape: (C, H, W); a signal has H = 1, an image is read row after row.
        classes: of the classifier that is left out.
        blocks: 1 to 3.
        kernel: the width of a convolution, in steps.
        stride: of the convolutions, in steps.

    Raises:
        ValueError: inputs of another rank.
    """
    channels, height, _ = shape
    layers: list[nn.Module] = [] if height == 1 else [Signal()]
    for width in (32, 64, 128)[:blocks]:
        convolution = nn.Conv2d(channels, width, (1, kernel), stride)
        layers += [convolution, nn.ReLU(), nn.MaxPool2d((1, 2), 2)]
        channels = width
    draw_replaced(channels * REPLACED_STEPS, 1024, 512, classes)
    return nn.Sequential(*layers, nn.Flatten())
