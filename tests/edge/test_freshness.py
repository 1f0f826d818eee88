"""An old contract or opening is told from the newest one, also after a restart."""

from pathlib import Path

import pytest

from edge.agent.freshness import FILE, Freshness
from edgeloop.mqtt.messages import Arrival, Trust
from edgeloop.protocol.task import Opening, contract_topic, receipt_topic, round_topic

CONTRACT, ROUND = contract_topic("t"), round_topic("t")


def heard(topic: str, payload: bytes, at: int) -> Arrival:
    return Arrival(topic, payload, lambda: None, trust=Trust(at, "aggregator of t"))


def opening(number: int, run: str = "r") -> bytes:
    return Opening(run=run, round=number, digest="0" * 64, slot=0, size=1).text().encode()


def test_what_is_older_than_the_newest_is_a_replay(tmp_path: Path) -> None:
    fresh = Freshness(tmp_path, "t")
    assert fresh.refusal(heard(CONTRACT, b"first", 1000)) == ""
    assert fresh.refusal(heard(CONTRACT, b"second", 2000)) == ""
    assert fresh.refusal(heard(CONTRACT, b"second", 1500)) == "", "as the broker keeps it"
    said = fresh.refusal(heard(CONTRACT, b"first", 1000))
    assert said.startswith("it was signed 1.0 s before the last one: somebody sends it again")
    assert str(tmp_path / FILE) in said
    assert fresh.refusal(heard(CONTRACT, b"first", 2001)) == "", "said anew it is the newest"


def test_openings_are_told_apart_by_run_and_round(tmp_path: Path) -> None:
    fresh = Freshness(tmp_path, "t")
    assert fresh.refusal(heard(ROUND, opening(4), 2000)) == ""
    assert fresh.refusal(heard(ROUND, opening(4), 1000)) == "", "the one that the broker keeps"
    assert fresh.refusal(heard(ROUND, opening(3), 1500)) != ""
    assert fresh.refusal(heard(ROUND, opening(4, "q"), 1500)) != ""
    assert fresh.refusal(heard(ROUND, b"no JSON", 1500)) != ""
    assert fresh.refusal(heard(ROUND, opening(2), 3000)) == "", "restored from a backup, it says so"


def test_it_is_remembered(tmp_path: Path) -> None:
    assert Freshness(tmp_path, "t").refusal(heard(CONTRACT, b"x", 2000)) == ""
    assert Freshness(tmp_path, "t").refusal(heard(CONTRACT, b"y", 1000)) != ""
    other = heard(contract_topic("u"), b"y", 1000)
    assert Freshness(tmp_path, "u").refusal(other) == "", "another task's folder of before"


def test_a_damaged_memory_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE).write_text("{")
    assert Freshness(tmp_path, "t").refusal(heard(CONTRACT, b"x", 1)) == ""
    assert "is damaged" in caplog.text


def test_what_is_not_signed_and_receipts_are_not_looked_at(tmp_path: Path) -> None:
    fresh = Freshness(tmp_path, "t")
    for topic in (CONTRACT, ROUND, receipt_topic("t", "one")):
        for at in (0, 0) if topic != receipt_topic("t", "one") else (2, 1):
            assert fresh.refusal(heard(topic, b"%d" % at, at)) == ""
    assert not (tmp_path / FILE).exists()
