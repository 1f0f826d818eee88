"""Decodes images, and reads folders named after classes into a pool.

Shape suffixes: N images, C colours (1 or 3), H and W pixels.
"""

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from edgeloop import pictures
from edgeloop.data.samples import Pool
from edgeloop.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg")
KINDS = ("PNG", "JPEG")
# In this order the parts of a data set are pooled.
PARTS = ("train", "val", "test")
_EXTRA = "pip install 'edgeloop[sim]'"


def optional(module: str, package: str) -> ModuleType:
    """Import a package that only readers need.

    Raises:
        DataError: it is not installed; the remedy names the extra that has it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise DataError(package, "is needed to read this source", _EXTRA) from error


def decode(
    images: Iterable[tuple[str, bytes]],
    count: int,
    size: int | None = None,
    wanted_N: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Decode PNG or JPEG images of one size, or resize them to one; EXIF orientation is honoured.

    Args:
        images: each one's name, for messages, and its bytes.
        count: how many there are, N.
        size: pixels of a side, both sides alike: bilinear, the aspect ratio is not kept. None
            leaves images as they are.
        wanted_N: which images to decode; the others stay black. None decodes all.

    Returns:
        uint8 (N, C, H, W); C is 1 where every decoded image is grey, else 3.

    Raises:
        DataError: an image that cannot be decoded, or differs in size from the first one where
            none is given.
    """
    images_NCHW = np.empty((0, 3, 0, 0), np.uint8)
    grey = True
    for position, (name, content) in enumerate(images):
        if wanted_N is not None and not wanted_N[position]:
            continue
        sides = None if size is None else (size, size)
        image_CHW = pictures.decode(content, name, size=sides, kinds=KINDS)
        if not len(images_NCHW):
            images_NCHW = np.zeros((count, 3, *image_CHW.shape[1:]), np.uint8)
        if image_CHW.shape[1:] != images_NCHW.shape[2:]:
            sizes = f"{image_CHW.shape[1:]} where the first has {images_NCHW.shape[2:]}"
            remedy = "resize all images to one size, or give an image size"
            raise DataError(name, f"has (height, width) {sizes}", remedy)
        images_NCHW[position] = image_CHW
        grey = grey and len(image_CHW) == 1
    return np.ascontiguousarray(images_NCHW[:, :1]) if grey else images_NCHW


def read_class_folders(folder: Path, size: int | None = None) -> Pool:
    """Read `folder/CLASS/*.png`, or `folder/train/CLASS/*.png` and `test` likewise, into a pool.

    Classes are numbered by name, images ordered by part (train, val, test), class and file name.

    Args:
        folder: the folder.
        size: pixels of a side; see `decode`.

    Raises:
        DataError: no images there, or images that cannot be decoded or differ in size.
    """
    parts = [folder / part for part in PARTS if (folder / part).is_dir()]
    classes = [
        each for part in parts or [folder] for each in sorted(part.iterdir()) if each.is_dir()
    ]
    files = [file for each in classes for file in image_files(each)]
    if not files:
        remedy = "give it config.json, *.parquet, or one folder of PNG or JPEG images per class"
        raise DataError(str(folder), "unknown layout", remedy)
    names = tuple(sorted({file.parent.name for file in files}))
    labels = np.array([names.index(file.parent.name) for file in files], np.int64)
    images_NCHW = decode(((str(file), file.read_bytes()) for file in files), len(files), size)
    return Pool(images_NCHW, labels, names)


def image_files(folder: Path) -> list[Path]:
    """Return a folder's PNG and JPEG files by name."""
    return sorted(each for each in folder.iterdir() if each.suffix.lower() in SUFFIXES)
