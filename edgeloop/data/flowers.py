"""Reads Oxford Flowers 102 (Nilsback and Zisserman 2008) as its authors and torchvision keep it.

    flowers-102/    jpg/image_00001.jpg ..., imagelabels.mat, setid.mat

Source of the order, and of the size that the papers use: PFLlib pools train, val and test, and
resizes images to 64 x 64 without keeping their aspect ratio.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeloop.data.images import Size, decode
from edgeloop.data.matlab import read_matlab
from edgeloop.data.samples import Pool
from edgeloop.errors import DataError

FOLDER = "flowers-102"
SIZE = 64
CLASSES = 102
_LABELS, _PARTS = "imagelabels.mat", "setid.mat"
_IN_ORDER = ("trnid", "valid", "tstid")


def matches(source: Path) -> bool:
    """Return whether this folder, or one in it, holds the labels."""
    return any((folder / _LABELS).is_file() for folder in (source, source / FOLDER))


def read(source: Path, size: Size = None) -> Pool:
    """Pool the images of train, val and test, uint8 (N, 3, size, size); classes have numbers.

    Args:
        source: the folder, or the one it lies in.
        size: pixels of a side; None for 64.

    Raises:
        DataError: a file that is missing, malformed, or does not fit the others.
    """
    folder = source if (source / _LABELS).is_file() else source / FOLDER
    labels = _whole(folder / _LABELS, "labels") - 1
    parts = [_whole(folder / _PARTS, name) for name in _IN_ORDER]
    numbers = np.concatenate(parts)
    if not len(numbers) or numbers.min() < 1 or numbers.max() > len(labels):
        problem = f"names images that are none of 1 to {len(labels)}"
        raise DataError(str(folder / _PARTS), problem, "download the set again")
    files = [folder / "jpg" / f"image_{number:05d}.jpg" for number in numbers]
    images = decode(((str(each), _bytes(each)) for each in files), len(files), size or SIZE)
    return Pool(images, labels[numbers - 1], tuple(map(str, range(CLASSES))))


def _whole(path: Path, name: str) -> NDArray[np.int64]:
    array: NDArray[Any] | None = read_matlab(path).get(name)
    if array is None:
        raise DataError(str(path), f"has no array `{name}`", "download it again")
    return array.ravel().astype(np.int64)


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise DataError(str(path), "no such file", "unpack 102flowers.tgz there")
    return path.read_bytes()
