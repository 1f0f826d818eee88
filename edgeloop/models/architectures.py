"""Which architectures there are, and how one is built.

A file of this folder that binds `ARCHITECTURE` brings one more, of its own name. Other packages
bring more: entry points of `edgeloop.models`, each an `Architecture`.

An architecture is named as a string: a base, and where its head is not one linear layer, a plus
sign and the kind of head (`edgeloop.models.layered`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Protocol

import torch
from torch import nn

from edgeloop.errors import InputError, ModelError, choose
from edgeloop.models.cnn import cnn
from edgeloop.models.known_names import ARCHITECTURES as ARCHITECTURES
from edgeloop.models.layered import split_name
from edgeloop.models.mlp import mlp
from edgeloop.models.resnet import resnet
from edgeloop.models.sensors import sensor_cnn
from edgeloop.models.small import SMALL, small
from edgeloop.models.split import SplitModel, features_of
from edgeloop.models.text import TOKENS, text
from edgeloop.models.transformer import transformer
from edgeloop.models.vision import VISION, is_there, vision
from edgeloop.runtime import modules
from edgeloop.runtime.plugins import MODELS
from edgeloop.seeds import drawing

Shape = tuple[int, ...]
Base = Callable[[Shape, int], nn.Module]
"""The shape of an input and C to a network: (B, *shape) to features, (B, D) or (B, D, ...)."""
Text = Callable[[Shape, int, int], nn.Module]

_IMAGES: Mapping[str, Base] = {
    "cnn": cnn,
    **{f"resnet{2 * n + 2}": partial(resnet, stages=n) for n in (1, 2, 3, 4)},
    **{name: partial(small, build=build) for name, build in SMALL.items()},
    "hcnn1": partial(cnn, convolutions=1),
    "hcnn1-512": partial(cnn, convolutions=1, hidden=(512,)),
    "hcnn2-512": partial(cnn, hidden=(512,)),
    "hcnn1-1024": partial(cnn, convolutions=1, hidden=(1024,)),
    "hcnn2-1024": partial(cnn, hidden=(1024,)),
    "hcnn1-1024-512": partial(cnn, convolutions=1, hidden=(1024, 512)),
    "hcnn2-1024-512": partial(cnn, hidden=(1024, 512)),
    **{
        name: partial(vision, name=theirs, family=family)
        for name, (theirs, family) in VISION.items()
    },
}
_SIGNALS: Mapping[str, Base] = {
    **{f"harcnn-s{s}": partial(sensor_cnn, blocks=2, kernel=9, stride=s) for s in (1, 2, 3)},
    **{f"harcnn1-s{s}": partial(sensor_cnn, blocks=1, kernel=9, stride=s) for s in (1, 2, 3)},
    **{f"harcnn3-s{s}": partial(sensor_cnn, blocks=3, kernel=5, stride=s) for s in (1, 2)},
    "harcnn-s1-1024-512": partial(sensor_cnn, blocks=2, kernel=9, stride=1, hidden=(1024, 512)),
}
# The width of these follows K.
_TEXTS: Mapping[str, Text] = {
    **{kind: partial(text, kind=kind) for kind in ("fasttext", "textlr", "lstm", "bilstm", "gru")},
    **{
        f"transformer-l{layers}-h{heads}": partial(transformer, layers=layers, heads=heads)
        for layers, heads in (
            *((1, 8), (2, 8), (4, 8), (8, 8), (16, 8)),
            *((4, 1), (4, 2), (4, 4), (4, 16)),
            *((1, 1), (2, 2), (16, 16)),
        )
    },
}
_VECTORS: Mapping[str, Base] = {
    "mlp": mlp,
    "mlp-200": partial(mlp, hidden=(200,)),
    "mlp-500": partial(mlp, hidden=(500,)),
    "mlp-1000-500": partial(mlp, hidden=(1000, 500)),
    "mlp-1000-500-200": partial(mlp, hidden=(1000, 500, 200)),
}
_BASES: Mapping[str, Base] = {**_IMAGES, **_SIGNALS, **_VECTORS}


@dataclass(frozen=True)
class Architecture:
    """An architecture in a file of its own, here or in another package.

    Attributes:
        build: makes the base, with fresh weights from torch's stream, of a shape and C; raises
            ValueError or RuntimeError for a shape that does not fit, then or in its first pass.
        shape: of the inputs that it is made for, channels first.
    """

    build: Base
    shape: Shape


# What a shape that does not fit raises: unpacking and convolutions that run out of pixels.
_NO_FIT = (ValueError, RuntimeError)
_widths: dict[tuple[str, Shape, int], int] = {}  # D by base, shape and C


class InitialModel(Protocol):
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
        architecture: one of `ARCHITECTURES`, in any case; with "+" and a kind of head, or without.
        shape: the shape of one input, channels first.
        classes: C.
        width: K, the unified feature width.
        seed: of the weights.

    Raises:
        ModelError: an unknown architecture or head, one that does not fit the shape, one that needs
            a package that is not installed, or no class or width.
    """
    name = _known(architecture)
    for field, value in (("classes", classes), ("width", width)):
        if value < 1:
            raise ModelError(field, f"{value} is below 1", "use 1 or more")
    _, kind = split_name(architecture)
    try:
        with drawing(seed):
            base = _base(name, shape, classes, width)
            features = width if name in _TEXTS else _features(name, shape, classes, base)
            return SplitModel(base, width, classes, features, kind)
    except InputError:
        raise
    except _NO_FIT:
        feature_width(name, shape, width)  # says so if it is the shape
        raise


def initial_model(config: InitialModel) -> SplitModel:
    """Build the model that every client starts with, or its small one beside its own.

    Raises:
        ModelError: as `build`.
    """
    return build(config.architecture, config.shape, config.classes, config.width, config.seed)


def feature_width(architecture: str, shape: Shape, width: int = 512) -> int:
    """Return D, the number of features an architecture's base makes of one input.

    Args:
        architecture: as for `build`.
        shape: of one input.
        width: K, which decides the width of a network for texts.

    Raises:
        ModelError: as `build`.
    """
    name = _known(architecture)
    features = _probe(name, shape, width)
    if features is None:
        problem = f"does not fit inputs of shape {shape}" + (
            "" if _probe(name, shape, 512) is None else f" with a width of {width}"
        )
        remedy = ", ".join(fitting(shape, width)) or "inputs of shape (channels, height, width)"
        raise ModelError(name, problem, f"use {remedy}")
    return features


def fitting(shape: Shape, width: int = 512) -> list[str]:
    """Return the architectures that fit inputs of a shape, and can be built here."""
    return [name for name in names() if _fits(name, shape, width)]


def names() -> list[str]:
    """Return the architectures' names: this package's in their order, then other packages'."""
    ours = built_in()
    return [*ours, *(name for name in MODELS.names() if name not in ours)]


def built_in() -> list[str]:
    """Return the names of this package's architectures."""
    return [*ARCHITECTURES, *_own_files()]


def _own_files() -> dict[str, Architecture]:
    """Return the architectures that have a file of their own in this folder."""
    found = modules.constants("edgeloop.models", "ARCHITECTURE")
    return {name.replace("_", "-"): each for name, each in found.items()}


def missing(architecture: str) -> str | None:
    """Return the package that an architecture needs and this environment lacks; None for none.

    Raises:
        ModelError: an unknown architecture.
    """
    return "torchvision" if _known(architecture) in VISION and not is_there() else None


def usual_shape(architecture: str) -> Shape:
    """Return the shape of the inputs that an architecture is made for.

    Raises:
        ModelError: an unknown architecture.
    """
    name = _known(architecture)
    if (theirs := _of_a_file(name)) is not None:
        return theirs.shape
    if name in _TEXTS:
        return (TOKENS,)
    if name in _VECTORS:
        return (5000,)
    if name in _SIGNALS:
        return (9, 1, 128)
    return (1, 28, 28) if name.startswith("hcnn") else (3, 32, 32)


def base_without_data(
    architecture: str, shape: Shape, width: int = 512, classes: int = 10
) -> nn.Module:
    """Return an architecture's base without data or memory, to be looked at and measured.

    Raises:
        ModelError: as `build`.
    """
    name = _known(architecture)
    feature_width(name, shape, width)
    with torch.device("meta"):
        return _base(name, shape, classes, width)


def _known(architecture: str) -> str:
    """Return the name of an architecture's base; refuse one that another package has, too."""
    name, _ = split_name(architecture)
    MODELS.find(name, built_in())
    if name not in names():
        raise ModelError("architecture", f"there is no {architecture!r}", choose(name, names()))
    return name


def _of_a_file(name: str) -> Architecture | None:
    """Return an architecture that has a file of its own; None for one of `ARCHITECTURES`.

    Raises:
        ConfigError: if it is another package's, and broken, or there are two of its name.
    """
    point = MODELS.find(name, built_in())
    return _own_files().get(name) if point is None else MODELS.load(point, Architecture)


def _features(name: str, shape: Shape, classes: int, base: nn.Module) -> int:
    """Return D of a base that was just built."""
    if (name, shape, classes) not in _widths:
        _widths[name, shape, classes] = features_of(base, shape)
    return _widths[name, shape, classes]


def _base(name: str, shape: Shape, classes: int, width: int) -> nn.Module:
    if name in _TEXTS:
        return _TEXTS[name](shape, classes, width)
    if (theirs := _of_a_file(name)) is not None:
        return theirs.build(shape, classes)
    return _BASES[name](shape, classes)


def _fits(name: str, shape: Shape, width: int) -> bool:
    try:
        return _probe(name, shape, width) is not None
    except InputError:
        return False


@cache
def _probe(name: str, shape: Shape, width: int) -> int | None:
    """Return D from a forward pass without data or memory; None where the shape does not fit."""
    try:
        with torch.device("meta"), torch.no_grad():
            base = _base(name, shape, 1, width).eval()
            if name in _TEXTS:
                return width
            return int(base(torch.empty(1, *shape)).flatten(1).shape[1])
    except InputError:
        raise
    except _NO_FIT:
        return None
