"""Torchvision's large networks without their classifiers, with random weights.

Shape suffixes: B samples, C colours, H and W pixels, D features.
"""

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

from torch import nn

from edgeloop.errors import ModelError

RESNETS = (18, 34, 50, 101, 152)


def vision(shape: tuple[int, ...], classes: int, make: str, **options: Any) -> nn.Module:
    """Return a network of torchvision: (B, 3, H, W) to (B, D).

    A dropout before the classifier stays in the base.

    Args:
        shape: (3, H, W).
        classes: of the classifier that is left out.
        make: torchvision's name of it.
        options: of that.

    Raises:
        ModelError: if torchvision is missing.
        ValueError: inputs of another rank or number of colours.
    """
    colours, height, width = shape
    if colours != 3:
        raise ValueError("torchvision's networks take three colours")
    if make.startswith("vit"):
        options["image_size"] = _square(height, width)
    network: nn.Module = getattr(_torchvision(make), make)(num_classes=classes, **options)
    _cut(network)
    return network


def _square(height: int, width: int) -> int:
    if height != width:
        raise ValueError("a vision transformer takes square images")
    return height


def _torchvision(make: str) -> Any:
    try:
        return import_module("torchvision.models")
    except (ImportError, RuntimeError) as error:  # beside another torch it fails to register
        problem = f"needs torchvision, which cannot be loaded ({error})"
        raise ModelError(make, problem, "pip install 'edgeloop[vision]'") from error


def _cut(network: nn.Module) -> None:
    """Take the classifier away; what comes before it in the same sequence stays."""
    name = next(each for each in ("heads", "fc", "classifier") if hasattr(network, each))
    classifier = getattr(network, name)
    before = list(classifier)[:-1] if isinstance(classifier, nn.Sequential) else []
    setattr(network, name, nn.Sequential(*before))


BASES: Mapping[str, Callable[[tuple[int, ...], int], nn.Module]] = {
    **{f"resnet{depth}": partial(vision, make=f"resnet{depth}") for depth in RESNETS},
    "googlenet": partial(vision, make="googlenet", aux_logits=False, init_weights=True),
    "mobilenetv2": partial(vision, make="mobilenet_v2"),
    "vit-b-16": partial(vision, make="vit_b_16"),
    "vit-b-32": partial(vision, make="vit_b_32"),
}
