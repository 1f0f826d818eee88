"""One checked frame of bytes around one or more messages.

A frame, big-endian:

    magic 4 | version 2 | header length 4 | body length 8 | header | body | SHA-256 of all before 32

The header is JSON (kinds, task, run, round, sender); the body is safetensors, one tensor a field,
named kind.field.
"""

import dataclasses
import hashlib
import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from edgeloop.protocol.wire.errors import (
    DigestError,
    FieldsError,
    HeaderError,
    KindError,
    OversizeError,
    TrailingBytesError,
    TruncatedError,
    VersionError,
)
from edgeloop.protocol.wire.schema import build, pack, unpack

MAGIC = b"EDGE"
VERSION = 1
MAX_HEADER = 4096  # bytes
MAX_FRAME = 256 * 2**20  # bytes; a receiver may set a lower limit
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # of a task or a sender

_SHOWN = 200  # characters of what a peer wrote, in an error
_PREFIX = struct.Struct(">4sHIQ")
_DIGEST = hashlib.sha256().digest_size
M = TypeVar("M")


@dataclass(frozen=True)
class Envelope:
    """Whose message it is.

    Attributes:
        task: the task's name.
        run: the run's identity; a task that is run again has another one.
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


def digest(payload: bytes) -> str:
    """Return the SHA-256 of a frame's bytes, hexadecimal: what makes two deliveries the same."""
    return hashlib.sha256(payload).hexdigest()


def fingerprint(message: Any) -> str:
    """Return the SHA-256 of what a message says, hexadecimal: the same for equal messages only."""
    return hashlib.sha256(pack([message])).hexdigest()


def encode(envelope: Envelope, *messages: Any) -> bytes:
    """Pack one or more messages of different kinds; equal messages give equal bytes."""
    kinds = [type(message).__name__ for message in messages]
    header = json.dumps({"kinds": kinds, **dataclasses.asdict(envelope)}, sort_keys=True).encode()
    body = pack(messages)
    head = _PREFIX.pack(MAGIC, VERSION, len(header), len(body)) + header + body
    return head + hashlib.sha256(head).digest()


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
        got = repr(names)[:_SHOWN]
        raise KindError(f"expected {[kind.__name__ for kind in kinds]}, got {got}")
    tensors = unpack(body)
    known = dict(sizes or {})
    messages: dict[type, Any] = {kind: build(kind, tensors, known) for kind in kinds}
    if tensors:
        raise FieldsError(f"unknown fields: {', '.join(map(repr, sorted(tensors)))[:_SHOWN]}")
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
        raise HeaderError(f"no header: {str(error)[:_SHOWN]}") from error
