"""Who is in a run, in the ledger."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.aggregator.ledger import Ledger
from cloud.aggregator.membership import LedgerMembers, Membership, remaining
from edgeloop.cohorts.members import Members
from tests.postgres import Postgres
from tests.world import contract

OPEN = contract(devices=("listed",), admit=("p*",))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.database()


@pytest.fixture
def ledger(store: str) -> Iterator[Ledger]:
    with Ledger.open(store) as opened:
        opened.adopt(OPEN)
        opened.begin(b"state", b"broadcast")
        yield opened


def test_who_is_admitted_is_in_the_ledger(ledger: Ledger, store: str) -> None:
    members = Members(OPEN, LedgerMembers(ledger))
    assert not members.admit("listed", 0)
    assert not members.admit("stranger", 0)
    assert not members.admit("aggregator", 0)
    assert members.admit("p2", 3)
    assert not members.admit("p2", 4)
    assert sorted(members) == ["listed", "p2"]
    assert LedgerMembers(ledger).all() == [Membership("p2", 3)]
    ledger.close()
    with Ledger.open(store) as again:
        again.adopt(contract(run="fresh", devices=OPEN.devices, admit=OPEN.admit))
        assert sorted(Members(OPEN, LedgerMembers(again))) == ["listed", "p2"]
        assert again.forget("t") == 1


def test_a_run_takes_no_more_than_it_says(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    members = Members(OPEN, LedgerMembers(ledger), most=2)
    assert members.admit("p1", 0)
    assert not members.admit("p2", 0)
    assert "p2 is not admitted: the run has 2 devices, the most that it takes" in caplog.text
    assert LedgerMembers(ledger).admitted() == ["p1"]


def test_who_is_evicted_stays_out_and_its_open_answer_counts_no_more(ledger: Ledger) -> None:
    record = LedgerMembers(ledger)
    members = Members(OPEN, record)
    members.admit("p1", 0)
    for device in ("listed", "p1"):
        ledger.record(0, device, "digest", b"payload")
    record.evict(["p1"])
    assert ledger.recall(0) == {"listed": b"payload"}
    left = remaining(OPEN, ledger)
    assert (left.devices, left.excluded) == (("listed",), ("p1",))
    again = Members(left, record)
    assert not again.admit("p1", 1)
    record.evict(["listed"])
    assert remaining(OPEN, ledger).devices == ()
    assert [each.reason for each in record.all()] == ["evicted", "evicted"]


def test_who_leaves_is_no_member_any_more(ledger: Ledger) -> None:
    Members(OPEN, LedgerMembers(ledger)).admit("p1", 0)
    ledger.take_out(["p1"], lambda number, state, broadcast: (state, broadcast))
    assert LedgerMembers(ledger).all() == []
    assert remaining(OPEN, ledger).excluded == ("p1",)
