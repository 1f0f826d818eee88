"""Reads pictures: the one way from a file's bytes to pixels, for training and for `predict`.

It needs Pillow and NumPy, and no torch. Nothing else decodes or resizes a picture, so that a model
is asked about what it was trained on, to the bit.

Shape suffixes: C colours (1 or 3), H and W pixels.
"""

import io
import struct
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from edgeloop.errors import DataError

MOST_PIXELS = 64_000_000
"""The largest picture that is read."""
MOST_SIDE = 32_768
KINDS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF")
"""What is read; PPM stands for PGM, too."""

_SHRINK = f"shrink it to at most {MOST_PIXELS // 10**6} megapixels"
_SCALE = "store 8 bits a colour: 255 (x - low) / (high - low), with one low and high for all images"
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PILLOW_SAYS_NO = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    struct.error,
)


def decode(
    data: bytes | bytearray,
    name: str,
    *,
    channels: int | None = None,
    size: tuple[int, int] | None = None,
    kinds: tuple[str, ...] = KINDS,
    deep: bool = False,
) -> NDArray[np.uint8]:
    """Decode one picture, turned as its EXIF orientation says.

    Grey is 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601); alpha is dropped; of several frames the
    first is read. Colours are converted first, then sizes, bilinearly: a side that shrinks is
    averaged, and the aspect ratio is not kept.

    Args:
        data: the file's bytes.
        name: for messages.
        channels: 1 (grey) or 3 (colour); None leaves what the file has: 1 where it is grey.
        size: (height, width) to resize to; None leaves it as it is.
        kinds: which formats are read, of `KINDS`.
        deep: whether grey of 16 bits is scaled to 8; else it is refused.

    Returns:
        uint8 (C, H, W).

    Raises:
        DataError: no picture of these kinds, damaged, or too large.
    """
    if not data:
        raise DataError(name, "is empty", "repair or remove it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures, refused here, and of odd comments
            with Image.open(io.BytesIO(data), formats=kinds) as image:
                _check(name, image, deep)
                image.load()
                return _pixels(_converted(_upright(image), channels), size)
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(name, "is too large", _SHRINK) from error
    except _PILLOW_SAYS_NO as error:
        problem = f"not a {', '.join(kinds[:-1])} or {kinds[-1]} image ({_reason(error)})"
        raise DataError(name, problem, "repair or remove it") from error


def _check(name: str, image: Image.Image, deep: bool) -> None:
    """Refuse a picture that takes too much memory, before it does, or has values of other kinds."""
    width, height = image.size
    if width * height > MOST_PIXELS or max(width, height) > MOST_SIDE:
        problem = f"is too large, {width} x {height} pixels"
        raise DataError(name, problem, _SHRINK)
    if image.mode.startswith("F"):
        problem = f"has pixels of mode {image.mode}: floating-point ones, whose white nothing tells"
        raise DataError(name, problem, _SCALE)
    if image.mode.startswith("I") and not deep:
        bits = "16" if image.mode.startswith("I;16") else "more than 8"
        problem = f"has pixels of mode {image.mode}: {bits} bits, of which few may be in use"
        raise DataError(name, problem, _SCALE)


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except _PILLOW_SAYS_NO:  # EXIF that cannot be read turns nothing
        return image
    return image if turn is None else image.transpose(turn)


def _converted(image: Image.Image, channels: int | None) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits: 65,535 is white
        grey_HW = np.rint(np.asarray(image, np.float64) / 257)
        image = Image.fromarray(np.clip(grey_HW, 0, 255).astype(np.uint8))
    grey = image.mode in ("1", "L") if channels is None else channels == 1
    return image.convert("L" if grey else "RGB")


def _pixels(image: Image.Image, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    if size is not None:
        image = image.resize(size[::-1], Image.Resampling.BILINEAR)
    pixels_HWC = np.atleast_3d(np.asarray(image, np.uint8))
    return np.ascontiguousarray(pixels_HWC.transpose(2, 0, 1))


def _reason(error: Exception) -> str:
    """Return what Pillow says, without the address of a buffer."""
    if isinstance(error, UnidentifiedImageError):
        return "its first bytes are of no such file"
    return " ".join(str(error).split())[:200] or type(error).__name__
