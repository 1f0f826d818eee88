import contextlib
import itertools
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop.protocol import wire
from edgeloop.protocol.chunks import (
    MAX_CHUNKS,
    PIECE,
    Assembler,
    ChunkMemory,
    least_limit,
    split,
)

PAYLOAD = bytes(range(256)) * 4


def test_every_chunk_keeps_to_the_limit() -> None:
    parts = split(PAYLOAD, 200)
    assert len(parts) == 7
    assert max(map(len, parts)) == 200


def test_any_order_and_any_number_of_deliveries() -> None:
    parts = split(PAYLOAD, 400)
    for order in itertools.permutations(parts):
        assembler = Assembler(limit=10_000)
        results = [assembler.offer(part) for part in (*order[:1], *order)]
        assert results == [None] * len(parts) + [PAYLOAD]


def test_an_empty_payload_is_one_chunk() -> None:
    assert [Assembler(10).offer(part) for part in split(b"", 100)] == [b""]


def test_no_room() -> None:
    with pytest.raises(ValueError, match="leaves no room"):
        split(b"x", 50)


def test_two_payloads_do_not_mix() -> None:
    assembler = Assembler(10_000)
    first, second = split(b"a" * 500, 400), split(b"b" * 500, 400)
    assert [assembler.offer(part) for part in (first[0], second[1], second[0])][-1] == b"b" * 500
    assert assembler.offer(first[1]) == b"a" * 500


def test_the_oldest_unfinished_payload_gives_way() -> None:
    assembler = Assembler(10_000, most=1)
    first, second = split(b"a" * 500, 400), split(b"b" * 500, 400)
    for part in (first[0], second[0]):
        assert assembler.offer(part) is None
    assert assembler.offer(first[1]) is None


def test_more_than_accepted_is_refused_at_the_first_chunk() -> None:
    with pytest.raises(wire.OversizeError, match="1024 bytes announced, at most 1000"):
        Assembler(1000).offer(split(PAYLOAD, 400)[0])


def test_a_size_that_its_own_chunks_contradict_is_damage() -> None:
    damaged = bytearray(split(PAYLOAD, 400)[0])
    damaged[12] ^= 1
    with pytest.raises(wire.HeaderError, match="bytes in 3 chunks of 400 bytes"):
        Assembler(10_000).offer(bytes(damaged))


def test_chunks_larger_than_they_announced_are_refused() -> None:
    first, _ = split(b"a" * 500, 400)
    with pytest.raises(wire.ShapeError, match="more than the 500 bytes announced"):
        Assembler(10_000).offer(first + b"x" * 500)


def test_a_changed_byte_is_found() -> None:
    first, second = split(b"a" * 500, 400)
    assembler = Assembler(10_000)
    assembler.offer(first[:-1] + b"b")
    with pytest.raises(wire.DigestError):
        assembler.offer(second)


@given(st.binary(max_size=300), st.integers(0, 60), st.integers(0, 255))
def test_fuzz(payload: bytes, position: int, value: int) -> None:
    changed = bytearray(split(PAYLOAD, 400)[0])
    changed[position] = value
    for chunk in (payload, b"EDGC" + payload, bytes(changed)):
        with contextlib.suppress(wire.WireError):
            Assembler(100_000).offer(chunk)


def forged(index: int, count: int, total: int, piece: bytes, whole: bytes = b"w" * 32) -> bytes:
    return b"EDGC" + struct.pack(">IIQ", index, count, total) + whole + piece


def test_there_are_no_more_pieces_than_bytes() -> None:
    with pytest.raises(wire.HeaderError, match="chunk 0 of 3 of 2 bytes"):
        Assembler(10_000).offer(forged(0, 3, 2, b""))


def test_a_piece_delivered_again_counts_once() -> None:
    first, second = split(b"a" * 500, 400)
    assembler = Assembler(10_000)
    for _ in range(9):
        assert assembler.offer(first) is None
    assert assembler.offer(second) == b"a" * 500


def test_tiny_pieces_cost_no_more_than_their_number() -> None:
    """What is held is known without looking at each piece again."""
    looked = 0

    class Watched(dict[int, bytes]):
        def values(self) -> Any:
            nonlocal looked
            looked += len(self)
            return super().values()

    assembler = Assembler(10_000)
    assembler.offer(forged(0, 1000, 1000, b"x"))
    (parts,) = assembler._open.values()
    parts.pieces = Watched(parts.pieces)
    for index in range(1, 999):
        assembler.offer(forged(index, 1000, 1000, b"x"))
    assert looked == 0


def held(assembler: Assembler) -> int:
    return sum(len(parts.pieces) for parts in assembler._open.values())


def test_senders_share_a_room_and_the_largest_gives_way() -> None:
    room = ChunkMemory(10 * (100 + PIECE))
    hostile, honest = Assembler(10_000, memory=room), Assembler(10_000, memory=room)
    for index in range(3):
        assert honest.offer(forged(index, 4, 400, b"h" * 100)) is None
    for index in range(50):
        whole = bytes([index % 2]) * 32
        assert hostile.offer(forged(index, 100, 10_000, b"x" * 100, whole)) is None
    assert held(hostile) <= 7
    assert held(honest) == 3


def test_what_is_forgotten_leaves_room() -> None:
    room = ChunkMemory(10 * (100 + PIECE))
    first, second = Assembler(10_000, memory=room), Assembler(10_000, memory=room)
    for index in range(9):
        first.offer(forged(index, 100, 10_000, b"x" * 100))
    first.clear()
    for index in range(9):
        second.offer(forged(index, 100, 10_000, b"x" * 100))
    assert (held(first), held(second)) == (0, 9)


def test_a_payload_that_is_cut_anew_on_its_way() -> None:
    """The link has become another: pieces of both cuts arrive in any order, and neither spoils."""
    coarse, fine = split(PAYLOAD, 400), split(PAYLOAD, 200)
    assembler = Assembler(10_000)
    mixed = [coarse[0], fine[0], coarse[2], *fine[1:]]
    assert [assembler.offer(part) for part in mixed] == [None] * (len(mixed) - 1) + [PAYLOAD]
    assert assembler.unfinished(9) == []
    for part in (coarse[0], fine[0]):
        assembler.offer(part)
    assert [each.count for each in assembler.unfinished(9)] == [len(coarse), len(fine)]
    assert [assembler.offer(part) for part in coarse[1:]][-1] == PAYLOAD


def test_the_smallest_pieces_are_not_too_many() -> None:
    for length in (0, 1, MAX_CHUNKS, MAX_CHUNKS + 1, 10 * MAX_CHUNKS - 1):
        assert len(split(bytes(length), least_limit(length))) <= MAX_CHUNKS
