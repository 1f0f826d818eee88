"""Architectures of torchvision without their classifiers, as HtFLlib takes them: random weights.

ResNet-18 to -152 (He et al. 2016), GoogLeNet without auxiliary classifiers (Szegedy et al. 2015),
MobileNetV2 (Sandler et al. 2018), ViT-B/16 and /32 (Dosovitskiy et al. 2021). torchvision is
imported when one of them is built. Dropout before the classifier stays: it acts on features.

Shape suffixes: B samples, D features, C colours, H and W pixels.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import nn

from edgeloop.errors import ModelError


@dataclass(frozen=True)
class Family:
    """What its architectures have in common.

    Attributes:
        stem: the path of the convolution that reads an image.
        classifier: the path of what is cut away.
        patch: pixels of a side of a patch; images are then square, of whole patches.
        options: arguments of torchvision's function.
    """

    stem: str
    classifier: str
    patch: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


RESNET = Family("conv1", "fc")
GOOGLENET = Family("conv1.conv", "fc", options={"aux_logits": False, "init_weights": True})
MOBILENET = Family("features.0.0", "classifier.1", options={"dropout": 0.2})

VISION: Mapping[str, tuple[str, Family]] = {
    **{f"resnet{n}": (f"resnet{n}", RESNET) for n in (18, 34, 50, 101, 152)},
    "googlenet": ("googlenet", GOOGLENET),
    "mobilenetv2": ("mobilenet_v2", MOBILENET),
    "vit-b-16": ("vit_b_16", Family("conv_proj", "heads", patch=16)),
    "vit-b-32": ("vit_b_32", Family("conv_proj", "heads", patch=32)),
}
"""Architectures by our name: torchvision's name and the family."""


def vision(shape: tuple[int, ...], classes: int, name: str, family: Family) -> nn.Module:
    """Return one of torchvision's architectures: (B, C, H, W) to (B, D).

    The weights are drawn as torchvision draws them, its classifier's too. For other than three
    colours the stem takes the weights of three in turn.

    Args:
        shape: (C, H, W).
        classes: of the classifier that is cut away.
        name: torchvision's.
        family: the architecture's.

    Raises:
        ModelError: torchvision is not installed, or does not suit this torch.
        ValueError: inputs of another rank, or not of whole patches.
    """
    colours, height, width = shape
    options = dict(family.options)
    if family.patch is not None:
        if height != width or height % family.patch:
            raise ValueError("no square image of whole patches")
        options["image_size"] = height
    function = getattr(library(name), name)
    network: nn.Module = function(weights=None, num_classes=classes, **options)
    network.set_submodule(family.classifier, nn.Identity())
    if colours != 3:
        network.set_submodule(family.stem, _recoloured(network.get_submodule(family.stem), colours))
    return network


def is_there() -> bool:
    """Return whether torchvision can be used here."""
    try:
        library("torchvision")
    except ModelError:
        return False
    return True


def library(name: str) -> ModuleType:
    """Return torchvision's models.

    Args:
        name: of what needs them, for the message.

    Raises:
        ModelError: if torchvision is not installed, or does not suit this torch.
    """
    try:
        return import_module("torchvision.models")
    except (ImportError, RuntimeError) as error:  # RuntimeError: of another version of torch
        reason = "is not installed" if isinstance(error, ModuleNotFoundError) else f"fails: {error}"
        problem = f"needs torchvision, which {reason}"
        raise ModelError(name, problem, "pip install 'edgeloop[vision]'") from error


def _recoloured(stem: nn.Module, colours: int) -> nn.Module:
    """Return a convolution for another number of colours, with the weights of three in turn."""
    other = copy.deepcopy(stem)
    other.in_channels = colours  # type: ignore[assignment]
    weight = stem.get_parameter("weight").detach()
    other.weight = nn.Parameter(weight[:, torch.arange(colours) % 3].clone())
    return other
