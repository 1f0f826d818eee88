"""Networks without convolutions: MLPs for vectors, and features that are the inputs themselves.

Shape suffixes: B samples, P entries of one input.
"""

from itertools import pairwise

from torch import nn

from edgeloop.models.replaced import draw_replaced

FEATURES = 100


def linear(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return no layers: (B, ...) to (B, P). Only the head learns."""
    return nn.Flatten()


def mlp(shape: tuple[int, ...], classes: int, hidden: tuple[int, ...]) -> nn.Module:
    """Return linear layers with ReLU between them: (B, P) to (B, 100).

    Args:
        shape: (P,).
        classes: of the classifier that is left out.
        hidden: widths of the layers before the features.

    Raises:
        ValueError: inputs of another rank.
    """
    (entries,) = shape
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((entries, *hidden, FEATURES)):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    draw_replaced(FEATURES, classes)
    return nn.Sequential(*layers[:-1])
