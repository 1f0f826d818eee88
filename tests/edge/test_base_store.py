"""The bases that a device has fetched."""

from pathlib import Path
from typing import Any

import pytest

from edge.agent import base_store
from edge.agent.base_store import BaseCache
from edgeloop.bases import sending
from edgeloop.bases.manifest import digest
from edgeloop.errors import BaseError, MisfitError
from edgeloop.protocol.task import Contract
from edgeloop.protocol.wire import WireError
from tests.bases.tiny import tiny_graph
from tests.world import contract

GRAPH = tiny_graph((1, 4, 4))


def on(identity: Any) -> Contract:
    options = {} if identity is None else {"base_sha256": identity}
    return contract(algorithm="class-statistics", options=options)


def test_a_base_is_lacked_once(tmp_path: Path) -> None:
    mine, asked = BaseCache(tmp_path), on(digest(GRAPH))
    assert mine.is_missing(asked)
    mine.keep(sending.decode(asked, sending.encode(asked, GRAPH)))
    assert not mine.is_missing(asked)
    assert BaseCache(tmp_path).base(asked).identity == digest(GRAPH)
    assert not mine.is_missing(on(None))


def test_a_damaged_one_is_fetched_anew(tmp_path: Path) -> None:
    mine, asked = BaseCache(tmp_path), on(digest(GRAPH))
    mine.keep(GRAPH)
    (tmp_path / "bases" / f"{digest(GRAPH)}.onnx").write_bytes(GRAPH[:-1])
    assert mine.is_missing(asked)
    with pytest.raises(MisfitError, match="needs a base, and there is none"):
        mine.base(asked)


@pytest.mark.parametrize("identity", ["x", "../../etc/passwd", "0" * 65, "A" * 64])
def test_what_is_no_identity_is_refused(tmp_path: Path, identity: str) -> None:
    with pytest.raises(MisfitError, match="is no SHA-256"):
        BaseCache(tmp_path).is_missing(on(identity))


def test_a_base_that_cannot_run(tmp_path: Path) -> None:
    junk = b"no graph at all"
    mine = BaseCache(tmp_path)
    mine.keep(junk)
    with pytest.raises(BaseError, match="is no ONNX graph that can be run"):
        mine.base(on(digest(junk)))


def test_only_the_last_ones_stay(tmp_path: Path) -> None:
    mine = BaseCache(tmp_path)
    for dims in range(2, 4 + base_store.MAX_BASES):
        mine.keep(tiny_graph((1, 4, 4), dims))
    assert len(list((tmp_path / "bases").iterdir())) == base_store.MAX_BASES


@pytest.mark.parametrize("wrong", ["another base", "another task", "no frame", "cut"])
def test_what_comes_as_a_base_and_is_none(wrong: str) -> None:
    asked = on(digest(GRAPH))
    payload = sending.encode(asked, GRAPH)
    if wrong == "another base":
        payload = sending.encode(asked, tiny_graph((1, 4, 4), 3))
    elif wrong == "another task":
        payload = sending.encode(asked.model_copy(update={"task": "other"}), GRAPH)
    elif wrong == "no frame":
        payload = GRAPH
    else:
        payload = payload[:-1]
    with pytest.raises(WireError):
        sending.decode(asked, payload)
