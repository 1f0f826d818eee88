"""Which architectures there are, and the groups of them that clients share out."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Protocol

import torch
from torch import nn

from edgeloop.errors import ModelError
from edgeloop.models.cnn import cnn
from edgeloop.models.resnet import resnet
from edgeloop.models.sensors import sensor_cnn
from edgeloop.models.split import SplitModel
from edgeloop.seeds import drawing

Base = Callable[[tuple[int, ...], int], nn.Module]

_BASES: Mapping[str, Base] = {
    "cnn": cnn,
    **{f"resnet{2 * n + 2}": partial(resnet, stages=n) for n in (1, 2, 3, 4)},
    **{f"harcnn-s{s}": partial(sensor_cnn, blocks=2, kernel=9, stride=s) for s in (1, 2, 3)},
    **{f"harcnn1-s{s}": partial(sensor_cnn, blocks=1, kernel=9, stride=s) for s in (1, 2, 3)},
    **{f"harcnn3-s{s}": partial(sensor_cnn, blocks=3, kernel=5, stride=s) for s in (1, 2)},
}
ARCHITECTURES: tuple[str, ...] = tuple(_BASES)

_HARCNNS = ("harcnn-s1", "harcnn-s2", "harcnn-s3")
# The names and orders of HtFLlib; client i gets entry i mod X.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "cnn": ("cnn",),
    "htfe-sen-2": _HARCNNS[:2],
    "htfe-sen-3": _HARCNNS,
    "htfe-sen-5": (*_HARCNNS, "harcnn1-s1", "harcnn3-s1"),
    "htfe-sen-8": (
        *(*_HARCNNS, "harcnn1-s1", "harcnn1-s2", "harcnn1-s3"),
        *("harcnn3-s1", "harcnn3-s2"),
    ),
    "resnets-4": ("resnet4", "resnet6", "resnet8", "resnet10"),
    "small-4": ("cnn", "resnet4", "resnet6", "resnet8"),
}
# What a shape that does not fit raises: unpacking and convolutions that run out of pixels.
_NO_FIT = (ValueError, RuntimeError)


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
        architecture: one of `ARCHITECTURES`, in any case.
        shape: the shape of one input, channels first.
        classes: C.
        width: K, the unified feature width.
        seed: of the weights.

    Raises:
        ModelError: an unknown architecture, one that does not fit the shape, or no class or width.
    """
    name = _known(architecture)
    for field, value in (("classes", classes), ("width", width)):
        if value < 1:
            raise ModelError(field, f"{value} is below 1", "use 1 or more")
    features = feature_width(name, shape)
    with drawing(seed):
        return SplitModel(_BASES[name](shape, classes), width, classes, features)


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
    name = _known(architecture)
    features = _probe(name, shape)
    if features is None:
        problem = f"does not fit inputs of shape {shape}"
        remedy = ", ".join(fitting(shape)) or "inputs of shape (channels, height, width)"
        raise ModelError(name, problem, f"use {remedy}")
    return features


def fitting(shape: tuple[int, ...]) -> list[str]:
    """Return the architectures that fit inputs of a shape."""
    return [name for name in ARCHITECTURES if _probe(name, shape) is not None]


def members(group: str, count: int) -> list[str]:
    """Return the architecture of each of `count` clients: entry i mod X of the group.

    Args:
        group: a name in `GROUPS`, or architectures separated by commas; in any case.
        count: the number of clients.

    Raises:
        ModelError: neither a group nor architectures.
    """
    entries = GROUPS.get(group.strip().lower())
    if entries is None:
        entries = tuple(name.strip().lower() for name in group.split(","))
    unknown = [name for name in entries if name not in _BASES]
    if unknown:
        problem = f"{unknown[0]!r} is neither a group nor an architecture"
        remedy = f"use {', '.join(GROUPS)}, or a comma-separated list of {', '.join(ARCHITECTURES)}"
        raise ModelError(f"group {group}", problem, remedy)
    return [entries[client % len(entries)] for client in range(count)]


def _known(architecture: str) -> str:
    name = architecture.strip().lower()
    if name not in _BASES:
        raise ModelError("architecture", f"unknown: {architecture!r}", f"use {', '.join(_BASES)}")
    return name


@cache
def _probe(name: str, shape: tuple[int, ...]) -> int | None:
    """Return D from a forward pass without data or memory; None where the shape does not fit."""
    try:
        with torch.device("meta"), torch.no_grad():
            base = _BASES[name](shape, 1).eval()
            return int(base(torch.empty(1, *shape)).flatten(1).shape[1])
    except _NO_FIT:
        return None
