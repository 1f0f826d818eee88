"""Decodes PNG with nothing but zlib and NumPy: every depth and colour type, no interlacing.

Source: PNG, W3C Recommendation (second edition).
Shape suffixes: C channels, H rows, W columns, R bytes a row, P pixels, S bytes a pixel.
"""

import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8] | NDArray[np.float32]

MAGIC = b"\x89PNG\r\n\x1a\n"
MOST_PIXELS = 64_000_000
"""The largest picture that is read."""
MOST_SIDE = 32_768
RESAVE = "save it again as a PNG"

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PALETTE = 3


class BrokenError(Exception):
    """An image that cannot be read: what is wrong with it, and what to do."""

    def __init__(self, problem: str, remedy: str = RESAVE) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


def check_size(width: int, height: int) -> None:
    """Refuse a picture that would take too much memory, before it does.

    Raises:
        BrokenError: no pixels, or more than `MOST_PIXELS`.
    """
    if width < 1 or height < 1:
        raise BrokenError(f"is a picture of {width} x {height} pixels")
    if width * height > MOST_PIXELS or max(width, height) > MOST_SIDE:
        problem = f"is too large, {width} x {height} pixels"
        raise BrokenError(problem, f"shrink it to at most {MOST_PIXELS // 10**6} megapixels")


def decode_png(data: bytes) -> Picture:
    """Return (C, H, W): uint8, or float32 in 0 to 255 where the file has 16 bits a sample.

    Raises:
        BrokenError: damaged, interlaced, or too large.
    """
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
    at, kind = len(MAGIC), b""
    while kind != b"IEND":
        length = int.from_bytes(data[at : at + 4], "big")
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        checksum = data[at + 8 + length : at + 12 + length]
        if len(checksum) < 4:
            raise BrokenError("is a PNG that ends too early")
        if zlib.crc32(body, zlib.crc32(kind)) != int.from_bytes(checksum, "big"):
            raise BrokenError("is a PNG with a wrong checksum")
        yield kind, body
        at += 12 + length


def _header(body: bytearray) -> tuple[int, int, int, int]:
    """Return width, height, bits a sample and colour type."""
    if len(body) != 13:
        raise BrokenError("is a PNG without a header")
    width, height = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
    depth, colour, compression, filtering, interlace = body[8:]
    if depth not in _DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        raise BrokenError("is a PNG of a kind that the standard does not have")
    if interlace:
        raise BrokenError("is an interlaced PNG", "save it without interlacing")
    check_size(width, height)
    return width, height, depth, colour


def _inflated(data: bytearray, size: int) -> bytes:
    """Decompress to exactly `size` bytes, holding at most one more in memory."""
    try:
        raw = zlib.decompressobj().decompress(data, size + 1)
    except zlib.error as error:
        raise BrokenError("is a PNG whose pixels cannot be decompressed") from error
    if len(raw) != size:
        which = "more" if len(raw) > size else "fewer"
        raise BrokenError(f"is a PNG with {which} pixels than it says")
    return raw


def _unfiltered(lines: NDArray[np.uint8], stride: int) -> NDArray[np.uint8]:
    """Undo the filter that each line (H, 1 + R) names in its first byte, for pixels of S bytes.

    A pixel needs its left, upper and upper left neighbours, so that all pixels on one rising
    diagonal can be computed at once.
    """
    filters_H, coded_HWS = lines[:, 0], lines[:, 1:].reshape(len(lines), -1, stride)
    if filters_H.max() > 4:
        raise BrokenError("is a PNG with a filter that the standard does not have")
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
        raise BrokenError("is a PNG with a colour that its palette does not have")
    return colours[indices_HW.astype(np.intp)]
