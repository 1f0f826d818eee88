"""Payloads larger than a broker's packet limit: cut into chunks, put together again. No I/O.

A chunk, big-endian: magic 4 | index 4 | count 4 | total length 8 | SHA-256 of the whole 32 | bytes.
"""

import hashlib
import struct
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from edgeloop.protocol.wire import (
    DigestError,
    HeaderError,
    OversizeError,
    ShapeError,
    TruncatedError,
)

MAGIC = b"EDGC"
_HEAD = struct.Struct(">4sIIQ32s")
MAX_CHUNKS = 65_536
PIECE = 128  # bytes of memory that a piece takes besides its own
DAMAGED = "the chunks' digest does not match: damaged on their way"


def least_limit(length: int) -> int:
    """Return the smallest limit with which so many bytes are not too many chunks."""
    return _HEAD.size + max(1, -(-length // MAX_CHUNKS))


def split(payload: bytes, limit: int) -> list[bytes]:
    """Cut a payload into chunks of at most `limit` bytes each, head included; at least one.

    Raises:
        ValueError: if the limit leaves no room, or the payload would take too many chunks.
    """
    room = limit - _HEAD.size
    if room < 1:
        raise ValueError(f"a limit of {limit} bytes leaves no room in a chunk")
    count = max(1, -(-len(payload) // room))
    if count > MAX_CHUNKS:
        raise ValueError(f"{len(payload)} bytes would take {count} chunks of {limit} bytes")
    whole = hashlib.sha256(payload).digest()
    return [
        _HEAD.pack(MAGIC, index, count, len(payload), whole)
        + payload[index * room : (index + 1) * room]
        for index in range(count)
    ]


@dataclass(frozen=True)
class Place:
    """Which part of which payload a chunk is.

    Attributes:
        digest: SHA-256 of the whole payload, hexadecimal.
        index: of the chunk.
        count: of all its chunks.
    """

    digest: str
    index: int
    count: int


def place_of(chunk: bytes) -> Place | None:
    """Return which part a chunk says that it is; None if it is none."""
    if len(chunk) < _HEAD.size or not chunk.startswith(MAGIC):
        return None
    _, index, count, _, whole = _HEAD.unpack_from(chunk)
    return Place(whole.hex(), index, count)


@dataclass(frozen=True)
class Unfinished:
    """A payload of which chunks are missing.

    Attributes:
        digest: SHA-256 of the whole payload, hexadecimal.
        count: of all its chunks.
        missing: the indices of the first ones that are.
    """

    digest: str
    count: int
    missing: tuple[int, ...]


class Whole(NamedTuple):
    """A payload of which all chunks have arrived, and what they say that its SHA-256 is.

    Attributes:
        payload: its bytes, which nobody has summed yet.
        digest: 32 bytes.
        chunks: how many they were.
    """

    payload: bytes
    digest: bytes
    chunks: int = 1

    @property
    def is_damaged(self) -> bool:
        """Return whether its bytes are not those that were announced; sums them."""
        return bool(self.digest) and hashlib.sha256(self.payload).digest() != self.digest


@dataclass
class _Parts:
    count: int
    total: int
    pieces: dict[int, bytes] = field(default_factory=dict)
    length: int = 0

    def take(self, index: int, piece: bytes) -> None:
        self.length += len(piece) - len(self.pieces.get(index, b""))
        self.pieces[index] = piece

    def missing(self) -> Iterator[int]:
        """Yield the indices of what has not arrived."""
        return (index for index in range(self.count) if index not in self.pieces)

    def size(self) -> int:
        """Return about how much memory they take."""
        return self.length + PIECE * len(self.pieces)


class ChunkMemory:
    """Memory that the unfinished payloads of several senders share.

    Where it is not enough, whoever takes most of it loses what he began first.

    Attributes:
        most: bytes.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._held: dict[int, tuple[Assembler, int]] = {}
        self._sum = 0

    def reserve(self, who: "Assembler", size: int) -> None:
        """Somebody's unfinished payloads take so many bytes now; make room if that is too much."""
        self._note(who, size)
        while self._sum > self.most:
            largest = max(self._held.values(), key=lambda each: each[1])[0]
            self._note(largest, largest.drop_oldest())

    def _note(self, who: "Assembler", size: int) -> None:
        _, before = self._held.pop(id(who), (who, 0))
        self._sum += size - before
        if size:
            self._held[id(who)] = who, size


@dataclass
class Assembler:
    """Puts one sender's chunks together, in any order and however often each arrives.

    A payload may be cut anew, where the link has become another: either cut can be finished.

    Attributes:
        limit: the largest payload accepted, in bytes.
        most: how many unfinished payloads, or cuts of one, are kept; the oldest goes for a new one.
        memory: that is shared with other senders' assemblers; None for as much as it takes.
    """

    limit: int
    most: int = 2
    memory: ChunkMemory | None = None
    _open: OrderedDict[tuple[bytes, int], _Parts] = field(default_factory=OrderedDict)

    def offer(self, chunk: bytes) -> bytes | None:
        """Take a chunk; return the whole payload if this was the last piece missing.

        Raises:
            WireError: if it is no chunk, contradicts its siblings, is too large or was damaged.
        """
        found = self.take(chunk)
        if found is None:
            return None
        if found.is_damaged:
            raise DigestError(DAMAGED)
        return found.payload

    def take(self, chunk: bytes) -> Whole | None:
        """Take a chunk as `offer` does, for a reader that sums the payload anyway.

        Raises:
            WireError: as `offer`, but for damage.
        """
        if not self._open and (only := _only(chunk, self.limit)):
            return only
        try:
            return self._taken(chunk)
        finally:
            self._tell()

    def clear(self) -> None:
        """Forget what is unfinished."""
        self._open.clear()
        self._tell()

    def unfinished(self, most: int) -> list[Unfinished]:
        """Return what is unfinished, oldest first, each with at most so many missing chunks."""
        return [
            Unfinished(whole.hex(), count, tuple(islice(parts.missing(), most)))
            for (whole, count), parts in self._open.items()
        ]

    def drop_oldest(self) -> int:
        """Forget what was begun first; return about how much memory the rest takes."""
        if self._open:
            self._open.popitem(last=False)
        return self._size()

    def _size(self) -> int:
        return sum(parts.size() for parts in self._open.values())

    def _tell(self) -> None:
        if self.memory is not None:
            self.memory.reserve(self, self._size())

    def _taken(self, chunk: bytes) -> Whole | None:
        whole, index, parts, piece = self._read(chunk)
        parts.take(index, piece)
        if parts.length > parts.total:
            del self._open[whole, parts.count]
            raise ShapeError(f"chunks of more than the {parts.total} bytes announced")
        if len(parts.pieces) < parts.count:
            return None
        self._forget(whole)
        payload = b"".join(parts.pieces[i] for i in range(parts.count))
        return Whole(payload, whole, parts.count)

    def _forget(self, whole: bytes) -> None:
        """Forget a payload's pieces, however it was cut."""
        for key in [each for each in self._open if each[0] == whole]:
            del self._open[key]

    def _read(self, chunk: bytes) -> tuple[bytes, int, _Parts, bytes]:
        if len(chunk) < _HEAD.size or not chunk.startswith(MAGIC):
            raise TruncatedError(f"{len(chunk)} bytes that do not begin as a chunk")
        _, index, count, total, whole = _HEAD.unpack_from(chunk)
        if not index < count <= min(MAX_CHUNKS, max(1, total)):
            raise HeaderError(f"chunk {index} of {count} of {total} bytes")
        before = self._open.get((whole, count))
        if before is not None and before.total != total:
            raise ShapeError(
                f"{count} chunks of {total} bytes, before {before.count} of {before.total}"
            )
        if total > self.limit:
            if index < max(1, count - 1) and total > count * (len(chunk) - _HEAD.size):
                raise HeaderError(f"{total} bytes in {count} chunks of {len(chunk)} bytes")
            raise OversizeError(f"{total} bytes announced, at most {self.limit} are accepted")
        parts = self._open.setdefault((whole, count), _Parts(count, total))
        while len(self._open) > self.most:
            self._open.popitem(last=False)
        return whole, index, parts, chunk[_HEAD.size :]


def _only(chunk: bytes, limit: int) -> Whole | None:
    """Return the payload of a chunk that is all of it; None of any other, or of none at all."""
    if len(chunk) < _HEAD.size or not chunk.startswith(MAGIC):
        return None
    _, index, count, total, whole = _HEAD.unpack_from(chunk)
    if (index, count) != (0, 1) or not total == len(chunk) - _HEAD.size <= limit:
        return None
    return Whole(chunk[_HEAD.size :], whole)
