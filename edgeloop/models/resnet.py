"""Small residual networks (He et al. 2016) without their classifiers: ResNet-4, -6, -8 and -10.

Shape suffixes: B samples, C colours, H and W pixels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeloop.models.replaced import draw_replaced

WIDTHS = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the first may halve height and width."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _convolution(channels, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _convolution(width, width, 3, 1)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if (channels, stride) != (width, 1):
            projection = _convolution(channels, width, 1, stride)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(width))

    def forward(self, maps: Tensor) -> Tensor:
        """Return (B, width, H / stride, W / stride)."""
        inner = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(maps)))))
        return F.relu(inner + self.shortcut(maps))


class GlobalAverage(nn.Module):
    """The mean over height and width."""

    def forward(self, maps: Tensor) -> Tensor:
        """Return (B, width)."""
        return torch.mean(maps, dim=(2, 3))


def resnet(shape: tuple[int, ...], classes: int, stages: int) -> nn.Module:
    """Return a residual network of 1 to 4 stages of one block: (B, C, H, W) to (B, 64 ... 512).

    Convolutions start Kaiming-normal (fan out), normalisations at 1 and 0.

    Args:
        shape: (C, H, W).
        classes: of the classifier that is left out.
        stages: ResNet-4 has 1, -6 has 2, -8 has 3, -10 has 4.

    Raises:
        ValueError: inputs of another rank.
    """
    colours, _, _ = shape
    stem = [_convolution(colours, 64, 7, 2), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    inputs = (64, *WIDTHS)
    blocks = [BasicBlock(inputs[i], WIDTHS[i], 1 if i == 0 else 2) for i in range(stages)]
    network = nn.Sequential(*stem, *blocks, GlobalAverage())
    draw_replaced(WIDTHS[stages - 1], classes)
    for module in network.modules():
        # Nothing is drawn on the meta device, and torch would import its compiler to say so.
        if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def _convolution(channels: int, width: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False)
