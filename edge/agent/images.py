"""Reads one image file into an array, without torch or Pillow, and fits it to a model's input.

Sources: Netpbm's pgm(5) and ppm(5); NumPy's NEP 1.
Shape suffixes: C channels, H rows, W columns.
"""

import io
import math
import re
import struct
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge.agent.png import MAGIC, BrokenError, Picture, check_size, decode_png
from edgeloop.errors import DataError

MOST_BYTES = 2**28
"""The largest file that is read."""

_NPY = b"\x93NUMPY"
_PNM = re.compile(rb"P([56])" + rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})" * 3 + rb"\s")
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_NPY_KIND = re.compile(rb"'descr': '([<>|=](?:b1|[iu][1248]|f[248]))'")
_NPY_SIDES = re.compile(rb"'shape': \(((?:\d{1,9}, ?)*(?:\d{1,9})?)\)")
_BY_PILLOW = ("JPEG", "BMP", "GIF", "WEBP")
_PILLOW_SAYS_NO = (OSError, SyntaxError, ValueError, TypeError, IndexError, struct.error)


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
    data = _content(path)
    image = decode(data, str(path))
    if data.startswith(_NPY):
        return _matching(image, shape, pixels, str(path))
    if not pixels:
        remedy = f"give an .npy array of shape {shape}, prepared as the training data was"
        raise DataError(str(path), "is a picture, and the model takes raw values", remedy)
    return fit(image, shape)


def read(path: Path) -> Picture:
    """Read a picture as uint8 or float32 (C, H, W), 0 to 255, or an `.npy` array as it is.

    Raises:
        DataError: a file that is missing, too large, or broken.
    """
    return decode(_content(path), str(path))


def decode(data: bytes, name: str) -> Picture:
    """Read the bytes of an image file called `name`: PNG, PGM, PPM, `.npy`; others by Pillow.

    Raises:
        DataError: bytes that are none of these, too large, or broken.
    """
    try:
        if data.startswith(MAGIC):
            return decode_png(data)
        if data.startswith(_NPY):
            return _npy(data)
        return _pnm(data) if data[:2] in (b"P5", b"P6") else _by_pillow(data)
    except BrokenError as error:
        raise DataError(name, error.problem, error.remedy) from error


def fit(image: Picture, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Convert a picture (C, H, W) of 1 to 4 channels to a model's shape, with 1 or 3 channels.

    Grey is 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601); alpha is dropped. A side that shrinks is
    averaged by area, one that grows is interpolated linearly.

    Raises:
        DataError: if the model takes no pictures.
    """
    if len(shape) != 3 or shape[0] not in (1, 3):
        problem = f"a picture has no place in a model whose inputs are of shape {shape}"
        raise DataError("image", problem, "give an .npy array of that shape")
    down = _weights(image.shape[1], shape[1])
    across = _weights(image.shape[2], shape[2])
    planes = (_resized(plane_HW, down, across) for plane_HW in image)
    return _with_channels(np.stack(list(planes)), shape[0])


def _resized(
    plane_HW: NDArray[np.generic], down: NDArray[np.float32], across: NDArray[np.float32]
) -> NDArray[np.float32]:
    values_HW = plane_HW.astype(np.float32)
    same = plane_HW.shape == (len(down), len(across))
    return values_HW if same else np.linalg.multi_dot([down, values_HW, across.T])


def _weights(old: int, new: int) -> NDArray[np.float32]:
    """Return the matrix (new, old) that resizes one side; its rows sum to one."""
    scale = old / new
    sources = np.arange(old, dtype=np.float64)
    starts = np.arange(new)[:, None] * scale
    if scale > 1:
        overlap = np.minimum(starts + scale, sources + 1) - np.maximum(starts, sources)
        return np.asarray(np.maximum(overlap / scale, 0), np.float32)
    centres = np.clip(starts + scale / 2 - 0.5, 0, old - 1)
    return np.asarray(np.maximum(1 - np.abs(centres - sources), 0), np.float32)


def _with_channels(image: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    colours = image[: 1 if len(image) < 3 else 3]
    if len(colours) == channels:
        return colours
    if channels == 3:
        return np.repeat(colours, 3, axis=0)
    return np.asarray(np.tensordot(_LUMA, colours, 1)[None], np.float32)


def _matching(
    array: Picture, shape: tuple[int, ...], pixels: bool, name: str
) -> NDArray[np.float32]:
    """Check an `.npy` array against a model's input; sides of length 1 may differ."""
    if [n for n in array.shape if n != 1] != [n for n in shape if n != 1]:
        problem = f"has shape {array.shape}, the model takes {shape}"
        raise DataError(name, problem, "give an array of that shape, channels first")
    if not np.isfinite(array).all():
        raise DataError(name, "holds a value that is not finite in float32", "mend that value")
    if pixels and (array.min() < 0 or array.max() > 255):
        raise DataError(name, "holds values outside 0 to 255", "give pixels, 0 to 255")
    return array.astype(np.float32).reshape(shape)


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise DataError(str(path), "there is no such file", "give the path of an image")
        if path.stat().st_size > MOST_BYTES:
            problem = f"is larger than {MOST_BYTES >> 20} MiB"
            raise DataError(str(path), problem, "give a smaller image")
        return path.read_bytes()
    except OSError as error:
        raise DataError(str(path), f"cannot be read ({error.strerror})", "check it") from error


def _pnm(data: bytes) -> NDArray[np.uint8]:
    found = _PNM.match(data)
    if not found:
        raise BrokenError("is a PGM or PPM without a header")
    width, height, most = (int(number) for number in found.groups()[1:])
    if most != 255:
        raise BrokenError(f"has a largest value of {most}", "save it with 8 bits a sample")
    check_size(width, height)
    channels = 3 if found[1] == b"6" else 1
    pixels = np.frombuffer(data[found.end() :][: width * height * channels], np.uint8)
    if len(pixels) < width * height * channels:
        raise BrokenError("has fewer pixels than it says")
    return np.ascontiguousarray(pixels.reshape(height, width, channels).transpose(2, 0, 1))


def _npy(data: bytes) -> Picture:
    """Read an array of numbers; nothing in the file is evaluated, and no object is unpickled."""
    begin = 10 if data[6:7] == b"\x01" else 12
    end = begin + int.from_bytes(data[8:begin], "little")
    header = data[begin : min(end, begin + 10_000)]
    kind, sides = _NPY_KIND.search(header), _NPY_SIDES.search(header)
    if not kind or not sides:
        raise BrokenError("is an .npy file of something else than numbers", "save numbers")
    shape = tuple(int(side) for side in re.findall(rb"\d+", sides[1]))
    dtype = np.dtype(kind[1].decode())
    if math.prod(shape) > MOST_BYTES or math.prod(shape) * dtype.itemsize != len(data) - end:
        raise BrokenError("is an .npy file of another length than it says", "save it again")
    order: Literal["C", "F"] = "F" if b"'fortran_order': True" in header else "C"
    array = np.frombuffer(data, dtype, offset=end).reshape(shape, order=order)
    with np.errstate(over="ignore"):  # `_matching` refuses what is not finite
        return array if dtype == np.uint8 else array.astype(np.float32)


def _by_pillow(data: bytes) -> NDArray[np.uint8]:
    try:
        from PIL import Image
    except ImportError as error:
        remedy = "pip install pillow, or save it as a PNG"
        raise BrokenError("is neither a PNG, a PGM, a PPM nor an .npy", remedy) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images, refused here, and of odd comments
            with Image.open(io.BytesIO(data), formats=_BY_PILLOW) as image:
                check_size(*image.size)
                mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
                pixels_HWC = np.atleast_3d(np.asarray(image.convert(mode)))
    except (Image.DecompressionBombError, *_PILLOW_SAYS_NO) as error:
        raise BrokenError("is no image that can be read") from error
    return np.ascontiguousarray(pixels_HWC.transpose(2, 0, 1))
