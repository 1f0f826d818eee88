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

from edgeloop.data.labels import whole_labels
from edgeloop.data.restricted import read_pickled_arrays
from edgeloop.data.room import check_member
from edgeloop.data.samples import Inputs, Labels, Shard, check_labels, check_shard
from edgeloop.errors import DataError

Array = NDArray[Any]
# Bytes: no client, and no sample set this product is made for, comes near.
MEMBER_LIMIT = 4 * 2**30
_EXACT = 2**24  # float32 holds all whole numbers up to it
_ELONGATED = 4  # times: how much longer a window's steps are than its channels are many
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


def members(path: Path) -> list[str]:
    """Return the names of a file's arrays; none where it is no .npz file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except _UNREADABLE:
        return []


def read_shard(path: Path, classes: int) -> Shard:
    """Return one client's samples from an .npz file with `x` and `y`.

    uint8 stays, other numbers become float32; images (N, H, W) become (N, 1, H, W). Floats whose
    longer side is 4 times the shorter one or more are windows of sensors, in either order, and
    become (N, channels, 1, steps). No samples are an empty part, whatever their shape.

    Raises:
        DataError: see `read_arrays`; also unusable types, lengths, labels or values.
    """
    arrays = read_arrays(path, ("x", "y"))
    inputs, labels = to_inputs(path, arrays["x"]), whole_labels(str(path), arrays["y"])
    check_shard(str(path), inputs, labels, classes, "num_classes")
    return Shard(inputs, labels)


def read_labels(path: Path, classes: int) -> Labels:
    """Return one client's labels; the inputs are skipped where the file allows.

    Raises:
        DataError: see `read_arrays`; also unusable types or labels.
    """
    labels = whole_labels(str(path), read_arrays(path, ("y",))["y"])
    check_labels(str(path), labels, classes, "num_classes")
    return labels


def _members(path: Path, archive: zipfile.ZipFile, wanted: tuple[str, ...]) -> dict[str, Array]:
    if "data.npy" in archive.namelist() and "data" not in wanted:
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
    check_member(str(path), archive.getinfo(member), MEMBER_LIMIT)
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


def to_inputs(path: Path, array: Array) -> Inputs:
    """Return samples (N, *shape) as a file keeps them; see `read_shard`.

    Raises:
        DataError: of a type or a shape that is no model's.
    """
    if not array.size:
        return np.zeros((0, *array.shape[1:]), np.float32)
    if array.dtype.kind in "iub" and array.dtype != np.uint8:
        array = _exact(path, array)
    if array.ndim < 2 or (array.dtype != np.uint8 and array.dtype.kind != "f"):
        problem = f"`x` is {array.dtype} of shape {array.shape}"
        raise DataError(str(path), problem, "store float or uint8 inputs (N, channels, ...)")
    _check_order(path, array)
    if array.ndim == 3:
        array = windows(array) if is_elongated(array) else array[:, np.newaxis]
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    return np.ascontiguousarray(array, dtype=np.float32)


def _exact(path: Path, array: Array) -> Array:
    """Return whole numbers, such as ids of words, as floats that hold them exactly."""
    wrong = np.abs(array.reshape(len(array), -1).astype(np.float64)).max(axis=1) > _EXACT
    if wrong.any():
        first = int(np.argmax(wrong))
        problem = f"`x` is {array.dtype}, and sample {first} has a number above {_EXACT:,}"
        raise DataError(str(path), problem, "store numbers that float32 holds exactly")
    return array.astype(np.float32)


def _check_order(path: Path, array: Array) -> None:
    """Refuse images (N, H, W, C): a model would take their rows for colours."""
    if array.ndim != 4 or array.shape[3] not in (1, 3, 4) or array.shape[1] in (1, 3, 4):
        return
    if array.dtype == np.uint8 or array.shape[1] == array.shape[2]:
        problem = f"`x` has shape {array.shape}: its channels seem to be last"
        raise DataError(str(path), problem, "store x.transpose(0, 3, 1, 2): (N, channels, H, W)")


def is_elongated(array: Array) -> bool:
    """Return whether floats (N, A, B) are windows of sensors, and no images of one colour."""
    short, long = sorted(array.shape[1:])
    return array.dtype.kind == "f" and long >= _ELONGATED * short


def windows(array: Array) -> Array:
    """Return windows (N, channels, 1, steps) from either order; channels are the fewer."""
    if array.shape[1] > array.shape[2]:
        array = array.transpose(0, 2, 1)
    return array[:, :, np.newaxis]
