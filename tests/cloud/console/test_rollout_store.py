"""What a server keeps of roll-outs, where two threads act on one."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cloud.console.rollouts.rows import WITHDRAW, become, send_back
from cloud.console.rollouts.store import RolloutStore
from cloud.console.sources import ImpossibleError, Sighting
from cloud.console.store import Store
from cloud.console.taking import take
from edgeloop.protocol.rollout import Outcome
from edgeloop.remote.rollouts import NewGroup, NewRollout, Rollout
from tests.devices import wait_until
from tests.postgres import Postgres

SHA256 = "5e1f0c8ad93b47e6" * 4


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A server's database."""
    url = f"sqlite:///{tmp_path / 'server.sqlite'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").database()
    with closing(Store(url)) as found:
        take(found, "aggregator", [Sighting("doors", "Running")])
        yield found


def begun(
    kept: RolloutStore,
    rollout: str,
    name: str,
    groups: tuple[NewGroup, ...],
    chosen: list[list[str]],
) -> Rollout:
    """Have a roll-out of task doors whose first group was told."""
    facts: dict[str, Any] = {"name": name, "task": "doors", "kind": "model", "sha256": SHA256}
    now = datetime.now(UTC)
    found = Rollout(
        **facts,
        rollout=rollout,
        size=4_200_000,
        state="running",
        actor="ada",
        begun=now,
        changed=now,
    )
    kept.create(found, NewRollout(**facts, groups=groups), chosen)
    assert kept.begin_group(found, 0)
    return found


def succeeded(kept: RolloutStore) -> None:
    """Have a roll-out that has succeeded on its one device."""
    found = begun(kept, "r1", "next", (NewGroup(devices=("press-1",)),), [["press-1"]])
    (told,) = kept.told(found)
    said = Outcome(rollout="r1", serial=told.serial, kind="model", state="applied")
    assert kept.hear("doors", [("press-1", said)])
    assert kept.become("r1", ("running",), "succeeded")


def test_one_that_was_stopped_meanwhile_begins_no_group(store: Store) -> None:
    kept = RolloutStore(store)
    groups = NewGroup(devices=("press-1",)), NewGroup()
    found = begun(kept, "r1", "next", groups, [["press-1"], ["press-2"]])
    assert kept.become("r1", ("running",), "stopped", failed=0)
    assert not kept.begin_group(found, 1)
    assert [(each.device, each.action) for each in kept.told(found)] == [("press-1", WITHDRAW)]
    assert [each.state for each in kept.rollout("r1").groups] == ["failed", "scheduled"]
    assert not kept.become("r1", ("running",), "rolled back", failed=1)
    assert kept.rollout("r1").groups[1].state == "scheduled"


def test_one_that_is_asked_back_as_it_settles_is_still_carried(store: Store) -> None:
    kept = RolloutStore(store)
    succeeded(kept)
    assert kept.is_settled("r1")
    assert kept.become("r1", ("succeeded",), "rolled back")  # by somebody, meanwhile
    kept.drop("r1")
    assert [each.rollout for each in kept.carried()] == ["r1"]


def test_one_that_has_settled_is_carried_no_more(store: Store) -> None:
    kept = RolloutStore(store)
    succeeded(kept)
    kept.drop("r1")
    assert kept.carried() == []


def test_of_two_that_are_asked_for_at_once_there_is_one(store: Store) -> None:
    kept, together = RolloutStore(store), threading.Barrier(4)

    def ask(number: int) -> bool:
        together.wait()
        try:
            begun(kept, f"r{number}", "next", (NewGroup(),), [["press-1"]])
        except ImpossibleError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(ask, range(4))) == [False, False, False, True]


def test_what_a_device_says_twice_or_of_another_order_is_no_news(store: Store) -> None:
    kept = RolloutStore(store)
    found = begun(kept, "r1", "next", (NewGroup(),), [["press-1", "press-2"]])
    serial = kept.newest_serial("r1")

    def said(state: Any, serial: int = serial, **more: Any) -> Outcome:
        return Outcome.model_validate(
            {"rollout": "r1", "serial": serial, "kind": "model", "state": state, **more}
        )

    both = [("press-1", said("fetching")), ("press-1", said("applied"))]
    assert [each.told.state for each in kept.hear("doors", both)] == ["fetching", "applied"]
    others = said("failed", serial - 1), said("failed", kind="base"), said("failed", rollout="r2")
    assert kept.hear("doors", [*both[1:], *(("press-1", each) for each in others)]) == []
    assert kept.hear("windows", [("press-2", said("applied"))]) == []
    assert kept.become("r1", ("running",), "succeeded")
    late = kept.hear("doors", [(name, said("rolled back")) for name in ("press-1", "press-2")])
    assert [(each.device, each.is_late) for each in late] == [("press-1", True), ("press-2", False)]
    assert kept.rollout(found.rollout).groups[0].rolled_back == 2


def test_what_is_heard_waits_for_who_stops_it(postgres: Postgres) -> None:
    """Else each might hold devices that the other one waits for."""
    url = postgres.database()
    with (
        closing(Store(url)) as store,
        postgres.connect() as watching,
        ThreadPoolExecutor(1) as pool,
    ):
        take(store, "aggregator", [Sighting("doors", "Running")])
        kept, waiting = RolloutStore(store), "select 1 from pg_locks where not granted"
        begun(kept, "r1", "next", (NewGroup(),), [["press-1", "press-2"]])
        serial = kept.newest_serial("r1")
        said = Outcome(rollout="r1", serial=serial, kind="model", state="applied")
        with store.database.writing() as stopping:
            assert become(stopping, "r1", ("running",), "rolled back", "")
            heard = pool.submit(kept.hear, "doors", [("press-1", said), ("press-2", said)])
            wait_until(lambda: watching.execute(waiting).fetchone() is not None, 20)
            send_back(stopping, "r1")
        assert heard.result() == [], "it is no answer to the order to go back"
