"""Messages as bytes: frozen dataclasses of arrays and numbers in one checked frame, without pickle.

A frame, big-endian:

    magic 4 | version 2 | header length 4 | body length 8 | header | body | SHA-256 of all before 32

The header is JSON (kinds, task, run, round, sender); the body is safetensors, one tensor a field,
named kind.field. A message's own annotations are its schema: the dtype is the array's, the rank and
the dimensions are the letters behind the last underscore of the field's name (`prototypes_ND`), and
one letter has one size within a frame.

    WireError(ValueError)      a peer sent something that is not what was expected
    ├── TruncatedError         too short, or without the magic
    ├── OversizeError          longer than the receiver's limit
    ├── TrailingBytesError     bytes behind the digest
    ├── DigestError            damaged on its way
    ├── VersionError           another schema version
    ├── HeaderError            a header that is no header
    ├── KindError              other kinds of message than expected
    ├── FieldsError            missing, unknown or unreadable fields
    ├── DtypeError             another dtype than the schema's
    ├── ShapeError             another rank, or a size that contradicts the task's
    ├── NotFiniteError         NaN or infinity
    └── ContentError           well-formed, but the message itself says no
"""

import dataclasses
import hashlib
import json
import re
import struct
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

MAGIC = b"EDGE"
VERSION = 1
MAX_HEADER = 4096  # bytes
MAX_FRAME = 256 * 2**20  # bytes; a receiver may set a lower limit
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # of a task or a sender

_PREFIX = struct.Struct(">4sHIQ")
_DIGEST = hashlib.sha256().digest_size
_DTYPES = {"F64": "f8", "F32": "f4", "F16": "f2", "I64": "i8", "I32": "i4", "U8": "u1", "BOOL": "?"}
_SCALARS = {int: np.dtype("i8"), float: np.dtype("f8"), bool: np.dtype("?")}
M = TypeVar("M")
Array = npt.NDArray[Any]


class WireError(ValueError):
    """The bytes are not the expected message."""


class TruncatedError(WireError):
    """Too short for a frame, or not one of ours."""


class OversizeError(WireError):
    """Longer than the receiver accepts."""


class TrailingBytesError(WireError):
    """There are bytes behind the frame."""


class DigestError(WireError):
    """The digest does not match."""


class VersionError(WireError):
    """Another version of the frame."""


class HeaderError(WireError):
    """The header cannot be read."""


class KindError(WireError):
    """Other kinds of message than expected."""


class FieldsError(WireError):
    """Fields are missing, unknown or unreadable."""


class DtypeError(WireError):
    """A field has another dtype than its schema says."""


class ShapeError(WireError):
    """A field has another shape than its schema or the task says."""


class NotFiniteError(WireError):
    """A field has NaN or infinity in it."""


class ContentError(WireError):
    """The message's own checks refuse its content."""


@dataclass(frozen=True)
class Envelope:
    """Whose message it is.

    Attributes:
        task: the task's name.
        run: the run's identity; a task that is run anew has another one.
        round: which round.
        sender: the name of the device, or of the server.

    Raises:
        ValueError: if a name has other characters than `NAME`, or the round is negative.
    """

    task: str
    run: str
    round: int
    sender: str

    def __post_init__(self) -> None:
        for name in (self.task, self.run, self.sender):
            if not (isinstance(name, str) and NAME.fullmatch(name)):
                raise ValueError(f"{name!r} is no name: letters, digits and . _ - only, at most 64")
        if type(self.round) is not int or not 0 <= self.round < 2**63:
            raise ValueError(f"{self.round!r} is no round number")


@dataclass(frozen=True)
class Frame:
    """A decoded frame: its envelope, its messages by kind, and its digest (hexadecimal)."""

    envelope: Envelope
    messages: Mapping[type, Any]
    digest: str

    def __getitem__(self, kind: type[M]) -> M:
        message: M = self.messages[kind]
        return message


@dataclass(frozen=True)
class _Field:
    dtype: np.dtype[Any]
    dims: str
    scalar: bool


def _schema(kind: type) -> Mapping[str, _Field]:
    hints = typing.get_type_hints(kind)
    return {field.name: _field(field.name, hints[field.name]) for field in dataclasses.fields(kind)}


def _field(name: str, annotation: Any) -> _Field:
    if annotation in _SCALARS:
        return _Field(_SCALARS[annotation], "", scalar=True)
    _, dtype = typing.get_args(annotation)
    return _Field(np.dtype(typing.get_args(dtype)[0]), name.rpartition("_")[2], scalar=False)


def digest(payload: bytes) -> str:
    """Return the SHA-256 of a frame's bytes, hexadecimal: what makes two deliveries the same."""
    return hashlib.sha256(payload).hexdigest()


def fingerprint(message: Any) -> str:
    """Return the SHA-256 of what a message says, hexadecimal: the same for equal messages only."""
    return hashlib.sha256(_body([message])).hexdigest()


def encode(envelope: Envelope, *messages: Any) -> bytes:
    """Pack one or more messages of different kinds; equal messages give equal bytes."""
    kinds = [type(message).__name__ for message in messages]
    header = json.dumps({"kinds": kinds, **dataclasses.asdict(envelope)}, sort_keys=True).encode()
    body = _body(messages)
    head = _PREFIX.pack(MAGIC, VERSION, len(header), len(body)) + header + body
    return head + hashlib.sha256(head).digest()


def _body(messages: Iterable[Any]) -> bytes:
    """Pack messages as safetensors; the order of the fields is the format's own."""
    tensors: dict[str, Array] = {}
    for message in messages:
        for name, field in _schema(type(message)).items():
            value = np.asarray(getattr(message, name), field.dtype)
            tensors[f"{type(message).__name__}.{name}"] = np.ascontiguousarray(value).reshape(
                value.shape
            )
    return safetensors.numpy.save(tensors)


def envelope_of(payload: bytes, limit: int = MAX_FRAME) -> Envelope:
    """Return a frame's envelope, whatever it carries.

    Raises:
        WireError: if it is no whole, undamaged frame with a header.
    """
    return _read_header(_open(payload, limit)[0])[0]


def decode(
    payload: bytes,
    *kinds: type,
    sizes: Mapping[str, int] | None = None,
    limit: int = MAX_FRAME,
) -> Frame:
    """Unpack a frame of just these kinds; takes no more memory than a few times its length.

    Args:
        payload: the frame's bytes.
        kinds: the dataclasses expected, in the order they were packed.
        sizes: the sizes that the task fixes, by dimension letter, for instance {"D": 512}.
        limit: the largest payload accepted, in bytes.

    Raises:
        WireError: one of its kinds, whatever the bytes are.
    """
    header, body = _open(payload, limit)
    envelope, names = _read_header(header)
    if names != [kind.__name__ for kind in kinds]:
        raise KindError(f"expected {[kind.__name__ for kind in kinds]}, got {names}")
    tensors = _read_body(body)
    known = dict(sizes or {})
    messages: dict[type, Any] = {kind: _build(kind, tensors, known) for kind in kinds}
    if tensors:
        raise FieldsError(f"unknown fields: {', '.join(sorted(tensors))[:200]}")
    return Frame(envelope, messages, digest(payload))


def _open(payload: bytes, limit: int) -> tuple[bytes, bytes]:
    if len(payload) > limit:
        raise OversizeError(f"{len(payload)} bytes, at most {limit} are accepted")
    if len(payload) < _PREFIX.size or not payload.startswith(MAGIC):
        raise TruncatedError(f"{len(payload)} bytes that do not begin as a frame")
    _, version, header_length, body_length = _PREFIX.unpack_from(payload)
    if version != VERSION:
        raise VersionError(f"frame version {version}, this is {VERSION}")
    end = _PREFIX.size + header_length + body_length
    if len(payload) < end + _DIGEST:
        raise TruncatedError(f"{len(payload)} of {end + _DIGEST} bytes")
    if len(payload) > end + _DIGEST:
        raise TrailingBytesError(f"{len(payload) - end - _DIGEST} bytes behind the frame")
    if hashlib.sha256(payload[:end]).digest() != payload[end:]:
        raise DigestError("the digest does not match: damaged on its way")
    if header_length > MAX_HEADER:
        raise HeaderError(f"a header of {header_length} bytes, at most {MAX_HEADER} are accepted")
    start = _PREFIX.size + header_length
    return payload[_PREFIX.size : start], payload[start:end]


def _read_header(header: bytes) -> tuple[Envelope, list[str]]:
    try:
        fields = json.loads(header)
        names = fields.pop("kinds")
        return Envelope(**fields), names
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise HeaderError(f"no header: {error}") from error


def _read_body(body: bytes) -> dict[str, Mapping[str, Any]]:
    try:
        return dict(safetensors.deserialize(body))  # type: ignore[no-untyped-call]  # a Rust function
    except safetensors.SafetensorError as error:
        raise FieldsError(f"no safetensors: {error}") from error


def _build(kind: type[M], tensors: dict[str, Mapping[str, Any]], sizes: dict[str, int]) -> M:
    """Take this kind's fields out of the tensors, checked; the sizes learn its dimensions."""
    values: dict[str, Any] = {}
    for name, field in _schema(kind).items():
        label = f"{kind.__name__}.{name}"
        if label not in tensors:
            raise FieldsError(f"{label} is missing")
        array = _array(label, field, tensors.pop(label), sizes)
        values[name] = array.item() if field.scalar else array
    try:
        return kind(**values)
    except ValueError as error:
        raise ContentError(f"{kind.__name__}: {error}") from error


def _array(label: str, field: _Field, raw: Mapping[str, Any], sizes: dict[str, int]) -> Array:
    dtype = _DTYPES.get(raw["dtype"])
    if dtype is None or np.dtype(dtype) != field.dtype:
        raise DtypeError(f"{label} is {raw['dtype']}, not {field.dtype}")
    shape = tuple(raw["shape"])
    if len(shape) != len(field.dims):
        raise ShapeError(f"{label} has {len(shape)} dimensions, not {len(field.dims)}")
    for letter, size in zip(field.dims, shape, strict=True):
        if sizes.setdefault(letter, size) != size:
            raise ShapeError(f"{label} has {letter} = {size}, not {sizes[letter]}")
    array: Array = np.frombuffer(raw["data"], field.dtype).reshape(shape)
    if field.dtype.kind == "f" and not np.isfinite(array).all():
        raise NotFiniteError(f"{label} has NaN or infinity in it")
    return array
