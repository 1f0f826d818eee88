"""Whatever a peer says: documented errors only, and no more memory than stated."""

import hashlib
import json
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgeloop.protocol import chunks, wire
from edgeloop.protocol.chunks import Assembler, ChunkMemory
from edgeloop.protocol.device_health import parse_health
from edgeloop.protocol.growing import Growing
from edgeloop.protocol.task import Contract, Opening, is_addressed_to, is_reminder
from edgeloop.protocol.wire import Envelope, WireError
from tests.world import contract

HUGE = 10**400
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([HUGE, -HUGE, "\0", "a" * 5000, "\ud800", "9" * 5000])
)
VALUES = st.recursive(
    SCALARS, lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text(max_size=5), x, max_size=4)
)
GOOD: dict[type[Growing], dict[str, Any]] = {
    Contract: json.loads(contract(options={"local_lr": 0.5}).text()),
    Opening: json.loads(
        Opening(run="r", round=0, digest="0" * 64, slot=0, size=1).model_dump_json()
    ),
}
KINDS = pytest.mark.parametrize("kind", GOOD)


def understood(kind: type[Growing], text: str | bytes) -> None:
    """Read a message, and say what it says again, or refuse it."""
    try:
        found: Any = kind.model_validate_json(text)
    except ValidationError:
        return
    assert kind.model_validate_json(found.text()) == found


@KINDS
@given(text=st.binary(max_size=400) | st.text(max_size=200).map(lambda text: text.encode("utf-8")))
@example(text=b"[" * 100_000)
@example(text=b'{"a":' * 100_000)
@example(text=b"9" * 100_000)
@example(text=b"\xff")
@example(text=b"NaN")
def test_any_bytes(kind: type[Growing], text: bytes) -> None:
    understood(kind, text)


@KINDS
@given(data=st.data())
def test_any_value_of_a_field(kind: type[Growing], data: st.DataObject) -> None:
    table = dict(GOOD[kind])
    extra = ["minor", "needs", "schema_version", "more", ""]
    for _ in range(data.draw(st.integers(1, 3))):
        table[data.draw(st.sampled_from([*table, *extra]))] = data.draw(VALUES)
    understood(kind, json.dumps(table))


@KINDS
@given(data=st.data())
def test_a_byte_that_is_another(kind: type[Growing], data: st.DataObject) -> None:
    text = bytearray(json.dumps(GOOD[kind]).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    understood(kind, bytes(text))


@given(
    st.dictionaries(
        st.text(max_size=10) | st.sampled_from(["again", "missing", "grows"]), st.text()
    )
)
def test_any_notes(notes: dict[str, str]) -> None:
    """Of presence, openings and answers: user properties, which are texts."""
    assert is_reminder(notes) in (True, False)
    assert is_addressed_to(notes, "one") in (True, False)
    assert wire.grows(notes) in (True, False)
    health = parse_health({**notes, "battery_ratio": "".join(notes.values())})
    assert health.battery_ratio is None or 0 <= health.battery_ratio <= 1


@dataclass(frozen=True, eq=False)
class Sample:
    labels_N: npt.NDArray[np.int64]
    values_ND: npt.NDArray[np.float32]


FRAME = wire.encode(
    Envelope("t", "r", 0, "a"), Sample(np.arange(50), np.ones((50, 20), np.float32))
)
TWICE_AND_MORE, ROOM = 8, 300_000
"""Times its length that reading a message may take, and bytes of Python's own."""


def peak(action: Callable[[], object]) -> int:
    """Return the most bytes that something took, refused or not."""
    tracemalloc.start()
    try:
        action()
    except WireError:
        pass
    finally:
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return most


def resealed(frame: bytearray) -> bytes:
    """Return a frame with the digest that its bytes have now."""
    return bytes(frame[:-32]) + hashlib.sha256(frame[:-32]).digest()


@given(st.data())
def test_a_frame_takes_a_few_times_its_length(data: st.DataObject) -> None:
    """Be it forged: what it says of itself is not believed before it is looked at."""
    frame = bytearray(FRAME)
    for _ in range(data.draw(st.integers(0, 4))):
        frame[data.draw(st.integers(0, len(frame) - 33))] = data.draw(st.integers(0, 255))
    assert peak(lambda: wire.decode(resealed(frame), Sample)) < TWICE_AND_MORE * len(frame) + ROOM


HUGE_SHAPES = ([2**40], [2**20, 2**20], [2**62, 4], [-1], [2**63], [10**30])


@pytest.mark.parametrize("shape", HUGE_SHAPES)
@pytest.mark.parametrize("dtype", ["F32", "I64", "BOOL"])
def test_a_shape_that_no_memory_holds_takes_none(shape: list[int], dtype: str) -> None:
    head = {"Sample.values_ND": {"dtype": dtype, "shape": shape, "data_offsets": [0, 4]}}
    text = json.dumps(head).encode()
    body = len(text).to_bytes(8, "little") + text + bytes(4)
    start = FRAME.index(b'{"kinds"')
    header = FRAME[start : FRAME.index(b"}", start) + 1]
    lengths = len(header).to_bytes(4) + len(body).to_bytes(8)
    whole = FRAME[:6] + lengths + header + body
    frame = whole + hashlib.sha256(whole).digest()
    assert peak(lambda: wire.decode(frame, Sample)) < TWICE_AND_MORE * len(frame) + ROOM


@given(st.lists(st.tuples(st.integers(0, 3), st.binary(min_size=1, max_size=3000)), max_size=30))
def test_what_is_unfinished_takes_no_more_than_its_memory(
    sent: list[tuple[int, bytes]],
) -> None:
    """Four senders who never end what they begin, and 20 KB for all of them."""
    memory = ChunkMemory(20_000)
    senders = [Assembler(1_000_000, memory=memory) for _ in range(4)]
    for sender, payload in sent:
        for chunk in chunks.split(payload + bytes(60), 60 + chunks._HEAD.size)[:-1]:
            senders[sender].offer(chunk)
    held = sum(parts.length for each in senders for parts in each._open.values())
    assert held <= memory._sum <= memory.most
