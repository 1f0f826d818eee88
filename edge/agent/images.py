"""Reads one image file into an array, without torch or Pillow, and fits it to a model's input.

Sources: PNG, W3C Recommendation, second edition; Netpbm's pgm(5) and ppm(5); NumPy's NEP 1.
Shape suffixes: C channels, H rows, W columns, R bytes a row, P pixels, S bytes a pixel.
"""

import io
import math
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeloop.errors import DataError

Picture = NDArray[np.uint8] | NDArray[np.float32]

MOST_PIXELS = 64_000_000
MOST_SIDE = 32_768
MOST_BYTES = 2**28
"""The largest picture, and the largest file, that is read."""

_PNG = b"\x89PNG\r\n\x1a\n"
_NPY = b"\x93NUMPY"
_PNM = re.compile(rb"P([56])" + rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})" * 3 + rb"\s")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PALETTE = 3
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_NPY_KIND = re.compile(rb"'descr': '([<>|=](?:b1|[iu][1248]|f[248]))'")
_NPY_SIDES = re.compile(rb"'shape': \(((?:\d{1,9}, ?)*(?:\d{1,9})?)\)")
_BY_PILLOW = ("JPEG", "BMP", "GIF", "WEBP")
_PILLOW_SAYS_NO = (OSError, SyntaxError, ValueError, TypeError, IndexError, struct.error)
_RESAVE = "save it again as a PNG"


class _BrokenError(Exception):
    """An image that cannot be read: what is wrong with it, and what to do."""

    def __init__(self, problem: str, remedy: str = _RESAVE) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


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
        if data.startswith(_PNG):
            return _png(data)
        if data.startswith(_NPY):
            return _npy(data)
        return _pnm(data) if data[:2] in (b"P5", b"P6") else _by_pillow(data)
    except _BrokenError as error:
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


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise _BrokenError(f"is a picture of {width} x {height} pixels")
    if width * height > MOST_PIXELS or max(width, height) > MOST_SIDE:
        problem = f"is too large, {width} x {height} pixels"
        raise _BrokenError(problem, f"shrink it to at most {MOST_PIXELS // 10**6} megapixels")


def _png(data: bytes) -> Picture:
    parts = {kind: bytearray() for kind in (b"IHDR", b"PLTE", b"IDAT")}
    for kind, body in _chunks(data):
        if kind in parts:
            parts[kind] += body
    width, height, depth, colour = _header(parts[b"IHDR"])
    bits = _CHANNELS[colour] * depth
    row = (width * bits + 7) // 8
    lines = np.frombuffer(_inflated(parts[b"IDAT"], height * (row + 1)), np.uint8)
    rows_HR = _unfiltered(lines.reshape(height, row + 1), max(1, bits // 8))
    samples = _samples(rows_HR, depth)[:, : width * _CHANNELS[colour]]
    values_HWC: Picture = samples.reshape(height, width, -1)
    if colour == _PALETTE:
        values_HWC = _looked_up(values_HWC[..., 0], parts[b"PLTE"])
    elif depth < 8:
        values_HWC = values_HWC * np.uint8(255 // (2**depth - 1))
    image: Picture = values_HWC.transpose(2, 0, 1).copy()
    return image


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Walk a PNG's chunks up to its end: kind and body."""
    at, kind = len(_PNG), b""
    while kind != b"IEND":
        length = int.from_bytes(data[at : at + 4], "big")
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        checksum = data[at + 8 + length : at + 12 + length]
        if len(checksum) < 4:
            raise _BrokenError("is a PNG that ends too early")
        if zlib.crc32(body, zlib.crc32(kind)) != int.from_bytes(checksum, "big"):
            raise _BrokenError("is a PNG with a wrong checksum")
        yield kind, body
        at += 12 + length


def _header(body: bytearray) -> tuple[int, int, int, int]:
    """Return width, height, bits a sample and colour type."""
    if len(body) != 13:
        raise _BrokenError("is a PNG without a header")
    width, height = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
    depth, colour, compression, filtering, interlace = body[8:]
    if depth not in _DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        raise _BrokenError("is a PNG of a kind that the standard does not have")
    if interlace:
        raise _BrokenError("is an interlaced PNG", "save it without interlacing")
    _check_size(width, height)
    return width, height, depth, colour


def _inflated(data: bytearray, size: int) -> bytes:
    """Decompress to exactly `size` bytes, holding at most one more in memory."""
    try:
        raw = zlib.decompressobj().decompress(data, size + 1)
    except zlib.error as error:
        raise _BrokenError("is a PNG whose pixels cannot be decompressed") from error
    if len(raw) != size:
        which = "more" if len(raw) > size else "fewer"
        raise _BrokenError(f"is a PNG with {which} pixels than it says")
    return raw


def _unfiltered(lines: NDArray[np.uint8], stride: int) -> NDArray[np.uint8]:
    """Undo the filter that each line (H, 1 + R) names in its first byte, for pixels of S bytes.

    A pixel needs its left, upper and upper left neighbours, so that all pixels on one rising
    diagonal can be computed at once.
    """
    filters_H, coded_HWS = lines[:, 0], lines[:, 1:].reshape(len(lines), -1, stride)
    if filters_H.max() > 4:
        raise _BrokenError("is a PNG with a filter that the standard does not have")
    if not filters_H.any():
        return lines[:, 1:]
    height, width = coded_HWS.shape[:2]
    plain_HWS = np.zeros((height + 1, width + 1, stride), np.uint8)
    for diagonal in range(height + width - 1):
        y_P = np.arange(max(0, diagonal - width + 1), min(height, diagonal + 1))
        x_P = diagonal - y_P
        left_PS, up_PS = plain_HWS[y_P + 1, x_P], plain_HWS[y_P, x_P + 1]
        guess_PS = _predicted(filters_H[y_P], left_PS, up_PS, plain_HWS[y_P, x_P])
        plain_HWS[y_P + 1, x_P + 1] = coded_HWS[y_P, x_P] + guess_PS
    return plain_HWS[1:, 1:].reshape(height, -1)


def _predicted(
    filters_P: NDArray[np.uint8],
    left_PS: NDArray[np.uint8],
    up_PS: NDArray[np.uint8],
    corner_PS: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """Return what the filters None, Sub, Up, Average and Paeth add to a byte (PNG, section 9)."""
    left, up, corner = (part.astype(np.int16) for part in (left_PS, up_PS, corner_PS))
    to_left, to_up = np.abs(up - corner), np.abs(left - corner)
    to_corner = np.abs(left + up - 2 * corner)
    upper = np.where(to_up <= to_corner, up, corner)
    paeth = np.where((to_left <= to_up) & (to_left <= to_corner), left, upper)
    kinds = [np.zeros_like(left), left, up, (left + up) // 2, paeth]
    return np.choose(filters_P[:, None], kinds).astype(np.uint8)


def _samples(rows_HR: NDArray[np.uint8], depth: int) -> Picture:
    """Split rows of bytes into samples of `depth` bits; 16 bits become float32, 0 to 255."""
    if depth == 16:
        return np.ascontiguousarray(rows_HR).view(">u2").astype(np.float32) / np.float32(257)
    shifts = np.arange(8 - depth, -1, -depth, dtype=np.uint8)
    parts = rows_HR[:, :, None] >> shifts & np.uint8(2**depth - 1)
    return parts.reshape(len(rows_HR), -1)


def _looked_up(indices_HW: Picture, palette: bytearray) -> NDArray[np.uint8]:
    colours = np.frombuffer(palette[: len(palette) // 3 * 3], np.uint8).reshape(-1, 3)
    if indices_HW.max() >= len(colours):
        raise _BrokenError("is a PNG with a colour that its palette does not have")
    return colours[indices_HW.astype(np.intp)]


def _pnm(data: bytes) -> NDArray[np.uint8]:
    found = _PNM.match(data)
    if not found:
        raise _BrokenError("is a PGM or PPM without a header")
    width, height, most = (int(number) for number in found.groups()[1:])
    if most != 255:
        raise _BrokenError(f"has a largest value of {most}", "save it with 8 bits a sample")
    _check_size(width, height)
    channels = 3 if found[1] == b"6" else 1
    pixels = np.frombuffer(data[found.end() :][: width * height * channels], np.uint8)
    if len(pixels) < width * height * channels:
        raise _BrokenError("has fewer pixels than it says")
    return np.ascontiguousarray(pixels.reshape(height, width, channels).transpose(2, 0, 1))


def _npy(data: bytes) -> Picture:
    """Read an array of numbers; nothing in the file is evaluated, and no object is unpickled."""
    begin = 10 if data[6:7] == b"\x01" else 12
    end = begin + int.from_bytes(data[8:begin], "little")
    header = data[begin : min(end, begin + 10_000)]
    kind, sides = _NPY_KIND.search(header), _NPY_SIDES.search(header)
    if not kind or not sides:
        raise _BrokenError("is an .npy file of something else than numbers", "save numbers")
    shape = tuple(int(side) for side in re.findall(rb"\d+", sides[1]))
    dtype = np.dtype(kind[1].decode())
    if math.prod(shape) > MOST_BYTES or math.prod(shape) * dtype.itemsize != len(data) - end:
        raise _BrokenError("is an .npy file of another length than it says", "save it again")
    order: Literal["C", "F"] = "F" if b"'fortran_order': True" in header else "C"
    array = np.frombuffer(data, dtype, offset=end).reshape(shape, order=order)
    with np.errstate(over="ignore"):  # `_matching` refuses what is not finite
        return array if dtype == np.uint8 else array.astype(np.float32)


def _by_pillow(data: bytes) -> NDArray[np.uint8]:
    try:
        from PIL import Image
    except ImportError as error:
        remedy = "pip install pillow, or save it as a PNG"
        raise _BrokenError("is neither a PNG, a PGM, a PPM nor an .npy", remedy) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images, refused here, and of odd comments
            with Image.open(io.BytesIO(data), formats=_BY_PILLOW) as image:
                _check_size(*image.size)
                mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
                pixels_HWC = np.atleast_3d(np.asarray(image.convert(mode)))
    except (Image.DecompressionBombError, *_PILLOW_SAYS_NO) as error:
        raise _BrokenError("is no image that can be read") from error
    return np.ascontiguousarray(pixels_HWC.transpose(2, 0, 1))
