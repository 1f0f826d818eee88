"""Which architectures there are, and how one is built.

A file of this folder that binds `ARCHITECTURE` brings one more, of its own name. Other packages
bring more: entry points of `edgeloop.models`, each an `Architecture`.

An architecture is named as a string: a base, and where its head is not one linear layer, a plus
sign and the kind of head (`edgeloop.models.layered`).
"""

# Over 320 lines: six functions of a name tell what they raise, and a protocol describes its fields.

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache, partial
from typing import Protocol

import torch
from torch import nn

from edgeloop.errors import InputError, ModelError, choose
from edgeloop.models import own
from edgeloop.models.families import BASES, SIGNALS, TEXTS, VECTORS, Base, Shape
from edgeloop.models.known_names import ARCHITECTURES as ARCHITECTURES
from edgeloop.models.layered import split_name
from edgeloop.models.split import SplitModel, features_of, features_without_data
from edgeloop.models.text import TOKENS
from edgeloop.models.vision import VISION, is_there
from edgeloop.runtime import modules
from edgeloop.runtime.plugins import MODELS, Brought
from edgeloop.seeds import drawing


@dataclass(frozen=True)
class Architecture:
    """An architecture in a file of its own, here or in another package.

    Attributes:
        build: makes the base, with fresh weights from torch's stream, of a shape and C; raises
            ValueError or RuntimeError for a shape that does not fit, then or in its first pass.
        shape: of the inputs that it is made for, channels first.
        whole: whether it makes a whole classifier, to logits (B, C), which `own` takes apart.
    """

    build: Base
    shape: Shape
    whole: bool = False


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
            base, head = _halves(name, shape, classes, width)
            features = width if name in TEXTS else _features(name, shape, classes, base)
            model = SplitModel(base, width, classes, features, kind)
    except InputError:
        raise
    except _NO_FIT:
        feature_width(name, shape, width, classes)  # says so if it is the shape
        raise
    if head is not None and features == width and not kind:
        model.head = head  # its own, with the weights that it came with
    return model


def initial_model(config: InitialModel) -> SplitModel:
    """Build the model that every client starts with, or its small one beside its own.

    Raises:
        ModelError: as `build`.
    """
    return build(config.architecture, config.shape, config.classes, config.width, config.seed)


def feature_width(
    architecture: str, shape: Shape, width: int = 512, classes: int | None = None
) -> int:
    """Return D, the number of features an architecture's base makes of one input.

    Args:
        architecture: as for `build`.
        shape: of one input.
        width: K, which decides the width of a network for texts.
        classes: C, which a whole classifier must make; None where it does not matter.

    Raises:
        ModelError: as `build`.
    """
    name = _known(architecture)
    features = _probe(name, shape, width, classes)
    if features is None:
        problem = f"does not fit inputs of shape {shape}" + (
            "" if _probe(name, shape, 512, classes) is None else f" with a width of {width}"
        )
        remedy = ", ".join(fitting(shape, width)) or "inputs of shape (channels, height, width)"
        raise ModelError(name, problem, f"use {remedy}")
    return features


def fitting(shape: Shape, width: int = 512) -> list[str]:
    """Return the architectures that fit inputs of a shape, and can be built here."""
    known = [*built_in(), *(name for name in MODELS.packaged() if name not in built_in())]
    return [name for name in known if _fits(name, shape, width)]


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
    if name in TEXTS:
        return (TOKENS,)
    if name in VECTORS:
        return (5000,)
    if name in SIGNALS:
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
    feature_width(name, shape, width, classes)
    with torch.device("meta"):
        return _base(name, shape, classes, width)


def is_whole(architecture: str) -> bool:
    """Return whether an architecture is a person's own whole classifier.

    Raises:
        ConfigError: as `build`.
        ModelError: an unknown architecture.
    """
    theirs = _of_a_file(_known(architecture))
    return theirs is not None and theirs.whole


def give(name: str, made: object) -> None:
    """Take a person's own network by a name, in the place of an earlier one of that name.

    Args:
        name: in small letters.
        made: what `own.maker` takes, or an `Architecture`.
    """
    MODELS.give(name, made)
    forget([name])


def forget(known: Collection[str]) -> None:
    """Forget the feature widths of architectures that may be others by now."""
    _probe.cache_clear()
    for key in [key for key in _widths if key[0] in known]:
        del _widths[key]


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
    if point is None:
        return _own_files().get(name)
    if not isinstance(point, Brought):
        return MODELS.load(point, Architecture)
    with MODELS.asked(point):
        made = point.load()
        if isinstance(made, Architecture):
            return made
        return Architecture(own.maker(made), (3, 32, 32), whole=True)


def _features(name: str, shape: Shape, classes: int, base: nn.Module) -> int:
    """Return D of a base that was just built."""
    if (name, shape, classes) not in _widths:
        _widths[name, shape, classes] = features_of(base, shape)
    return _widths[name, shape, classes]


def _halves(
    name: str, shape: Shape, classes: int | None, width: int
) -> tuple[nn.Module, nn.Linear | None]:
    """Return a base, and the head that it came with, where it is a whole classifier."""
    theirs = None if name in TEXTS else _of_a_file(name)
    if theirs is None or not theirs.whole:
        return _base(name, shape, classes or 1, width), None
    network = theirs.build(shape, classes or 1)
    return own.take_apart(network, shape, classes, name)


def _base(name: str, shape: Shape, classes: int, width: int) -> nn.Module:
    if name in TEXTS:
        return TEXTS[name](shape, classes, width)
    if (theirs := _of_a_file(name)) is not None:
        return (
            _halves(name, shape, classes, width)[0]
            if theirs.whole
            else theirs.build(shape, classes)
        )
    return BASES[name](shape, classes)


def _fits(name: str, shape: Shape, width: int) -> bool:
    try:
        return _probe(name, shape, width) is not None
    except InputError:
        return False


@cache
def _probe(name: str, shape: Shape, width: int, classes: int | None = None) -> int | None:
    """Return D from a forward pass without data; None where the shape does not fit."""
    if name not in TEXTS and (theirs := _of_a_file(name)) is not None and theirs.whole:
        return _halves(name, shape, classes, width)[1].in_features  # type: ignore[union-attr]
    try:
        build = partial(_base, name, shape, 1, width)
        if name not in TEXTS:
            return features_without_data(build, shape)
        with torch.device("meta"):
            build()
            return width
    except InputError:
        raise
    except _NO_FIT:
        return None
