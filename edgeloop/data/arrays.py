"""Reads one .npz file of images and labels by part, as MedMNIST and Keras publish them.

    train_images, train_labels, val_images, val_labels, test_images, test_labels    MedMNIST
    x_train, y_train, x_test, y_test    Keras; x, y alone are one part

Shape suffixes: N images, H and W pixels, C colours.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeloop.data.archives import members, read_arrays, to_inputs
from edgeloop.data.images import test_mask
from edgeloop.data.labels import numbered, whole_labels
from edgeloop.data.parts import PARTS
from edgeloop.data.samples import Pool
from edgeloop.errors import DataError

log = logging.getLogger(__name__)

_FORMS = ("{part}_images {part}_labels", "x_{part} y_{part}", "{part}_x {part}_y")
_ONE = (("x", "y"), ("images", "labels"), ("data", "labels"), ("X", "Y"))


def matches(source: Path) -> bool:
    """Return whether this is an .npz file with arrays of these names."""
    return source.suffix == ".npz" and source.is_file() and bool(_pairs(source))


def read(source: Path) -> Pool:
    """Pool the parts, train then val then test; labels (N,) or (N, 1), any whole numbers.

    Images (N, H, W, 3) become (N, 3, H, W); others are taken as `archives.read_shard` takes them.

    Raises:
        DataError: arrays that are malformed, or do not fit each other.
    """
    pairs = _pairs(source)
    left = sorted(set(members(source)) - {name for pair in pairs.values() for name in pair})
    if left:
        log.warning("%s: left out: the arrays %s", source, ", ".join(left))
    inputs, labels, parts = [], [], []
    for part, (x, y) in pairs.items():
        arrays = read_arrays(source, (x, y))
        images = to_inputs(source, _channels_first(arrays[x]))
        numbers = whole_labels(f"{source}: {y}", arrays[y])
        if len(images) != len(numbers):
            problem = f"`{x}` has {len(images)} samples, and `{y}` {len(numbers)} labels"
            raise DataError(str(source), problem, "give every sample one label")
        inputs.append(images)
        labels.append(numbers)
        parts += [part] * len(numbers)
    found, names = numbered(str(source), "labels", np.concatenate(labels))
    return Pool(np.concatenate(inputs), found, names, tested=test_mask(parts, set(parts)))


def _pairs(source: Path) -> dict[str, tuple[str, str]]:
    """Return the names of the samples and the labels of each part."""
    there = set(members(source))
    for form in _FORMS:
        named = {part: tuple(form.format(part=part).split()) for part in PARTS}
        found = {part: (x, y) for part, (x, y) in named.items() if {x, y} <= there}
        if found:
            return found
    return next(({"": pair} for pair in _ONE if set(pair) <= there), {})


def _channels_first(array: NDArray[Any]) -> NDArray[Any]:
    """Return colour images with their colours first; the publishers have them last."""
    last = array.ndim == 4 and array.shape[3] in (1, 3) and array.shape[1] not in (1, 3)
    return array.transpose(0, 3, 1, 2) if last else array
