"""Reads Kuzushiji-MNIST and -49 (Clanuwat et al. 2018, arXiv:1812.01718) as NumPy files.

    kmnist-train-imgs.npz, kmnist-train-labels.npz, kmnist-test-imgs.npz, kmnist-test-labels.npz
    k49-train-imgs.npz, ...

Each has one array, `arr_0`: bytes (N, 28, 28), or labels (N,).

Shape suffixes: N images, H and W pixels.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeloop.data.archives import read_arrays
from edgeloop.data.labels import whole_labels
from edgeloop.data.left_out import is_hidden
from edgeloop.data.samples import Labels, Pool
from edgeloop.data.source import Source
from edgeloop.errors import DataError

_IMAGES, _LABELS, _ARRAY = "-imgs.npz", "-labels.npz", "arr_0"
_TRAIN, _TEST = "-train", "-test"
CLASS_NAMES = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
"""Of Kuzushiji-MNIST: a row of the syllabary each; classes of Kuzushiji-49 keep their numbers."""


def matches(source: Path) -> bool:
    """Return whether this is a file of training images, or a folder that has one."""
    return bool(_training(source))


def read(source: Path) -> Pool:
    """Pool training then test images, uint8 (N, 1, H, W), in the files' order.

    Args:
        source: a folder, or the file of the training images where a folder has several sets.

    Raises:
        DataError: several sets in one folder, or a file that is missing or malformed.
    """
    found = _training(source)
    if len(found) > 1:
        names = ", ".join(each.name for each in found)
        remedy = "name the file of the one you mean"
        raise DataError(str(source), f"holds several sets: {names}", remedy)
    images = found[0]
    test = images.with_name(images.name.replace(_TRAIN, _TEST))
    pairs = [_pair(each) for each in (images, test)]
    if pairs[0][0].shape[1:] != pairs[1][0].shape[1:]:
        sizes = f"images of {pairs[1][0].shape[1:]}, and {pairs[0][0].shape[1:]} in {images.name}"
        raise DataError(str(test), sizes, "download both again: they are of different sets")
    labels = np.concatenate([pair[1] for pair in pairs])
    tested = np.repeat([False, True], [len(pair[1]) for pair in pairs])
    pooled = np.concatenate([pair[0] for pair in pairs])[:, np.newaxis]
    return Pool(pooled, labels, _names(images, labels), tested=tested)


def _training(source: Path) -> list[Path]:
    files = [source] if source.is_file() else sorted(source.glob(f"*{_TRAIN}{_IMAGES}"))
    return [
        each
        for each in files
        if each.name.endswith(f"{_TRAIN}{_IMAGES}") and each.is_file() and not is_hidden(each)
    ]


def _pair(images: Path) -> tuple[NDArray[np.uint8], Labels]:
    """Read a part's images (N, H, W) and labels (N,)."""
    beside = images.with_name(images.name.replace(_IMAGES, _LABELS))
    images_NHW = read_arrays(images, (_ARRAY,))[_ARRAY]
    if images_NHW.ndim != 3 or images_NHW.dtype != np.uint8:
        problem = f"`{_ARRAY}` is {images_NHW.dtype} of shape {images_NHW.shape}"
        raise DataError(str(images), problem, "give it bytes (N, height, width)")
    labels = whole_labels(str(beside), read_arrays(beside, (_ARRAY,))[_ARRAY])
    if len(labels) != len(images_NHW):
        problem = f"{len(images_NHW)} images, and {len(labels)} labels in {beside.name}"
        raise DataError(str(images), problem, "download both again: they are of different sets")
    return images_NHW, labels


def _names(images: Path, labels: Labels) -> tuple[str, ...]:
    largest = int(labels.max(initial=-1))
    if images.name.startswith("kmnist") and largest < len(CLASS_NAMES):
        return CLASS_NAMES
    return tuple(map(str, range(largest + 1)))


SOURCE = Source("KMNIST", matches, read)
