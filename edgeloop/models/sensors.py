"""CNNs for sensor signals without their classifiers: HAR-CNN and its relatives in HtFLlib, PFLlib.

Shape suffixes: B samples, C channels, T steps.
"""

from itertools import pairwise

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
    shape: tuple[int, ...],
    classes: int,
    blocks: int,
    kernel: int,
    stride: int,
    hidden: tuple[int, ...] = (),
) -> nn.Module:
    """Return a stack of convolutions along time: (B, C, 1, T) to (B, any).

    A block is a convolution to 32, 64, then 128 channels, ReLU, and a pooling of 2 steps by 2.
    HtFLlib cuts the whole classifier away, linear layers of 1024, 512 and C; with `hidden`
    (1024, 512) the last layer alone is left out, and with a linear head it is PFLlib's network.

    Args:
        shape: (C, H, W); a signal has H = 1, an image is read row after row.
        classes: of the classifier that is left out.
        blocks: 1 to 3.
        kernel: the width of a convolution, in steps.
        stride: of the convolutions, in steps.
        hidden: widths of linear layers behind them, a ReLU behind each.

    Raises:
        ValueError: inputs of another rank, or too short.
    """
    channels, height, width = shape
    steps = height * width
    layers: list[nn.Module] = [] if height == 1 else [Signal()]
    for outputs in (32, 64, 128)[:blocks]:
        convolution = nn.Conv2d(channels, outputs, (1, kernel), stride)
        layers += [convolution, nn.ReLU(), nn.MaxPool2d((1, 2), 2)]
        channels, steps = outputs, _after(steps, kernel, stride)
    layers.append(nn.Flatten())
    if not hidden:
        draw_replaced(channels * REPLACED_STEPS, 1024, 512, classes)
        return nn.Sequential(*layers)
    for inputs, outputs in pairwise((channels * steps, *hidden)):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    draw_replaced(hidden[-1], classes)
    return nn.Sequential(*layers)


def _after(steps: int, kernel: int, stride: int) -> int:
    """Return what a convolution and a pooling of 2 steps by 2 leave of so many steps."""
    left = ((steps - kernel) // stride + 1) // 2
    if left < 1:
        raise ValueError("too short for the convolutions")
    return left
