"""Reads one .npz file of images and labels by part, as MedMNIST and Keras publish them.

    train_images, train_labels, val_images, val_labels, test_images, test_labels    MedMNIST
    x_train, y_train, x_test, y_test    Keras; x, y (X, data, images, arr_0; labels, target, arr_1)
                                        alone are one part

Shape suffixes: N images, H and W pixels, C colours.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeloop.data.archives import members, read_arrays, to_inputs
from edgeloop.data.images import test_mask
from edgeloop.data.labels import numbered, whole_labels
from edgeloop.data.looks import log_looks
from edgeloop.data.parts import PARTS
from edgeloop.data.samples import Pool, check_shard
from edgeloop.errors import DataError

log = logging.getLogger(__name__)

_FORMS = ("{part}_images {part}_labels", "x_{part} y_{part}", "{part}_x {part}_y")
_SAMPLES = ("x", "X", "images", "data", "arr_0")
_LABELS = ("y", "Y", "labels", "label", "target", "targets", "arr_1")


def matches(source: Path) -> bool:
    """Return whether this is an .npz file with arrays of these names, or a folder of one alone."""
    return _file(source) is not None


def _file(source: Path) -> Path | None:
    """Return the file itself, or the only .npz file of a folder; None where it has no samples."""
    files = [source] if source.is_file() else sorted(source.glob("*.npz"))
    if len(files) != 1 or files[0].suffix != ".npz":
        return None
    return files[0] if _pairs(files[0]) else None


def read(source: Path) -> Pool:
    """Pool the parts, train then val then test; labels (N,) or (N, 1), whole numbers or words.

    Images (N, H, W, 3) become (N, 3, H, W); others are taken as `archives.read_shard` takes them.

    Raises:
        DataError: arrays that are malformed, or do not fit each other.
    """
    source = _file(source) or source
    pairs = _pairs(source)
    left = sorted(set(members(source)) - {name for pair in pairs.values() for name in pair})
    if left:
        log.warning("%s: left out: the arrays %s", source, ", ".join(left))
    inputs, labels, parts = [], [], []
    for part, (x, y) in pairs.items():
        arrays = read_arrays(source, (x, y))
        images = to_inputs(source, _channels_first(arrays[x]))
        numbers = _labels(f"{source}: {y}", arrays[y])
        if len(images) != len(numbers):
            problem = f"`{x}` has {len(images)} samples, and `{y}` {len(numbers)} labels"
            raise DataError(str(source), problem, "give every sample one label")
        inputs.append(images)
        labels.append(numbers)
        parts += [part] * len(numbers)
    _check_kinds(source, labels)
    found, names = numbered(str(source), "labels", np.concatenate(labels))
    pooled = np.concatenate(inputs)
    check_shard(str(source), pooled, found, len(names))
    log_looks(str(source), pooled)
    return Pool(pooled, found, names, tested=test_mask(parts, set(parts)))


def _labels(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Return labels (N,): words as they are, anything else as whole numbers.

    Raises:
        DataError: an empty word, or what `whole_labels` refuses.
    """
    column = array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)
    if array.dtype.kind != "U" or not column:
        return whole_labels(name, array)
    words = array.reshape(-1)
    if (empty := words == "").any():
        problem = f"sample {np.argmax(empty)} has an empty label"
        raise DataError(name, problem, "fill it in, or remove the sample")
    return words


def _check_kinds(source: Path, labels: Sequence[NDArray[Any]]) -> None:
    """Refuse parts of which some have words for labels, and some numbers."""
    if len({each.dtype.kind == "U" for each in labels if each.size}) > 1:
        problem = "has words for labels in one part, and numbers in another"
        raise DataError(str(source), problem, "store the same kind of labels in all parts")


def _pairs(source: Path) -> dict[str, tuple[str, str]]:
    """Return the names of the samples and the labels of each part."""
    there = set(members(source))
    for form in _FORMS:
        named = {part: tuple(form.format(part=part).split()) for part in PARTS}
        found = {part: (x, y) for part, (x, y) in named.items() if {x, y} <= there}
        if found:
            return found
    samples = [name for name in _SAMPLES if name in there]
    labels = [name for name in _LABELS if name in there]
    return {"": (samples[0], labels[0])} if samples and labels else {}


def _channels_first(array: NDArray[Any]) -> NDArray[Any]:
    """Return colour images with their colours first; the publishers have them last."""
    last = array.ndim == 4 and array.shape[3] in (1, 3) and array.shape[1] not in (1, 3)
    return array.transpose(0, 3, 1, 2) if last else array
