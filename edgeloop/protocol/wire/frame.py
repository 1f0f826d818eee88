"""One checked frame of bytes around one or more messages.

A frame, big-endian:

    magic 4 | version 2 | header length 4 | body length 8 | header | body | SHA-256 of all before 32

The header is JSON (kinds, task, run, round, sender); the body is safetensors, one tensor a field,
named kind.field. A frame with later fields in it (`versions`) has two keys more in its header:
`minor`, the minor version of each kind that has such a field, and `needs`, for those that must be
known. The header itself is of the kind Envelope.
"""

import dataclasses
import hashlib
import json
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from edgeloop.protocol.wire.body import unpack
from edgeloop.protocol.wire.errors import (
    DigestError,
    FieldsError,
    HeaderError,
    KindError,
    OversizeError,
    TrailingBytesError,
    TruncatedError,
)
from edgeloop.protocol.wire.fields import marks
from edgeloop.protocol.wire.header import (
    SHOWN,
    Envelope,
    Header,
    check_known,
    read_header,
)
from edgeloop.protocol.wire.schema import build, carried, pack
from edgeloop.protocol.wire.versions import (
    check_major,
    needed,
    newest,
)

MAGIC = b"EDGE"
VERSION = 1
MAX_HEADER = 4096  # bytes
MAX_FRAME = 256 * 2**20  # bytes; a receiver may set a lower limit

_PREFIX = struct.Struct(">4sHIQ")
_DIGEST = hashlib.sha256().digest_size
M = TypeVar("M")


@dataclass(frozen=True)
class Frame:
    """A decoded frame.

    Attributes:
        envelope: whose it is.
        messages: by kind.
        digest: of its bytes, hexadecimal.
        ignored: the fields of newer versions that it has besides.
    """

    envelope: Envelope
    messages: Mapping[type, Any]
    digest: str
    ignored: tuple[str, ...] = ()

    def __getitem__(self, kind: type[M]) -> M:
        message: M = self.messages[kind]
        return message


@dataclass(frozen=True)
class OpenFrame:
    """A whole, undamaged frame whose messages are not yet read: its bytes are summed only once.

    Attributes:
        digest: of its bytes, hexadecimal, as the function `digest`.
        body: its safetensors.
    """

    digest: str
    body: memoryview
    _head: "Header"

    @property
    def envelope(self) -> Envelope:
        """Whose it is."""
        return self._head.envelope

    @property
    def kinds(self) -> Any:
        """Names of its messages, as its sender wrote them: of any type, where it is no good one."""
        return self._head.kinds

    def read(self, *kinds: type, sizes: Mapping[str, int] | None = None) -> Frame:
        """Unpack its messages, as `decode`."""
        header = self._head
        if header.kinds != [kind.__name__ for kind in kinds]:
            got = repr(header.kinds)[:SHOWN]
            raise KindError(f"expected {[kind.__name__ for kind in kinds]}, got {got}")
        for kind in kinds:
            check_known(kind, header.needs)
        tensors = unpack(self.body)
        known = dict(sizes or {})
        messages: dict[type, Any] = {kind: build(kind, tensors, known) for kind in kinds}
        if tensors:
            _check_newer(tensors, [kind for kind in kinds if header.is_newer(kind)])
        ignored = (*header.ignored, *sorted(tensors))
        return Frame(header.envelope, messages, self.digest, ignored)


def digest(payload: bytes) -> str:
    """Return the SHA-256 of a frame's bytes, hexadecimal: what makes two deliveries the same."""
    return hashlib.sha256(payload).hexdigest()


def fingerprint(message: Any, grown: bool = True) -> str:
    """Return the SHA-256 of what a message says, hexadecimal: the same for equal messages only.

    Args:
        message: any.
        grown: as `encode` has it.
    """
    return hashlib.sha256(pack([message], grown)).hexdigest()


def fingerprint_of(payload: bytes) -> str:
    """Return `fingerprint` of a frame's one message, with the fields that are not known here.

    Raises:
        WireError: if it is no whole, undamaged frame.
    """
    return hashlib.sha256(_open(payload, MAX_FRAME)[1]).hexdigest()


def open_frame(payload: bytes, limit: int = MAX_FRAME, expected: bytes | None = None) -> OpenFrame:
    """Return a frame whose envelope is read, for a reader that decides by it what to read on.

    Args:
        payload: the frame's bytes.
        limit: the largest payload accepted, in bytes.
        expected: SHA-256 of all of them, as its sender says; None where nobody says.

    Raises:
        WireError: if it is no whole, undamaged frame with a header, or not the expected one.
    """
    head, body, found = _open(payload, limit)
    if expected is not None and found != expected.hex():
        raise DigestError("the digest is not the announced one: damaged on its way")
    return OpenFrame(found, body, read_header(head))


def encode(envelope: Envelope, *messages: Any, grown: bool = True) -> bytes:
    """Pack one or more messages of different kinds; equal messages give equal bytes.

    Args:
        envelope: whose they are.
        messages: each of a kind of its own.
        grown: False for a peer that refuses fields that it does not know (0.1): leaves them out.
    """
    header = json.dumps(_header(envelope, messages, grown), sort_keys=True).encode()
    body = pack(messages, grown)
    head = _PREFIX.pack(MAGIC, VERSION, len(header), len(body)) + header + body
    return head + hashlib.sha256(head).digest()


def _header(envelope: Envelope, messages: Sequence[Any], grown: bool) -> dict[str, Any]:
    later = {type(each).__name__: carried(each, grown) for each in (envelope, *messages)}
    left_out = marks(Envelope).keys() - later["Envelope"].keys()
    fields = dataclasses.asdict(envelope).items()
    minor = {kind: newest(found.values()) for kind, found in later.items() if found}
    needs = {kind: least for kind, found in later.items() if (least := needed(found.values()))}
    return {
        "kinds": [type(message).__name__ for message in messages],
        **{name: value for name, value in fields if name not in left_out},
        **({"minor": minor} if minor else {}),
        **({"needs": needs} if needs else {}),
    }


def envelope_of(payload: bytes, limit: int = MAX_FRAME) -> Envelope:
    """Return a frame's envelope, whatever it carries.

    Raises:
        WireError: if it is no whole, undamaged frame with a header.
    """
    return open_frame(payload, limit).envelope


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
    return open_frame(payload, limit).read(*kinds, sizes=sizes)


def _check_newer(names: Collection[str], kinds: Collection[type]) -> None:
    """Refuse fields that are not of these kinds, of which the sender knows more."""
    newer = tuple(f"{kind.__name__}." for kind in kinds)
    if unknown := sorted(name for name in names if not name.startswith(newer)):
        raise FieldsError(f"unknown fields: {', '.join(map(repr, unknown))[:SHOWN]}")


def _open(payload: bytes, limit: int) -> tuple[bytes, memoryview, str]:
    """Return a frame's header and body, and the digest of it all."""
    if len(payload) > limit:
        raise OversizeError(f"{len(payload)} bytes, at most {limit} are accepted")
    if len(payload) < _PREFIX.size or not payload.startswith(MAGIC):
        raise TruncatedError(f"{len(payload)} bytes that do not begin as a frame")
    _, version, header_length, body_length = _PREFIX.unpack_from(payload)
    check_major("frame", version, VERSION)
    end = _PREFIX.size + header_length + body_length
    if len(payload) < end + _DIGEST:
        raise TruncatedError(f"{len(payload)} of {end + _DIGEST} bytes")
    if len(payload) > end + _DIGEST:
        raise TrailingBytesError(f"{len(payload) - end - _DIGEST} bytes behind the frame")
    found = hashlib.sha256(memoryview(payload)[:end])
    if found.digest() != payload[end:]:
        raise DigestError("the digest does not match: damaged on its way")
    found.update(payload[end:])
    if header_length > MAX_HEADER:
        raise HeaderError(f"a header of {header_length} bytes, at most {MAX_HEADER} are accepted")
    start = _PREFIX.size + header_length
    return payload[_PREFIX.size : start], memoryview(payload)[start:end], found.hexdigest()
