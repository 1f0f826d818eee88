"""A body's head is read once, and refuses what safetensors refuses all the same."""

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from edgeloop.protocol.wire import DigestError, body, digest, open_frame
from edgeloop.protocol.wire.body import MOST_LAYOUTS, unpack
from edgeloop.protocol.wire.errors import FieldsError
from tests.cloud.test_group_commit import answer


@pytest.fixture(autouse=True)
def nothing_known() -> None:
    body._layouts.clear()


def of(value: float, rows: int = 3) -> bytes:
    return safetensors.numpy.save({"a": np.full((rows, 2), value, np.float32), "n": np.array(rows)})


def test_each_body_has_its_own_numbers() -> None:
    for value in (1.0, 2.0, -3.5):
        read = dict(safetensors.deserialize(of(value)))  # type: ignore[no-untyped-call]
        found = unpack(of(value))
        assert found.keys() == read.keys()
        for name, raw in read.items():
            assert found[name]["data"] == raw["data"]
            assert (list(found[name]["shape"]), found[name]["dtype"]) == (
                raw["shape"],
                raw["dtype"],
            )
    assert len(body._layouts) == 1


def test_what_is_read_can_be_written_to() -> None:
    for _ in range(2):
        np.frombuffer(unpack(of(1.0))["a"]["data"], np.float32)[0] = 5.0


@pytest.mark.parametrize("cut", [1, 8, 100])
def test_a_known_head_on_another_length_is_refused(cut: int) -> None:
    whole = of(1.0)
    unpack(whole)
    for damaged in (whole[:-cut], whole + b"\0" * cut, b"", whole[:8]):
        with pytest.raises(FieldsError):
            unpack(damaged)


def test_ever_new_heads_fill_no_more() -> None:
    for rows in range(1, 3 * MOST_LAYOUTS):
        unpack(of(0.0, rows))
    assert len(body._layouts) <= MOST_LAYOUTS
    before = len(body._layouts)
    unpack(safetensors.numpy.save({"x" * body.LONGEST_HEAD: np.zeros(1)}))
    assert len(body._layouts) == before


def test_a_frame_that_is_not_the_announced_one() -> None:
    frame, other = answer("a"), answer("b")
    assert open_frame(frame, expected=bytes.fromhex(digest(frame))).digest == digest(frame)
    with pytest.raises(DigestError, match="not the announced one"):
        open_frame(frame, expected=bytes.fromhex(digest(other)))
