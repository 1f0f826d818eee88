"""What a server keeps of roll-outs, where two threads act on one."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from cloud.console.rollouts.store import RolloutStore
from cloud.console.store import Store
from edgeloop.protocol.rollout import Outcome
from edgeloop.remote.rollouts import NewGroup, NewRollout, Rollout


def begun(kept: RolloutStore) -> None:
    """Have a roll-out that has succeeded on its one device."""
    groups = (NewGroup(devices=("press-1",)),)
    asked = NewRollout(name="next", task="t", kind="model", sha256="0" * 64, groups=groups)
    now = datetime.now(UTC)
    found = Rollout(
        rollout="r1",
        name="next",
        task="t",
        kind="model",
        sha256="0" * 64,
        size=1,
        state="running",
        actor="somebody",
        begun=now,
        changed=now,
    )
    kept.create(found, asked, [("press-1",)])
    kept.begin_group(found, 0)
    (told,) = kept.told(found)
    said = Outcome(rollout="r1", serial=told.serial, kind="model", state="applied")
    assert kept.hear("t", [("press-1", said)])
    assert kept.become("r1", ("running",), "succeeded")


def test_one_that_is_asked_back_as_it_settles_is_still_carried(tmp_path: Path) -> None:
    with closing(Store(f"sqlite:///{tmp_path / 'server.sqlite'}")) as store:
        kept = RolloutStore(store)
        begun(kept)
        assert kept.is_settled("r1")
        assert kept.become("r1", ("succeeded",), "rolled back")  # by somebody, meanwhile
        kept.drop("r1")
        assert [each.rollout for each in kept.carried()] == ["r1"]


def test_one_that_has_settled_is_carried_no_more(tmp_path: Path) -> None:
    with closing(Store(f"sqlite:///{tmp_path / 'server.sqlite'}")) as store:
        kept = RolloutStore(store)
        begun(kept)
        kept.drop("r1")
        assert kept.carried() == []
