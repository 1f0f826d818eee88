"""Reads .npz files member by member, within a size, and without NumPy's pickle door."""

import io
import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from edgeloop.data.restricted import read_pickled_arrays
from edgeloop.data.samples import Inputs, Labels, Shard, check_labels, check_shard
from edgeloop.errors import DataError

Array = NDArray[Any]
# Bytes: no client, and no sample set this product is made for, comes near.
MEMBER_LIMIT = 4 * 2**30
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, RuntimeError)
_REMEDY = "write the file again; it may have been cut short"


def read_arrays(path: Path, wanted: tuple[str, ...]) -> dict[str, Array]:
    """Return the wanted arrays of an .npz file, and read no others.

    A file has them as members of their own, or all in one pickled dict under `data` (PFLlib).

    Raises:
        DataError: the file or an array is missing, too large, malformed, or a hostile pickle.
    """
    if not path.is_file():
        raise DataError(str(path), "no such file", "restore it, or write the folder again")
    try:
        with zipfile.ZipFile(path) as archive:
            return _members(path, archive, wanted)
    except _UNREADABLE as error:
        raise DataError(str(path), f"not a readable .npz file ({error})", _REMEDY) from error


def read_shard(path: Path, classes: int) -> Shard:
    """Return one client's samples from an .npz file with `x` and `y`.

    uint8 stays, other numbers become float32; images (N, H, W) become (N, 1, H, W).

    Raises:
        DataError: see `read_arrays`; also unusable types, lengths, labels or values.
    """
    arrays = read_arrays(path, ("x", "y"))
    inputs, labels = _inputs(path, arrays["x"]), _labels(path, arrays["y"])
    check_shard(str(path), inputs, labels, classes)
    return Shard(inputs, labels)


def read_labels(path: Path, classes: int) -> Labels:
    """Return one client's labels; the inputs are skipped where the file allows.

    Raises:
        DataError: see `read_arrays`; also unusable types or labels.
    """
    labels = _labels(path, read_arrays(path, ("y",))["y"])
    check_labels(str(path), labels, classes)
    return labels


def _members(path: Path, archive: zipfile.ZipFile, wanted: tuple[str, ...]) -> dict[str, Array]:
    if "data.npy" in archive.namelist():
        body, _, dtype = _header(path, _read(path, archive, "data.npy"))
        if not dtype.hasobject:
            raise DataError(str(path), "`data` holds no pickled dict", "store `x` and `y` instead")
        arrays = read_pickled_arrays(str(path), body)
    else:
        present = [name for name in wanted if f"{name}.npy" in archive.namelist()]
        arrays = {name: _plain(path, _read(path, archive, f"{name}.npy")) for name in present}
    missing = [name for name in wanted if name not in arrays]
    if missing:
        remedy = "store the arrays `x` and `y`, or one dict of both under `data`"
        raise DataError(str(path), f"has no array `{missing[0]}`", remedy)
    return {name: arrays[name] for name in wanted}


def _read(path: Path, archive: zipfile.ZipFile, member: str) -> bytes:
    size = archive.getinfo(member).file_size
    if size > MEMBER_LIMIT:
        problem = f"`{member}` unpacks to {size} bytes, above the limit of {MEMBER_LIMIT}"
        raise DataError(str(path), problem, "divide the data among more clients")
    return archive.read(member)


def _header(path: Path, member: bytes) -> tuple[bytes, tuple[tuple[int, ...], bool], np.dtype[Any]]:
    """Split an .npy member into its body, its (shape, by column) and its dtype."""
    file = io.BytesIO(member)
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, by_column, dtype = read(file)
    except (ValueError, TypeError, SyntaxError) as error:
        raise DataError(str(path), f"a malformed array header ({error})", _REMEDY) from error
    return member[file.tell() :], (shape, by_column), dtype


def _plain(path: Path, member: bytes) -> Array:
    body, (shape, by_column), dtype = _header(path, member)
    if dtype.hasobject:
        raise DataError(str(path), "an array of objects", "store numbers only")
    if math.prod(shape) * dtype.itemsize != len(body):
        raise DataError(str(path), f"{len(body)} bytes for an array of shape {shape}", _REMEDY)
    return np.frombuffer(body, dtype).reshape(shape, order="F" if by_column else "C")


def _inputs(path: Path, array: Array) -> Inputs:
    if array.ndim == 3:
        array = array[:, np.newaxis]
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.ndim < 2 or array.dtype.kind != "f":
        problem = f"`x` is {array.dtype} of shape {array.shape}"
        raise DataError(str(path), problem, "store float or uint8 inputs (N, channels, ...)")
    return np.ascontiguousarray(array, dtype=np.float32)


def _labels(path: Path, array: Array) -> Labels:
    if array.ndim != 1 or array.dtype.kind not in "iu":
        problem = f"`y` is {array.dtype} of shape {array.shape}"
        raise DataError(str(path), problem, "store one integer label for each sample, (N,)")
    return array.astype(np.int64)
