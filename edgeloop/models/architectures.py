"""The architectures by name, and the models that are built of them.

A name is a base, or a base and the kind of its head: "resnet34", "resnet34+relu-512".
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Protocol

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgeloop.errors import ModelError
from edgeloop.models import small, text, vision
from edgeloop.models.cnn import cnn, hcnn
from edgeloop.models.deep_heads import HEADS, deep_head
from edgeloop.models.mlp import linear, mlp
from edgeloop.models.resnet import resnet
from edgeloop.models.sensors import sensor_cnn
from edgeloop.models.split import SplitModel
from edgeloop.seeds import drawing

Base = Callable[[tuple[int, ...], int], nn.Module]
HIDDEN = ((), (512,), (1024,), (1024, 512))
"""Widths of the linear layers of the CNNs for grey images, in the order of their group."""
MLPS = ((), (500,), (1000, 500), (1000, 500, 200), (200,))
"""Hidden widths of the MLPs."""


def _named(name: str, *numbers: int) -> str:
    return "-".join([name, *map(str, numbers)])


_BASES: Mapping[str, Base] = {
    "cnn": cnn,
    **{f"resnet{2 * n + 2}": partial(resnet, stages=n) for n in (1, 2, 3, 4)},
    **{f"harcnn-s{s}": partial(sensor_cnn, blocks=2, kernel=9, stride=s) for s in (1, 2, 3)},
    **{f"harcnn1-s{s}": partial(sensor_cnn, blocks=1, kernel=9, stride=s) for s in (1, 2, 3)},
    **{f"harcnn3-s{s}": partial(sensor_cnn, blocks=3, kernel=5, stride=s) for s in (1, 2)},
    **small.BASES,
    **{
        _named(f"hcnn{blocks}", *hidden): partial(hcnn, blocks=blocks, hidden=hidden)
        for hidden in HIDDEN
        for blocks in (1, 2)
    },
    "linear": linear,
    **{_named("mlp", *hidden): partial(mlp, hidden=hidden) for hidden in MLPS},
    **text.BASES,
    **vision.BASES,
}
ARCHITECTURES: tuple[str, ...] = tuple(_BASES)
# What a shape that does not fit raises: unpacking and convolutions that run out of pixels.
_NO_FIT = (ValueError, RuntimeError, AssertionError)


class Start(Protocol):
    """Those fields of an algorithm's Config that decide the first model; see `build`."""

    @property
    def architecture(self) -> str:
        """One of `ARCHITECTURES`."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input, channels first."""
        ...

    @property
    def classes(self) -> int:
        """C."""
        ...

    @property
    def width(self) -> int:
        """K, the unified feature width."""
        ...

    @property
    def seed(self) -> int:
        """The run's seed, which the weights are drawn from."""
        ...


def build(
    architecture: str, shape: tuple[int, ...], classes: int, width: int = 512, seed: int = 0
) -> SplitModel:
    """Build a model with fresh weights; the same arguments give the same weights.

    The weights are drawn base first, then head, from a stream of their own; between them the
    classifier that the head replaces, so that a seed's weights are the reference's.

    Args:
        architecture: one of `ARCHITECTURES`, or that and one of `HEADS` after a plus, in any case.
        shape: the shape of one input, channels first.
        classes: C.
        width: K, the unified feature width.
        seed: of the weights.

    Raises:
        ModelError: an unknown architecture, one that does not fit the shape, no class or width, or
            torchvision is missing.
    """
    base, head = parts(architecture)
    for field, value in (("classes", classes), ("width", width)):
        if value < 1:
            raise ModelError(field, f"{value} is below 1", "use 1 or more")
    features = feature_width(base, shape)
    with drawing(seed):
        made = _BASES[base](shape, classes)
        return SplitModel(
            made, width, classes, features, deep_head(head, width, classes) if head else None
        )


def first(config: Start) -> SplitModel:
    """Build the model that every client starts with, or its small one beside its own.

    Raises:
        ModelError: as `build`.
    """
    return build(config.architecture, config.shape, config.classes, config.width, config.seed)


def feature_width(architecture: str, shape: tuple[int, ...]) -> int:
    """Return D, the number of features an architecture's base makes of one input.

    Raises:
        ModelError: an unknown architecture, or one that does not fit the shape.
    """
    name, _ = parts(architecture)
    features = _probe(name, shape)
    if features is None:
        problem = f"does not fit inputs of shape {shape}"
        raise ModelError(name, problem, f"use {', '.join(fitting(shape))}")
    return features


def fitting(shape: tuple[int, ...]) -> list[str]:
    """Return the architectures that fit inputs of a shape; torchvision's are not tried."""
    light = (name for name in ARCHITECTURES if name not in vision.BASES)
    return [name for name in light if _probe(name, shape) is not None]


def forward_flops(
    architecture: str, shape: tuple[int, ...], classes: int = 10, width: int = 512
) -> int:
    """Return the floating-point operations of a forward pass on one input.

    Raises:
        ModelError: as `build`.
    """
    model = build(architecture, shape, classes, width).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, *shape))
    return int(counter.get_total_flops())


def parts(architecture: str) -> tuple[str, str]:
    """Return a name's base and the kind of its head, "" for one linear layer; in lower case.

    Raises:
        ModelError: if there is no such base or head.
    """
    base, plus, head = architecture.strip().lower().partition("+")
    if base not in _BASES:
        raise ModelError("architecture", f"unknown: {architecture!r}", nearest(base, ARCHITECTURES))
    if plus and head not in HEADS:
        raise ModelError("architecture", f"unknown head: {head!r}", f"use {', '.join(HEADS)}")
    return base, head


def nearest(word: str, names: Sequence[str]) -> str:
    """Return the remedy for a name that is none: those like it, and the command that lists all."""
    close = difflib.get_close_matches(word, names, n=3)
    return f"use {' or '.join(close) or names[0]}; `edgeloop models` lists all"


@cache
def _probe(name: str, shape: tuple[int, ...]) -> int | None:
    """Return D from a forward pass without data or memory; None where the shape does not fit.

    Raises:
        ModelError: if torchvision is missing.
    """
    try:
        with torch.device("meta"), torch.no_grad():
            base = _BASES[name](shape, 1).eval()
            return int(base(torch.empty(1, *shape)).flatten(1).shape[1])
    except ModelError:
        raise
    except _NO_FIT:
        return None
