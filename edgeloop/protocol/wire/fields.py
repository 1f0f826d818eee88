"""What a message's annotations say of its fields: dtype, dimensions, range, since when."""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from edgeloop.protocol.wire.versions import Since

_SCALARS = {int: np.dtype("i8"), float: np.dtype("f8"), bool: np.dtype("?")}
_NAN = "NaN where it has no value"
MaybeNaN = Annotated[float, _NAN]
"""The type of a message's number that may be NaN; all other numbers are finite."""


@dataclass(frozen=True)
class Between:
    """The range of a message's number, or of an array's entries, as an annotation."""

    least: float
    most: float


MOST_SAMPLES = 10**9
Samples = Annotated[int, Between(0, MOST_SAMPLES)]
Seconds = Annotated[float, Between(0, 10.0**7)]
Counts = Annotated[npt.NDArray[np.int64], Between(0, MOST_SAMPLES)]
"""Types of a message's numbers, with the range that `build` holds them to: so many devices' samples
have a sum that 64 bits hold."""

R = TypeVar("R")


@dataclass(frozen=True)
class Field:
    """What a message's field holds.

    Attributes:
        dtype: of its array.
        dims: a letter for each dimension.
        scalar: whether it is a number, and no array.
        nan: whether it may be NaN.
        range: of its numbers; None for any.
        since: what it came with; None if it was there from the first.
    """

    dtype: np.dtype[Any]
    dims: str
    scalar: bool
    nan: bool = False
    range: Between | None = None
    since: Since | None = None


def _once(function: Callable[[type], R]) -> Callable[[type], R]:
    """Return a function that reads each kind once."""
    return cache(function)


class Read(NamedTuple):
    """How a field is read: its name in its message and in a body, and whether it may be missing."""

    name: str
    label: str
    field: Field
    needless: bool


@_once
def readings(kind: type) -> tuple[Read, ...]:
    """Return how a message's fields are read, in their order."""
    fields = schema(kind).items()
    missing = optional(kind)
    return tuple(Read(n, f"{kind.__name__}.{n}", field, n in missing) for n, field in fields)


@_once
def schema(kind: type) -> Mapping[str, Field]:
    """Return a message's fields by their names, in their order."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: _field(field.name, hints[field.name]) for field in dataclasses.fields(kind)}


@_once
def marks(kind: type) -> Mapping[str, Since]:
    """Return what a message's later fields came with, by their names.

    Raises:
        TypeError: if one of them has no default.
    """
    hints = typing.get_type_hints(kind, include_extras=True).items()
    found = {name: note for name, hint in hints for note in _notes(hint) if isinstance(note, Since)}
    if missing := found.keys() - optional(kind):
        raise TypeError(f"{kind.__name__}: a later field needs a default: {sorted(missing)}")
    return found


@_once
def optional(kind: type) -> frozenset[str]:
    """Return the fields of a message that have a default."""
    none = dataclasses.MISSING
    fields = dataclasses.fields(kind)
    return frozenset(
        each.name for each in fields if (each.default, each.default_factory) != (none, none)
    )


def _notes(hint: Any) -> list[Any]:
    own = list(getattr(hint, "__metadata__", ()))
    return own + [note for each in _choices(hint) for note in _notes(each)]


def _choices(hint: Any) -> tuple[Any, ...]:
    """Return what a hint of a field that may be None is besides; nothing of another one."""
    if typing.get_origin(hint) not in (types.UnionType, typing.Union):
        return ()
    return tuple(each for each in typing.get_args(hint) if each is not type(None))


def _field(name: str, annotation: Any) -> Field:
    if typing.get_origin(annotation) is Annotated:
        plain, *notes = typing.get_args(annotation)
        found = _field(name, plain)
        return dataclasses.replace(
            found,
            nan=found.nan or _NAN in notes,
            range=next((note for note in notes if isinstance(note, Between)), found.range),
            since=next((note for note in notes if isinstance(note, Since)), found.since),
        )
    if choices := _choices(annotation):
        (annotation,) = choices
        return _field(name, annotation)
    if annotation in _SCALARS:
        return Field(_SCALARS[annotation], "", scalar=True)
    # NDArray[float32] is ndarray[shape, dtype[float32]], and an alias of its own from numpy 2.5 on.
    dtype = typing.get_args(annotation)[-1]
    (element,) = typing.get_args(dtype) or (dtype,)
    return Field(np.dtype(element), name.rpartition("_")[2], scalar=False)
