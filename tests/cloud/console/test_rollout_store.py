"""What a server keeps of roll-outs, where two threads act on one."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cloud.console.rollouts.rows import WITHDRAW
from cloud.console.rollouts.store import RolloutStore
from cloud.console.store import Store
from edgeloop.protocol.rollout import Outcome
from edgeloop.remote.rollouts import NewGroup, NewRollout, Rollout

SHA256 = "5e1f0c8ad93b47e6" * 4


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


def test_one_that_was_stopped_meanwhile_begins_no_group(tmp_path: Path) -> None:
    with closing(Store(f"sqlite:///{tmp_path / 'server.sqlite'}")) as store:
        kept = RolloutStore(store)
        groups = NewGroup(devices=("press-1",)), NewGroup()
        found = begun(kept, "r1", "next", groups, [["press-1"], ["press-2"]])
        assert kept.become("r1", ("running",), "stopped", failed=0)
        assert not kept.begin_group(found, 1)
        assert [(each.device, each.action) for each in kept.told(found)] == [("press-1", WITHDRAW)]
        assert [each.state for each in kept.rollout("r1").groups] == ["failed", "scheduled"]
        assert not kept.become("r1", ("running",), "rolled back", failed=1)
        assert kept.rollout("r1").groups[1].state == "scheduled"


def test_one_that_is_asked_back_as_it_settles_is_still_carried(tmp_path: Path) -> None:
    with closing(Store(f"sqlite:///{tmp_path / 'server.sqlite'}")) as store:
        kept = RolloutStore(store)
        succeeded(kept)
        assert kept.is_settled("r1")
        assert kept.become("r1", ("succeeded",), "rolled back")  # by somebody, meanwhile
        kept.drop("r1")
        assert [each.rollout for each in kept.carried()] == ["r1"]


def test_one_that_has_settled_is_carried_no_more(tmp_path: Path) -> None:
    with closing(Store(f"sqlite:///{tmp_path / 'server.sqlite'}")) as store:
        kept = RolloutStore(store)
        succeeded(kept)
        kept.drop("r1")
        assert kept.carried() == []
