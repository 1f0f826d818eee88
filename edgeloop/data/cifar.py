"""Reads CIFAR-10 and CIFAR-100 as their authors packed them for Python (Krizhevsky 2009).

    cifar-10-batches-py/    data_batch_1 ... data_batch_5, test_batch, batches.meta
    cifar-100-python/       train, test, meta

Every file is a pickle of Python 2; it is read without being run.

Shape suffixes: N images, C colours, H and W pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeloop.data.restricted import read_pickled_columns
from edgeloop.data.samples import Pool
from edgeloop.errors import DataError

SIDE = 32
_REMEDY = "download the set again"


@dataclass(frozen=True)
class _Form:
    folder: str
    files: tuple[str, ...]
    meta: str
    labels: str
    names: str


_FORMS = (
    _Form(
        folder="cifar-10-batches-py",
        files=(*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"),
        meta="batches.meta",
        labels="labels",
        names="label_names",
    ),
    _Form(
        folder="cifar-100-python",
        files=("train", "test"),
        meta="meta",
        labels="fine_labels",
        names="fine_label_names",
    ),
)


def matches(source: Path) -> bool:
    """Return whether this folder, or one in it, holds the batches."""
    return _find(source) is not None


def read(source: Path) -> Pool:
    """Pool training then test images, uint8 (N, 3, 32, 32), with fine labels.

    Raises:
        DataError: a file that is missing or malformed, or a pickle that is no plain data.
    """
    found = _find(source)
    if found is None:
        raise DataError(str(source), "holds no CIFAR batches", _REMEDY)
    folder, form = found
    parts = [_read_batch(folder / name, form.labels) for name in form.files]
    images_NCHW = np.concatenate([images for images, _ in parts])
    labels = np.concatenate([labels for _, labels in parts])
    return Pool(images_NCHW, labels, _class_names(folder / form.meta, form.names))


def _find(source: Path) -> tuple[Path, _Form] | None:
    for form in _FORMS:
        for folder in (source, source / form.folder):
            if (folder / form.meta).is_file() and (folder / form.files[0]).is_file():
                return folder, form
    return None


def _read_batch(path: Path, column: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    columns = _columns(path)
    images, labels = _array(path, columns, "data"), _array(path, columns, column)
    if images.dtype != np.uint8 or images.shape[1:] != (3 * SIDE**2,):
        problem = f"`data` is {images.dtype} of shape {images.shape}"
        raise DataError(str(path), problem, _REMEDY)
    return images.reshape(-1, 3, SIDE, SIDE), labels.astype(np.int64)


def _array(path: Path, columns: Mapping[str, Any], name: str) -> NDArray[Any]:
    array = columns.get(name)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu":
        raise DataError(str(path), f"has no array `{name}` of whole numbers", _REMEDY)
    return array


def _class_names(path: Path, column: str) -> tuple[str, ...]:
    names = _columns(path).get(column)
    if not isinstance(names, tuple):
        raise DataError(str(path), f"has no list `{column}`", _REMEDY)
    return names


def _columns(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(str(path), "no such file", _REMEDY)
    return dict(read_pickled_columns(str(path), path.read_bytes()))
