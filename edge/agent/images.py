"""Reads one file as an input of a model, without torch: a picture, or an `.npy` array.

Sources: NumPy's NEP 1.
"""

import math
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeloop.errors import DataError
from edgeloop.runtime import pictures

MOST_BYTES = 2**28
"""The largest file that is read."""

_NPY = b"\x93NUMPY"
_NPY_KIND = re.compile(rb"'descr': '([<>|=](?:b1|[iu][1248]|f[248]))'")
_NPY_SIDES = re.compile(rb"'shape': \(((?:\d{1,9}, ?)*(?:\d{1,9})?)\)")


def load(path: Path, shape: tuple[int, ...], *, pixels: bool) -> NDArray[np.float32]:
    """Read a file as one input of a model.

    Args:
        path: a picture, or an `.npy` array of the model's own shape.
        shape: the model's input, for pictures (C, H, W).
        pixels: whether the model takes pixels, 0 to 255; else raw values, from `.npy` only.

    Returns:
        float32 of that shape.

    Raises:
        DataError: a file that cannot be read or does not fit.
    """
    return fit(_content(path), shape, str(path), pixels=pixels)


def fit(
    data: bytes | bytearray, shape: tuple[int, ...], name: str, *, pixels: bool
) -> NDArray[np.float32]:
    """Do what `load` does with the bytes of a file called `name`.

    Raises:
        DataError: bytes that are neither a picture nor an array, or do not fit.
    """
    if data.startswith(_NPY):
        return matching(array(data, name), shape, pixels, name)
    if not pixels:
        remedy = f"give an .npy array of shape {shape}, prepared as the training data was"
        raise DataError(name, "is a picture, and the model takes raw values", remedy)
    if len(shape) != 3 or shape[0] not in (1, 3):
        problem = f"a picture has no place in a model whose inputs are of shape {shape}"
        raise DataError(name, problem, "give an .npy array of that shape")
    channels, height, width = shape
    image = pictures.decode(data, name, channels=channels, size=(height, width), deep=True)
    return image.astype(np.float32)


def load_whole(path: Path) -> NDArray[np.uint8]:
    """Read a file as a picture of its own size: uint8 (height, width, 3), red, green and blue.

    Raises:
        DataError: a file that cannot be read, or is none.
    """
    return whole(_content(path), str(path))


def whole(data: bytes | bytearray, name: str) -> NDArray[np.uint8]:
    """Do what `load_whole` does with the bytes of a file; an `.npy` array is not copied.

    Raises:
        DataError: bytes that are neither a picture nor such an array.
    """
    if data.startswith(_NPY):
        return matching_whole(array(data, name), name)
    pixels_CHW = pictures.decode(data, name, channels=3, deep=True)
    return np.ascontiguousarray(pixels_CHW.transpose(1, 2, 0))


def matching_whole(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Check that an array is a picture, uint8 (height, width, 3).

    Raises:
        DataError: if it is not.
    """
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        problem = f"is {array.dtype} {array.shape}, and the model takes pictures"
        raise DataError(name, problem, "give uint8 (height, width, 3), or a picture's own bytes")
    if math.prod(array.shape[:2]) > pictures.MOST_PIXELS:
        problem = f"is too large, {array.shape[1]} x {array.shape[0]} pixels"
        raise DataError(name, problem, "shrink it")
    return array


def matching(
    array: NDArray[np.uint8] | NDArray[np.float32], shape: tuple[int, ...], pixels: bool, name: str
) -> NDArray[np.float32]:
    """Check an array against a model's input; sides of length 1 may differ.

    Raises:
        DataError: if it does not fit.
    """
    if array.shape != shape and not _fits(array.shape, shape):
        problem = f"has shape {array.shape}, the model takes {shape}"
        raise DataError(name, problem, "give an array of that shape, channels first")
    if array.dtype == np.uint8:  # all of it is finite, and 0 to 255
        return array.astype(np.float32, order="C").reshape(shape)
    if not np.isfinite(array).all():
        raise DataError(name, "holds a value that is not finite in float32", "fix that value")
    if pixels and (array.min() < 0 or array.max() > 255):
        raise DataError(name, "holds values outside 0 to 255", "give pixels, 0 to 255")
    return array.astype(np.float32, order="C").reshape(shape)


def _fits(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Return whether two shapes are the same but for sides of length 1."""
    return [n for n in found if n != 1] == [n for n in wanted if n != 1]


def _content(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise DataError(str(path), "is a folder", f"give its images: {path}/*")
        if not path.is_file():
            raise DataError(str(path), "there is no such file", "give the path of an image")
        if path.stat().st_size > MOST_BYTES:
            problem = f"is larger than {MOST_BYTES >> 20} MiB"
            raise DataError(str(path), problem, "give a smaller image")
        return path.read_bytes()
    except OSError as error:
        raise DataError(str(path), f"cannot be read ({error.strerror})", "check it") from error


def array(data: bytes | bytearray, name: str) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Read an `.npy` array of numbers; nothing is evaluated, and no object is unpickled.

    Raises:
        DataError: if it is none.
    """
    begin = 10 if data[6:7] == b"\x01" else 12
    end = begin + int.from_bytes(data[8:begin], "little")
    found = _npy_header(bytes(data[begin : min(end, begin + 10_000)]))
    if found is None:
        raise DataError(name, "is an .npy file of something else than numbers", "save numbers")
    dtype, shape, order, count = found
    if count > MOST_BYTES or count * dtype.itemsize != len(data) - end:
        raise DataError(name, "is an .npy file of another length than it says", "save it again")
    try:
        array: NDArray[Any] = np.ndarray(shape, dtype, data, offset=end, order=order)
    except ValueError as error:  # more sides than NumPy has, or too long ones beside one of 0
        problem = f"is an .npy file of a shape that no array has ({error})"
        raise DataError(name, problem, "save an array that the model takes") from error
    if dtype == np.uint8:
        return array
    with np.errstate(over="ignore"):  # `matching` refuses what is not finite
        return array.astype(np.float32)


@lru_cache(maxsize=64)  # one client's arrays have one header
def _npy_header(
    header: bytes,
) -> tuple[np.dtype[Any], tuple[int, ...], Literal["C", "F"], int] | None:
    """Return dtype, shape, order and count; None where it is of something else than numbers."""
    kind, sides = _NPY_KIND.search(header), _NPY_SIDES.search(header)
    if not kind or not sides:
        return None
    shape = tuple(int(side) for side in re.findall(rb"\d+", sides[1]))
    order: Literal["C", "F"] = "F" if b"'fortran_order': True" in header else "C"
    return np.dtype(kind[1].decode()), shape, order, math.prod(shape)
