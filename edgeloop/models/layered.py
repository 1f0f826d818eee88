"""Heads: one linear layer, unless an architecture's name asks for more behind a plus sign.

"resnet34+relu-256" is a ResNet-34 whose head is Linear(K, 256), ReLU, Linear(256, C), ReLU: the
word names what follows every layer, the numbers are the hidden widths. HtFLlib's heterogeneous
heads are `relu`, `relu-512`, `relu-256` and `relu-128`, with a ReLU behind the logits too; the head
of its vision transformers is `tanh-768`, whose logits are as they come. `mlp` is as `relu` without
the ReLU behind the logits: `mlp-1024-512` is the classifier of PFLlib's HAR-CNN.

Shape suffixes: B samples, K unified features, C classes.
"""

import re

from torch import nn

from edgeloop.errors import ModelError

_KIND = re.compile(r"(relu|tanh|mlp)((?:-[1-9][0-9]*)*)")


def split_name(architecture: str) -> tuple[str, str]:
    """Return an architecture's base and the kind of its head, "" for one linear layer.

    Raises:
        ModelError: a plus sign without a kind of head that there is.
    """
    base, plus, kind = architecture.strip().partition("+")
    kind = kind.lower()
    if plus and not _KIND.fullmatch(kind):
        remedy = (
            "write relu, relu-256, mlp-256 or tanh-768 behind the plus, with widths of your own"
        )
        raise ModelError("architecture", f"{architecture!r} asks for an unknown head", remedy)
    return spelled(base), kind


def spelled(name: str) -> str:
    """Return a name in small letters; an import path as it is written."""
    name = name.strip()
    return name if ":" in name else name.lower()


def is_layered(architecture: str) -> bool:
    """Return whether an architecture's head is another one than one linear layer."""
    return "+" in architecture


def head(kind: str, width: int, classes: int) -> nn.Module:
    """Return a head with fresh weights: (B, K) to logits (B, C).

    Args:
        kind: what `split_name` returns.
        width: K.
        classes: C.
    """
    if not kind:
        return nn.Linear(width, classes)
    word, *hidden = kind.split("-")
    layers: list[nn.Module] = []
    for outputs in [*map(int, hidden), classes]:
        layers += [nn.Linear(width, outputs), nn.Tanh() if word == "tanh" else nn.ReLU()]
        width = outputs
    return nn.Sequential(*(layers if word == "relu" else layers[:-1]))
