import hashlib
import json
import struct
import tracemalloc
import types
from dataclasses import dataclass, make_dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from edgeloop.protocol import wire
from edgeloop.protocol.wire import Envelope, WireError, decode, encode


@dataclass(frozen=True, eq=False)
class Sample:
    count: int
    labels_N: npt.NDArray[np.int64]
    values_ND: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("count is negative")


@dataclass(frozen=True)
class Note:
    share: float
    good: bool


ENVELOPE = Envelope("task", "run-1", 7, "dev-3")
SAMPLE = Sample(3, np.array([4, 5]), np.array([[1e-30, -0.0], [3.3, 4.4]], np.float32))


def frame(header: bytes, body: bytes, version: int = 1, magic: bytes = b"EDGE") -> bytes:
    head = struct.pack(">4sHIQ", magic, version, len(header), len(body)) + header + body
    return head + hashlib.sha256(head).digest()


def header(**changes: Any) -> bytes:
    fields = {"kinds": ["Sample"], "task": "t", "run": "r", "round": 0, "sender": "s"}
    return json.dumps(fields | changes).encode()


def body(**changes: npt.NDArray[Any]) -> bytes:
    tensors = {
        "Sample.count": np.array(1),
        "Sample.labels_N": np.array([0, 1]),
        "Sample.values_ND": np.zeros((2, 3), np.float32),
    }
    renamed = {name.replace("__", "."): array for name, array in changes.items()}
    return safetensors.numpy.save(tensors | renamed)


def test_round_trip_is_exact() -> None:
    got = decode(encode(ENVELOPE, SAMPLE, Note(0.1, True)), Sample, Note)
    assert got.envelope == ENVELOPE
    assert got[Note] == Note(0.1, True)
    assert got[Sample].values_ND.tobytes() == SAMPLE.values_ND.tobytes()
    assert got[Sample].values_ND.dtype == np.float32
    assert got[Sample].labels_N.tolist() == [4, 5]
    assert got[Sample].count == 3


def test_equal_messages_give_equal_bytes_and_digests() -> None:
    again = Sample(3, SAMPLE.labels_N.copy(), SAMPLE.values_ND.copy(order="F"))
    assert encode(ENVELOPE, SAMPLE) == encode(ENVELOPE, again)
    assert wire.fingerprint(SAMPLE) == wire.fingerprint(again)
    assert wire.fingerprint(SAMPLE) != wire.fingerprint(
        Sample(4, SAMPLE.labels_N, SAMPLE.values_ND)
    )


def test_the_hand_made_frame_is_a_frame() -> None:
    assert decode(frame(header(), body()), Sample).envelope == Envelope("t", "r", 0, "s")


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"", wire.TruncatedError),
        (b"junk" * 20, wire.TruncatedError),
        (encode(ENVELOPE, SAMPLE)[:40], wire.TruncatedError),
        (encode(ENVELOPE, SAMPLE) + b"x", wire.TrailingBytesError),
        (frame(header(), body(), magic=b"EDGX"), wire.TruncatedError),
        (frame(header(), body(), version=2), wire.VersionError),
        (frame(header(), body())[:-1] + b"\x00", wire.DigestError),
        (frame(b"{" * 4000, body()), wire.HeaderError),
        (frame(b"[" * 4000, body()), wire.HeaderError),
        (frame(b" " * 5000 + header(), body()), wire.HeaderError),
        (frame(header(round=-1), body()), wire.HeaderError),
        (frame(header(round=1.0), body()), wire.HeaderError),
        (frame(header(sender="a/b"), body()), wire.HeaderError),
        (frame(header(sender="../up"), body()), wire.HeaderError),
        (frame(header(extra=1), body()), wire.HeaderError),
        (frame(header(kinds=["Note"]), body()), wire.KindError),
        (frame(header(kinds="Sample"), body()), wire.KindError),
        (frame(header(), b"no tensors"), wire.FieldsError),
        (frame(header(), body(Sample__more=np.zeros(1))), wire.FieldsError),
        (encode(ENVELOPE, Note(0.1, True)), wire.KindError),
        (frame(header(), body(Sample__count=np.array(1.0))), wire.DtypeError),
        (frame(header(), body(Sample__values_ND=np.zeros((2, 3)))), wire.DtypeError),
        (frame(header(), body(Sample__values_ND=np.zeros(6, np.float32))), wire.ShapeError),
        (frame(header(), body(Sample__values_ND=np.zeros((3, 3), np.float32))), wire.ShapeError),
        (frame(header(), body(Sample__count=np.array([1]))), wire.ShapeError),
        (
            frame(header(), body(Sample__values_ND=np.full((2, 3), np.nan, np.float32))),
            wire.NotFiniteError,
        ),
        (
            frame(header(), body(Sample__values_ND=np.full((2, 3), np.inf, np.float32))),
            wire.NotFiniteError,
        ),
        (frame(header(), body(Sample__count=np.array(-1))), wire.ContentError),
    ],
)
def test_each_flaw_has_its_own_error(payload: bytes, error: type[WireError]) -> None:
    with pytest.raises(error):
        decode(payload, Sample)


@dataclass(frozen=True)
class Measure:
    value: wire.MaybeNaN
    other: float


def test_only_a_number_that_says_so_may_be_nan() -> None:
    nan, one = float("nan"), 1.0
    assert np.isnan(decode(encode(ENVELOPE, Measure(nan, one)), Measure)[Measure].value)
    for value, other in ((one, nan), (float("inf"), one)):
        with pytest.raises(wire.NotFiniteError):
            decode(encode(ENVELOPE, Measure(value, other)), Measure)


def test_a_missing_field_is_named() -> None:
    tensors = safetensors.numpy.save({"Sample.count": np.array(1)})
    with pytest.raises(wire.FieldsError, match=r"Sample.labels_N is missing"):
        decode(frame(header(), tensors), Sample)


def test_sizes_that_the_task_fixes_are_held() -> None:
    payload = encode(ENVELOPE, SAMPLE)
    assert decode(payload, Sample, sizes={"D": 2})[Sample].count == 3
    with pytest.raises(wire.ShapeError, match="D = 2, not 512"):
        decode(payload, Sample, sizes={"D": 512})


def test_oversize_is_refused_before_anything_else() -> None:
    with pytest.raises(wire.OversizeError, match="at most 10"):
        decode(encode(ENVELOPE, SAMPLE), Sample, limit=10)


def test_the_envelope_can_be_read_alone() -> None:
    assert wire.envelope_of(encode(ENVELOPE, SAMPLE)) == ENVELOPE


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 65, "-a"])
def test_names_are_plain(name: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        Envelope(name, "run", 0, "sender")


def attempt(payload: bytes) -> None:
    """Decode, and let pass only what the contract allows, within the memory it allows."""
    tracemalloc.start()
    try:
        decode(payload, Sample)
    except WireError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 64 * 1024 + 8 * len(payload)


@given(st.binary(max_size=2000))
def test_fuzz_arbitrary_bytes(payload: bytes) -> None:
    attempt(payload)


@given(st.binary(max_size=600), st.binary(max_size=600))
def test_fuzz_well_framed_bytes(head: bytes, tail: bytes) -> None:
    attempt(frame(head, tail))


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_fuzz_headers(value: Any) -> None:
    attempt(frame(json.dumps(value).encode(), body()))
    attempt(frame(header(round=value), body()))
    attempt(frame(header(kinds=value), body()))


DTYPES = st.sampled_from(["F32", "F64", "I64", "BOOL", "F16", "BF16", "U8", "F8_E4M3", "C64", "?"])
SHAPES = st.lists(st.integers(min_value=0, max_value=2**64), max_size=4)


@given(DTYPES, SHAPES, st.integers(0, 64), st.integers(0, 64), st.binary(max_size=64))
def test_fuzz_safetensors(dtype: str, shape: list[int], start: int, end: int, data: bytes) -> None:
    entry = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps({"Sample.values_ND": entry, "Sample.labels_N": entry, "Sample.count": entry})
    attempt(frame(header(), struct.pack("<Q", len(text)) + text.encode() + data))


@given(st.data())
def test_fuzz_one_byte_of_a_good_frame(data: st.DataObject) -> None:
    good = bytearray(frame(header(), body())[:-32])
    good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    attempt(bytes(good) + hashlib.sha256(good).digest())


def test_arrays_annotated_as_newer_numpys_alias_are_read() -> None:
    """`NDArray[float32]` has one argument, its element, from numpy 2.5 on."""
    alias: Any = types.GenericAlias(np.ndarray, (np.float32,))
    kind = make_dataclass("Newer", [("values_N", alias)], eq=False, frozen=True)
    message = kind(np.array([1.0, 2.0], np.float32))
    frame = encode(Envelope("task", "run", 1, "server"), message)
    assert decode(frame, kind)[kind].values_N.tolist() == [1.0, 2.0]


@dataclass(frozen=True, eq=False)
class Ranged:
    samples: wire.Samples
    seconds: wire.Seconds
    counts_N: wire.Counts
    values_N: npt.NDArray[np.float32]


def ranged(**changes: Any) -> Ranged:
    fields = {
        "samples": wire.MOST_SAMPLES,
        "seconds": 1e7,
        "counts_N": np.array([0, wire.MOST_SAMPLES]),
        "values_N": np.array([1e15, -1e15], np.float32),
    }
    return Ranged(**{**fields, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"samples": 2**63 - 1},
        {"samples": -1},
        {"seconds": 1e300},
        {"seconds": -0.1},
        {"counts_N": np.array([2**63 - 1, 0])},
        {"counts_N": np.array([0, -1])},
    ],
)
def test_a_number_out_of_its_range_is_refused(changes: dict[str, Any]) -> None:
    assert decode(encode(ENVELOPE, ranged()), Ranged)[Ranged].samples == wire.MOST_SAMPLES
    (name,) = changes
    with pytest.raises(wire.RangeError, match=f"Ranged.{name} is not between"):
        decode(encode(ENVELOPE, ranged(**changes)), Ranged)
    with pytest.raises(wire.RangeError, match=f"Ranged.{name} is not between"):
        wire.check(ranged(**changes))


def test_floats_whose_squares_are_none_are_refused_by_a_check() -> None:
    wire.check(ranged())
    for value in (1e30, -1e30, 1.4e19):
        with pytest.raises(wire.RangeError, match="too large"):
            wire.check(ranged(values_N=np.array([0, value], np.float32)))
    with pytest.raises(wire.NotFiniteError):
        wire.check(ranged(values_N=np.array([0, np.nan], np.float32)))
    with pytest.raises(wire.ShapeError, match="N = 2, not 3"):
        wire.check(ranged(), {"N": 3})
