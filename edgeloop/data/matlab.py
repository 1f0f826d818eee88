"""Reads arrays of numbers from a MATLAB 5 file, which is how Flowers102's labels come.

Source: MathWorks, "MAT-File Format", version 5: a header of 128 bytes, then elements of a type, a
length and content that fills up 8 bytes; a compressed element holds one matrix, and a matrix holds
its flags, sizes, name and numbers as elements of its own.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeloop.errors import DataError

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_TYPES = {
    **{1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"},
    **{12: "i8", 13: "u8"},
}
_NUMBERS = range(6, 16)  # the classes of matrices that are plain numbers
_LIMIT = 2**26  # bytes of one unpacked element
_MALFORMED = (struct.error, zlib.error, ValueError, KeyError, IndexError, OSError)


def read_matlab(path: Path) -> dict[str, NDArray[Any]]:
    """Return every real array of numbers by its name, in the shape and order of the file.

    Raises:
        DataError: a file that is missing, malformed or of another version.
    """
    try:
        content = path.read_bytes()
        order = {b"IM": "<", b"MI": ">"}[content[126:_HEADER]]
        elements = list(_elements(content[_HEADER:], order))
        return dict(_matrices(elements, order))
    except _MALFORMED as error:
        problem = f"no MATLAB 5 file of numbers ({type(error).__name__}: {error})"
        raise DataError(str(path), problem, "download it again") from error


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Yield each element's type and content; a short one has both in 8 bytes."""
    place = 0
    while place < len(content):
        kind, size = struct.unpack_from(f"{order}II", content, place)
        short = kind >> 16
        begin, size = (place + 4, short) if short else (place + 8, size)
        if begin + size > len(content):
            raise ValueError("cut short")
        yield kind & 0xFFFF, content[begin : begin + size]
        end = begin + size
        place = place + 8 if short else end if kind == _COMPRESSED else -(-end // 8) * 8


def _matrices(elements: list[tuple[int, bytes]], order: str) -> Iterator[tuple[str, NDArray[Any]]]:
    for kind, content in elements:
        if kind == _COMPRESSED:
            unpacked = _unpacked(content)
            yield from _matrices(list(_elements(unpacked, order)), order)
        elif kind == _MATRIX:
            (_, flags), (_, sizes), (_, name), *rest = _elements(content, order)
            if struct.unpack_from(f"{order}I", flags)[0] & 0xFF in _NUMBERS:
                yield name.decode("ascii"), _numbers(rest[0], sizes, order)


def _unpacked(content: bytes) -> bytes:
    unpacked = zlib.decompressobj().decompress(content, _LIMIT)
    if len(unpacked) == _LIMIT:
        raise ValueError(f"an element of {_LIMIT} bytes or more")
    return unpacked


def _numbers(element: tuple[int, bytes], sizes: bytes, order: str) -> NDArray[Any]:
    kind, content = element
    shape = tuple(np.frombuffer(sizes, f"{order}i4").tolist())
    array = np.frombuffer(content, order + _TYPES[kind])
    if math.prod(shape) != array.size:
        raise ValueError(f"{array.size} numbers for an array of shape {shape}")
    return array.reshape(shape, order="F")
