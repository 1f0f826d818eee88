"""Reads a pickled dict of plain arrays without giving the pickle any power.

PFLlib and HtFLlib store each client as one pickled dict. A pickle is a program: it may call
whatever it can name. Here it can name four things, and each is a stand-in that only takes notes,
so that not even NumPy's own reconstruction, which trusts what it is given, sees the file's claims.
"""

import io
import math
import pickle
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeloop.errors import DataError

Array = NDArray[Any]
_NUMBER = re.compile(r"[fiu][1248]|b1")
# What a malformed pickle raises while it is read.
_MALFORMED = (
    pickle.UnpicklingError, ArithmeticError, AttributeError, EOFError, LookupError, MemoryError,
    RecursionError, TypeError, ValueError,
)  # fmt: skip


def read_pickled_arrays(name: str, body: bytes) -> dict[str, Array]:
    """Return the arrays of one pickled NumPy object array that holds one dict.

    Args:
        name: the file, for messages.
        body: the pickle, without the .npy header.

    Raises:
        DataError: the pickle names anything but plain arrays, or is malformed.
    """
    try:
        return _arrays(_Unpickler(name, io.BytesIO(body)).load())
    except DataError:
        raise
    except _MALFORMED as error:
        problem = f"not a pickled dict of plain arrays ({type(error).__name__}: {error})"
        raise DataError(name, problem, "generate the file again with PFLlib") from error


def read_pickled_columns(name: str, body: bytes) -> dict[str, Array | tuple[str, ...]]:
    """Return the columns of one pickled dict, as the CIFAR batches of Python 2 are.

    Arrays and lists of numbers become arrays, lists of words tuples; other entries are left out.

    Args:
        name: the file, for messages.
        body: the pickle.

    Raises:
        DataError: the pickle names anything but plain arrays, or is malformed.
    """
    try:
        content = _Unpickler(name, io.BytesIO(body), encoding="latin1").load()
        if not isinstance(content, dict):
            raise TypeError("no dict")
        columns = {str(key): _column(value) for key, value in content.items()}
    except DataError:
        raise
    except _MALFORMED as error:
        problem = f"not a pickled dict of plain columns ({type(error).__name__}: {error})"
        raise DataError(name, problem, "get it again from its source") from error
    return {key: value for key, value in columns.items() if value is not None}


class _Dtype:
    """Notes a dtype; the pickle's state gives it a byte order and nothing else."""

    def __init__(self, code: str, align: object = False, copy: object = True) -> None:
        if code not in ("O", "O8") and not _NUMBER.fullmatch(code):
            words = "; number the classes, or the words" if code[:1] in "USV" else ""
            raise ValueError(f"dtype {code!r} is no plain number{words}")
        self.code = code
        self.order = "|"

    def __setstate__(self, state: tuple[object, ...]) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise ValueError(f"byte order {state[1]!r}")
        self.order = str(state[1])

    @property
    def of_objects(self) -> bool:
        return self.code.startswith("O")

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


class _Array:
    """Notes an array's shape, dtype and content."""

    shape: tuple[int, ...]
    dtype: _Dtype
    by_column: bool
    content: bytes | list[object]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, self.dtype, self.by_column, content = state
        # Python 2 had one type for text and bytes; they arrive here as text.
        self.content = content.encode("latin1") if isinstance(content, str) else content

    def numpy(self) -> Array:
        if self.dtype.of_objects and isinstance(self.content, list):
            return _stacked(self._rows(self.content))
        if self.dtype.of_objects or not isinstance(self.content, bytes):
            raise TypeError("an array of objects where numbers were expected")
        numbers = np.frombuffer(self.content, self.dtype.numpy())
        return numbers.reshape(self.shape, order="F" if self.by_column else "C")

    def _rows(self, content: list[object]) -> list[object]:
        """Return an array of objects as its rows: of pairs, NumPy makes (N, 2)."""
        if len(self.shape) == 1:
            return content
        if len(self.shape) != 2 or math.prod(self.shape) != len(content):
            raise ValueError(f"{len(content)} objects for an array of shape {self.shape}")
        width = self.shape[1]
        return [content[start : start + width] for start in range(0, len(content), width)]

    def only_item(self) -> object:
        if not self.dtype.of_objects or not isinstance(self.content, list):
            raise TypeError("an array of numbers where one dict was expected")
        if math.prod(self.shape) != 1 or len(self.content) != 1:
            raise ValueError("more than one object")
        return self.content[0]


def _reconstruct(kind: object, shape: object, code: object) -> _Array:
    """Stand in for NumPy's function of the same name, whose arguments say nothing yet."""
    if kind is not _Array:
        raise TypeError("a subclass of ndarray")
    return _Array()


def _scalar(dtype: _Dtype, content: bytes) -> Array:
    """Stand in for NumPy's `scalar`: one number."""
    return np.frombuffer(content, dtype.numpy()).reshape(())


_ADMITTED: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
}


class _Unpickler(pickle.Unpickler):
    """Knows the four names that arrays need; every other one ends the reading."""

    def __init__(self, name: str, file: io.BytesIO, encoding: str = "ASCII") -> None:
        super().__init__(file, encoding=encoding)
        self._name = name

    def find_class(self, module: str, name: str) -> Callable[..., object]:
        if (module, name) in _ADMITTED:
            return _ADMITTED[module, name]
        problem = f"its pickle asks for {module}.{name}, which is no part of a plain array"
        remedy = "do not open this file; get it from another source"
        if module.partition(".")[0] in ("torch", "collections"):
            problem = f"it holds torch tensors ({module}.{name}), and only plain arrays are read"
            remedy = "if you made it, store x.numpy() and y.numpy() in their place"
        raise DataError(self._name, problem, remedy)


def _arrays(value: object) -> dict[str, Array]:
    """Turn the notes into arrays: {'x': ..., 'y': ...}."""
    content = value.only_item() if isinstance(value, _Array) else value
    if not isinstance(content, dict):
        raise TypeError("no dict")
    return {str(key): _array(item) for key, item in content.items()}


def _array(value: object) -> Array:
    """Turn one entry, an array or a list of equal rows, into an array."""
    if isinstance(value, _Array):
        return value.numpy()
    if isinstance(value, list | tuple):
        return _stacked(value)
    raise TypeError(f"{type(value).__name__} where an array was expected")


def _stacked(rows: Sequence[object]) -> Array:
    """Turn rows that are numbers, arrays, lists, or pairs of a list and its length, into an array.

    PFLlib's texts are such pairs; what lies beyond a length is padding there, and stays.
    """
    if all(_is_number(row) for row in rows):
        numbers = np.asarray(rows)
        if numbers.dtype.hasobject:
            raise ValueError("a number of more than 64 bits")
        return numbers
    if all(_is_pair(row) for row in rows):
        rows = [row[0] for row in rows]  # type: ignore[index]
    arrays = [_array(row) for row in rows]
    for place, array in enumerate(arrays):
        if array.shape != arrays[0].shape:
            raise ValueError(f"row {place} has shape {array.shape}, row 0 {arrays[0].shape}")
    return np.stack(arrays)


def _is_pair(value: object) -> bool:
    """Return whether a row is ids and how many of them count."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return False
    return isinstance(value[0], list | tuple | _Array) and _is_number(value[1])


def _column(value: object) -> Array | tuple[str, ...] | None:
    """Turn one entry into an array or words, or None where it is neither."""
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return tuple(map(str, value))
    return _array(value) if isinstance(value, _Array | list) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) or (isinstance(value, np.ndarray) and value.ndim == 0)
