"""Messages that grow: fields that older peers do not send, and fields that newer peers send."""

import hashlib
import json
import logging
import math
import struct
from dataclasses import dataclass, make_dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.numpy

from edgeloop.protocol import wire
from edgeloop.protocol.wire import Envelope, Since, decode, encode

ENVELOPE = Envelope("task", "run-1", 7, "dev-3")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def kind(*fields: tuple[Any, ...]) -> Any:
    """Return a version of one message; all are called Sample."""
    return make_dataclass("Sample", [("count", int), *fields], frozen=True, eq=False)


Oldest = kind()
Today = kind(("share", Annotated[float | None, Since(1)], None))
Newer = kind(
    ("share", Annotated[float | None, Since(1)], None),
    ("colours_N", Annotated[npt.NDArray[np.int64] | None, Since(2)], None),
)
Strict = kind(
    ("share", Annotated[float | None, Since(1)], None),
    ("unit", Annotated[int, Since(2, needed=True)], 0),
)


def header(payload: bytes) -> dict[str, Any]:
    _, _, length, _ = struct.unpack_from(">4sHIQ", payload)
    return dict(json.loads(payload[18 : 18 + length]))


def frame(head: dict[str, Any], version: int = 1, **tensors: Any) -> bytes:
    text = json.dumps({"kinds": ["Sample"], **head}).encode()
    body = safetensors.numpy.save({f"Sample.{name}": each for name, each in tensors.items()})
    start = struct.pack(">4sHIQ", b"EDGE", version, len(text), len(body)) + text + body
    return start + hashlib.sha256(start).digest()


HEAD = {"task": "t", "run": "r", "round": 0, "sender": "s"}
ONE = np.array(1)


def test_a_message_with_nothing_new_is_the_one_that_older_versions_know() -> None:
    assert encode(ENVELOPE, Newer(3)) == encode(ENVELOPE, Oldest(3))
    assert wire.fingerprint(Newer(3)) == wire.fingerprint(Oldest(3))
    assert header(encode(ENVELOPE, Newer(3))).keys() == {"kinds", "task", "run", "round", "sender"}


def test_what_an_older_peer_does_not_send_has_its_default() -> None:
    found = decode(encode(ENVELOPE, Oldest(3)), Newer)
    assert (found[Newer].count, found[Newer].share, found[Newer].colours_N) == (3, None, None)
    assert found.ignored == ()


def test_any_field_with_a_default_may_be_missing() -> None:
    plain = kind(("area", wire.MaybeNaN, math.nan), ("good", bool, True))
    found = decode(encode(ENVELOPE, Oldest(3)), plain)[plain]
    assert (math.isnan(found.area), found.good) == (True, True)
    needed = kind(("more", int))
    with pytest.raises(wire.FieldsError, match=r"Sample.more is missing"):
        decode(encode(ENVELOPE, Oldest(3)), needed)


def test_a_field_of_a_newer_minor_version_is_ignored_and_named() -> None:
    payload = encode(ENVELOPE, Newer(3, 0.5, np.array([1, 2])))
    assert header(payload)["minor"] == {"Sample": 2}
    for known, share in ((Oldest, ()), (Today, (0.5,))):
        found = decode(payload, known)
        assert found[known] is not None
        assert found.ignored[0] == "Sample.colours_N"
        assert len(found.ignored) == 2 - len(share)
        assert [found[known].share for _ in share] == list(share)
    assert wire.fingerprint_of(payload) == wire.fingerprint(Newer(3, 0.5, np.array([1, 2])))
    whole = decode(payload, Newer)
    assert (whole[Newer].colours_N.tolist(), whole.ignored) == ([1, 2], ())


def test_a_field_that_must_be_known_is_not_ignored() -> None:
    payload = encode(ENVELOPE, Strict(3, None, 7))
    assert header(payload)["needs"] == {"Sample": 2}
    told = "Sample needs minor version 2, this is 1: update edgeloop on this side"
    with pytest.raises(wire.VersionError, match=told):
        decode(payload, Today)
    assert decode(payload, Strict)[Strict].unit == 7
    assert decode(encode(ENVELOPE, Strict(3, 0.5)), Today)[Today].share == 0.5


@pytest.mark.parametrize(("version", "side"), [(2, "this side"), (0, "the side that sent it")])
def test_another_major_version_is_refused_with_both_and_the_remedy(version: int, side: str) -> None:
    payload = frame(HEAD, version, count=ONE)
    with pytest.raises(wire.VersionError, match=rf"^frame version {version}, this is 1: .* {side}"):
        decode(payload, Oldest)
    with pytest.raises(wire.VersionError):
        wire.envelope_of(payload)


def test_a_peer_that_refuses_what_it_does_not_know_gets_what_it_knows() -> None:
    traced = Envelope("task", "run-1", 7, "dev-3", TRACE)
    assert encode(traced, Newer(3, 0.5), grown=False) == encode(ENVELOPE, Oldest(3))
    assert "needs" in header(encode(traced, Strict(3, 0.5, 7), grown=False))


def test_the_envelope_grows_too() -> None:
    traced = Envelope("task", "run-1", 7, "dev-3", TRACE)
    payload = encode(traced, Oldest(3))
    assert header(payload)["minor"] == {"Envelope": 1}
    assert decode(payload, Oldest).envelope == wire.envelope_of(payload) == traced
    newer = frame({**HEAD, "mood": "good", "minor": {"Envelope": 4}}, count=ONE)
    assert decode(newer, Oldest).ignored == ("Envelope.mood",)
    with pytest.raises(wire.VersionError, match="Envelope needs minor version 4, this is 3"):
        decode(frame({**HEAD, "needs": {"Envelope": 4}}, count=ONE), Oldest)


@pytest.mark.parametrize(
    ("head", "error"),
    [
        ({}, wire.FieldsError),
        ({"minor": {"Sample": 1}}, wire.FieldsError),
        ({"minor": {"Other": 9}}, wire.FieldsError),
        ({"minor": {"Sample": "9"}}, wire.HeaderError),
        ({"minor": {"Sample": True}}, wire.HeaderError),
        ({"minor": {"Sample": -1}}, wire.HeaderError),
        ({"minor": [9]}, wire.HeaderError),
        ({"minor": 9}, wire.HeaderError),
        ({"needs": None}, wire.HeaderError),
        ({"mood": "good"}, wire.HeaderError),
        ({"trace": 7}, wire.HeaderError),
        ({"trace": "x" * 129}, wire.HeaderError),
    ],
)
def test_what_no_newer_version_explains_is_refused(
    head: dict[str, Any], error: type[wire.WireError]
) -> None:
    with pytest.raises(error):
        decode(frame({**HEAD, **head}, count=ONE, mood=ONE), Today)


def test_a_newer_version_does_not_excuse_another_messages_fields() -> None:
    payload = frame({**HEAD, "minor": {"Sample": 9}}, count=ONE)
    assert decode(payload, Today).ignored == ()
    body = safetensors.numpy.save({"Sample.count": ONE, "Other.count": ONE})
    text = json.dumps({"kinds": ["Sample"], **HEAD, "minor": {"Sample": 9}}).encode()
    start = struct.pack(">4sHIQ", b"EDGE", 1, len(text), len(body)) + text + body
    with pytest.raises(wire.FieldsError, match=r"Other\.count"):
        decode(start + hashlib.sha256(start).digest(), Today)


def test_a_later_field_is_held_to_its_type_and_range() -> None:
    ranged = kind(("share", Annotated[float | None, wire.Between(0, 1), Since(1)], None))
    marked_within = kind(("share", Annotated[float, Since(1)] | None, None))
    assert decode(encode(ENVELOPE, ranged(3, 1.0)), ranged)[ranged].share == 1.0
    assert decode(encode(ENVELOPE, marked_within(3, 1.0)), ranged)[ranged].share == 1.0
    for value in (1.5, math.nan):
        with pytest.raises(wire.WireError):
            decode(encode(ENVELOPE, ranged(3, value)), ranged)
        with pytest.raises(wire.WireError):
            wire.check(ranged(3, value))
    wire.check(ranged(3))
    assert wire.finite(ranged(3))
    unknown = kind(("area", Annotated[wire.MaybeNaN, Since(1)], 0.0))
    assert math.isnan(decode(encode(ENVELOPE, unknown(3, math.nan)), unknown)[unknown].area)


def test_a_later_field_needs_a_default() -> None:
    @dataclass(frozen=True)
    class Hasty:
        count: Annotated[int, Since(1)]

    with pytest.raises(TypeError, match="Hasty: a later field needs a default"):
        encode(ENVELOPE, Hasty(1))


def test_ignored_fields_are_counted_and_each_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    ignored = wire.IgnoredFields()
    with caplog.at_level(logging.WARNING):
        assert ignored.add(["Sample.mood"], "press-1") == 1
        assert ignored.add(["Sample.mood", "Sample.hue"], "press-1") == 2
    assert ignored.count == 3
    assert [each.getMessage() for each in caplog.records] == [
        "ignored field 'Sample.mood' of press-1, which a newer edgeloop sends; update this side",
        "ignored field 'Sample.hue' of press-1, which a newer edgeloop sends; update this side",
    ]
    ignored.add((f"Sample.{number}\n" * 100 for number in range(1000)), "press-1")
    assert ignored.count == 1003
    assert len(caplog.records) == 20, "a stranger does not fill the log"
    assert all("\n" not in each.getMessage() for each in caplog.records)
