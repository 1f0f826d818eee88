"""Messages and their tensors: a dataclass's own annotations are its schema.

The dtype is the array's; the rank and the dimensions are the letters behind the last underscore of
the field's name (`prototypes_ND`), and one letter has one size within a frame.
"""

import dataclasses
import math
import struct
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from edgeloop.protocol.wire.body import Raw
from edgeloop.protocol.wire.errors import (
    ContentError,
    DtypeError,
    FieldsError,
    NotFiniteError,
    RangeError,
    ShapeError,
)
from edgeloop.protocol.wire.fields import Between, Field, marks, readings, schema
from edgeloop.protocol.wire.versions import Since

_DTYPES = {"F64": "f8", "F32": "f4", "F16": "f2", "I64": "i8", "I32": "i4", "U8": "u1", "BOOL": "?"}
_LARGEST = float(np.finfo(np.float32).max)
_FORMS = {kind: struct.Struct(f"<{form}") for kind, form in {"i": "q", "f": "d", "b": "?"}.items()}
M = TypeVar("M")
Array = npt.NDArray[Any]


def arrays(message: Any) -> dict[str, Array]:
    """Return a message's arrays by the names of its fields; its numbers are left out."""
    fields = {field.name: getattr(message, field.name) for field in dataclasses.fields(message)}
    return {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}


def carried(message: Any, grown: bool = True) -> dict[str, Since]:
    """Return the marks of the later fields that a message has something in, by their names.

    Args:
        message: any.
        grown: False for a peer that refuses what it does not know: only what it has to refuse.
    """
    return {
        name: mark
        for name, mark in marks(type(message)).items()
        if (grown or mark.needed) and not _is_default(message, name)
    }


def _is_default(message: Any, name: str) -> bool:
    (field,) = (each for each in dataclasses.fields(message) if each.name == name)
    value, default = getattr(message, name), field.default
    return value is default or (not isinstance(value, np.ndarray) and bool(value == default))


def pack(messages: Iterable[Any], grown: bool = True) -> bytes:
    """Pack messages as safetensors; the order of the fields is the format's own.

    A later field is left out at its default, and for a peer that refuses what it does not know.
    """
    tensors: dict[str, Array] = {}
    for message in messages:
        later = carried(message, grown)
        for name, field in schema(type(message)).items():
            if field.since is not None and name not in later:
                continue
            value = np.asarray(getattr(message, name), field.dtype)
            tensors[f"{type(message).__name__}.{name}"] = np.ascontiguousarray(value).reshape(
                value.shape
            )
    return safetensors.numpy.save(tensors)


def finite(message: Any) -> bool:
    """Return whether a message's numbers are such as `build` takes: no NaN, no infinity."""
    for name, field in _known(message):
        value = np.asarray(getattr(message, name))
        if field.dtype.kind == "f" and not _numbers(value, field):
            return False
    return True


def _known(message: Any) -> list[tuple[str, Field]]:
    """Return the fields of a message but those that are None."""
    fields = schema(type(message)).items()
    return [(name, field) for name, field in fields if getattr(message, name) is not None]


def check(message: Any, sizes: Mapping[str, int] | None = None) -> None:
    """Refuse a message that no peer would take, or with numbers too large to continue with.

    A float is too large if its square, summed over its array, is none in single precision: whoever
    takes a distance to it has infinity.

    Args:
        message: any.
        sizes: the sizes that are fixed, by dimension letter.

    Raises:
        WireError: naming the field.
    """
    known = dict(sizes or {})
    for name, field in _known(message):
        value = np.asarray(getattr(message, name), field.dtype)
        label = f"{type(message).__name__}.{name}"
        _check_shape(label, field, value.shape, known)
        _check_numbers(label, value, field)
        if field.dtype.kind == "f" and _peak(value) > math.sqrt(_LARGEST / max(value.size, 1)):
            raise RangeError(f"{label} has {_peak(value):g} in it, which is too large")


def peak(message: Any) -> float:
    """Return the largest absolute value of a message's float arrays; 0 without any."""
    return max(
        (_peak(each) for each in arrays(message).values() if each.dtype.kind == "f"), default=0.0
    )


def magnitudes(message: Any) -> dict[str, float]:
    """Return how large each field is: a float's largest absolute value, the sum of counts."""
    return {
        name: _magnitude(np.asarray(getattr(message, name)), field.dtype.kind)
        for name, field in _known(message)
        if field.dtype.kind == "f" or (field.dtype.kind == "i" and field.range is not None)
    }


def _magnitude(array: Array, kind: str) -> float:
    return _peak(array) if kind == "f" else float(array.sum())


def _peak(array: Array) -> float:
    return float(max(array.max(), -array.min())) if array.size else 0.0


def _check_shape(label: str, field: Field, shape: tuple[int, ...], sizes: dict[str, int]) -> None:
    if len(shape) != len(field.dims):
        raise ShapeError(f"{label} has {len(shape)} dimensions, not {len(field.dims)}")
    for letter, size in zip(field.dims, shape, strict=True):
        if sizes.setdefault(letter, size) != size:
            raise ShapeError(f"{label} has {letter} = {size}, not {sizes[letter]}")


def _check_numbers(label: str, array: Array, field: Field) -> None:
    if field.dtype.kind == "f" and not _numbers(array, field):
        raise NotFiniteError(f"{label} has NaN or infinity in it")
    within = field.range
    if within is not None and array.size and not _within(array, within):
        raise RangeError(f"{label} is not between {within.least:g} and {within.most:g}")


def _within(array: Array, range_: Between) -> bool:
    return bool(array.min() >= range_.least and array.max() <= range_.most)


def _numbers(array: Array, field: Field) -> bool:
    finite = np.isfinite(array)
    return bool(finite.all() or (field.nan and (finite | np.isnan(array)).all()))


def build(kind: type[M], tensors: dict[str, Raw], sizes: dict[str, int]) -> M:
    """Take this kind's fields out of the tensors, checked; the sizes learn its dimensions.

    A field with a default may be missing: its sender is of a version without it.

    Raises:
        WireError: one of its kinds, if they are not this message's.
    """
    values: dict[str, Any] = {}
    for name, label, field, needless in readings(kind):
        if label in tensors:
            read = _scalar if field.scalar else _array
            values[name] = read(label, field, tensors.pop(label), sizes)
        elif not needless:
            raise FieldsError(f"{label} is missing")
    try:
        return kind(**values)
    except ValueError as error:
        raise ContentError(f"{kind.__name__}: {error}") from error


def _check_dtype(label: str, field: Field, raw: Raw) -> None:
    dtype = _DTYPES.get(raw["dtype"])
    if dtype is None or np.dtype(dtype) != field.dtype:
        raise DtypeError(f"{label} is {raw['dtype']}, not {field.dtype}")


def _array(label: str, field: Field, raw: Raw, sizes: dict[str, int]) -> Array:
    _check_dtype(label, field, raw)
    shape = tuple(raw["shape"])
    _check_shape(label, field, shape, sizes)
    array: Array = np.frombuffer(raw["data"], field.dtype).reshape(shape)
    _check_numbers(label, array, field)
    return array


def _scalar(label: str, field: Field, raw: Raw, sizes: dict[str, int]) -> Any:
    """Return a number as `_array` would check it, without an array: a message has many."""
    _check_dtype(label, field, raw)
    _check_shape(label, field, tuple(raw["shape"]), sizes)
    (value,) = _FORMS[field.dtype.kind].unpack(raw["data"])
    if field.dtype.kind == "f" and not (math.isfinite(value) or (field.nan and value != value)):
        raise NotFiniteError(f"{label} has NaN or infinity in it")
    within = field.range
    if within is not None and not (within.least <= value <= within.most):
        raise RangeError(f"{label} is not between {within.least:g} and {within.most:g}")
    return value
