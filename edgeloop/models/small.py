"""Eight small CNNs that a CPU trains, each another idea of what a CNN is: the group htcnn8.

They differ in depth, width, kernels, and in how they shrink an image; none costs more than the
four-layer CNN. Ours: no paper's numbers are theirs. Their convolutions start Kaiming-normal, so
that the deep ones learn without normalisation too.

Shape suffixes: B samples, C channels, H and W pixels.
"""

from collections.abc import Callable, Mapping

from torch import nn

from edgeloop.models.resnet import BasicBlock, GlobalAverage

Layers = list[nn.Module]


def small(shape: tuple[int, ...], classes: int, build: Callable[[int, int], Layers]) -> nn.Module:
    """Return one of the small CNNs: (B, C, H, W) to (B, any).

    Args:
        shape: (C, H, W); H and W alike, and at least 16.
        classes: of the classifier that is left out.
        build: one of `SMALL`: the colours and the side of an image to the layers.

    Raises:
        ValueError: inputs of another rank, not square, or smaller.
    """
    colours, height, width = shape
    if height != width or height < 16:
        raise ValueError("no square image of 16 pixels or more")
    network = nn.Sequential(*build(colours, height))
    for module in network.modules():
        # Nothing is drawn on the meta device, and torch would import its compiler to say so.
        if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def flat2(colours: int, side: int) -> Layers:
    """Return two narrow 3x3 convolutions and one large linear layer."""
    left = side // 4
    pool, left = (nn.AvgPool2d(left // 8), 8) if left > 8 else (nn.Identity(), left)
    flat = 32 * left * left
    return [
        *(*_layer(colours, 16, 3), nn.MaxPool2d(2), *_layer(16, 32, 3), nn.MaxPool2d(2)),
        *(pool, nn.Flatten(), nn.Linear(flat, 384), nn.ReLU()),
    ]


def wide1(colours: int, side: int) -> Layers:
    """Return a single 7x7 convolution of 96 channels, averaged to 4 x 4, and a linear layer."""
    halved = (side + 1) // 2
    left = halved // (halved // 4)
    return [
        *(*_layer(colours, 96, 7, 2), nn.AvgPool2d(halved // 4), nn.Flatten()),
        *(nn.Linear(96 * left * left, 256), nn.ReLU()),
    ]


def narrow8(colours: int, side: int) -> Layers:
    """Return eight 3x3 convolutions of 12 to 48 channels."""
    layers: Layers = []
    for width in (12, 24, 32, 48):
        layers += [*_layer(colours, width, 3), *_layer(width, width, 3)]
        layers += [] if width == 48 else [nn.MaxPool2d(2)]
        colours = width
    return [*layers, GlobalAverage()]


def batchnorm4(colours: int, side: int) -> Layers:
    """Return four 3x3 convolutions, each normalised."""
    layers: Layers = []
    for width in (24, 48, 64, 128):
        layers += [*_normalised(colours, width, 3), nn.MaxPool2d(2)]
        colours = width
    return [*layers[:-1], GlobalAverage()]


def residual5(colours: int, side: int) -> Layers:
    """Return a 3x3 convolution and two blocks of two, each beside a shortcut."""
    blocks = [BasicBlock(24, 48, 2), BasicBlock(48, 96, 2)]
    return [*_normalised(colours, 24, 3), nn.MaxPool2d(2), *blocks, GlobalAverage()]


def separable5(colours: int, side: int) -> Layers:
    """Return a 3x3 convolution and four that are depthwise, then pointwise."""
    layers = _normalised(colours, 32, 3, 2)
    for inputs, width, stride in ((32, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2)):
        layers += _normalised(inputs, inputs, 3, stride, groups=inputs)
        layers += _normalised(inputs, width, 1)
    return [*layers, GlobalAverage()]


def strided3(colours: int, side: int) -> Layers:
    """Return three 5x5 convolutions that halve the image each, without pooling."""
    pairs = ((colours, 24), (24, 48), (48, 96))
    return [*(layer for pair in pairs for layer in _layer(*pair, 5, 2)), GlobalAverage()]


def pointwise6(colours: int, side: int) -> Layers:
    """Return a 5x5 and a 3x3 convolution, each followed by two of 1x1: a network in a network."""
    return [
        *(*_layer(colours, 32, 5, 2), *_layer(32, 32, 1), *_layer(32, 32, 1), nn.MaxPool2d(2)),
        *(*_layer(32, 64, 3), *_layer(64, 64, 1), *_layer(64, 96, 1), GlobalAverage()),
    ]


SMALL: Mapping[str, Callable[[int, int], Layers]] = {
    "cnn-flat2": flat2,
    "cnn-narrow8": narrow8,
    "cnn-wide1": wide1,
    "cnn-residual5": residual5,
    "cnn-strided3": strided3,
    "cnn-separable5": separable5,
    "cnn-batchnorm4": batchnorm4,
    "cnn-pointwise6": pointwise6,
}
"""The eight by name, in the order of the group."""


def _layer(inputs: int, outputs: int, kernel: int, stride: int = 1) -> Layers:
    return [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2), nn.ReLU()]


def _normalised(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> Layers:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
