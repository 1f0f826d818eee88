"""Perceptrons for vectors without their classifiers: AmazonMLP in HtFLlib, of 5000 words' counts.

Shape suffixes: B samples, F inputs.
"""

from itertools import pairwise

from torch import nn

from edgeloop.models.replaced import draw_replaced

FEATURES = 100
REPLACED_CLASSES = 2  # of the reference's classifier, whatever the data


def mlp(shape: tuple[int, ...], classes: int, hidden: tuple[int, ...] = ()) -> nn.Module:
    """Return linear layers, each with a ReLU: (B, F) to (B, 100).

    Args:
        shape: (F,).
        classes: not asked: the classifier that is left out has 2.
        hidden: widths of the layers before the one of 100.

    Raises:
        ValueError: inputs of another rank.
    """
    (inputs,) = shape
    layers: list[nn.Module] = []
    for pair in pairwise((inputs, *hidden, FEATURES)):
        layers += [nn.Linear(*pair), nn.ReLU()]
    draw_replaced(FEATURES, REPLACED_CLASSES)
    return nn.Sequential(*layers)
