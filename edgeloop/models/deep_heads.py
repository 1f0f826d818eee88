"""Heads of several layers: those of the groups whose clients differ in their heads too.

Shape suffixes: B samples, K features, C classes.

Source: HtFLlib's HtC groups, whose heads end in a ReLU after the logits, and its head for groups
with vision transformers.
"""

from itertools import pairwise

from torch import nn

HEADS = ("relu", "relu-512", "relu-256", "relu-128", "tanh-768")
"""A kind and its hidden width: "relu-256" is K to 256 to C, with a ReLU after each layer."""


class DeepHead(nn.Sequential):
    """Features (B, K) to logits (B, C) through several layers."""


def deep_head(kind: str, width: int, classes: int) -> DeepHead:
    """Return a head with fresh weights.

    Args:
        kind: one of `HEADS`.
        width: K.
        classes: C.
    """
    activation, _, hidden = kind.partition("-")
    widths = [width, *([int(hidden)] if hidden else []), classes]
    kinds = {"relu": nn.ReLU, "tanh": nn.Tanh}
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), kinds[activation]()]
    return DeepHead(*(layers if activation == "relu" else layers[:-1]))
