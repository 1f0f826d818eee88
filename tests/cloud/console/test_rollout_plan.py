"""Which devices are in which group, and how far a group is."""

import pytest

from cloud.console.rollouts.plan import grouped, verdict
from edgeloop.errors import ConfigError
from edgeloop.remote.rollouts import NewGroup, RolloutGroup

KNOWN = [f"press-{n}" for n in range(20)] + ["door-1"]


def nobody(labels: dict[str, str]) -> list[str]:
    return []


def chosen(*groups: NewGroup, identity: str = "r1") -> list[list[str]]:
    return grouped(groups, KNOWN, identity, nobody)


def test_a_group_takes_what_no_group_before_has() -> None:
    doors, canary, rest = chosen(NewGroup(pattern="door-*"), NewGroup(share=0.1), NewGroup())
    assert doors == ["door-1"]
    assert len(canary) == 2
    assert sorted([*doors, *canary, *rest]) == sorted(KNOWN)


def test_a_share_is_drawn_by_the_roll_out() -> None:
    one, again, other = (chosen(NewGroup(share=0.3), identity=i) for i in ("a", "a", "b"))
    assert one == again != other
    assert len(one[0]) == 7


def test_labels_and_names_choose() -> None:
    found = grouped(
        [NewGroup(labels={"site": "a"}), NewGroup(devices=("press-1", "door-1"))],
        KNOWN,
        "r",
        lambda labels: {"press-1", "stranger"} if labels == {"site": "a"} else (),
    )
    assert found == [["press-1"], ["door-1"]]


@pytest.mark.parametrize(
    "groups",
    [
        (NewGroup(), NewGroup()),
        (NewGroup(pattern="window-*"),),
        (NewGroup(devices=("window-1",)),),
        (NewGroup(labels={"site": "b"}),),
    ],
)
def test_a_group_of_nobody_is_refused(groups: tuple[NewGroup, ...]) -> None:
    with pytest.raises(ConfigError, match="groups"):
        chosen(*groups)


@pytest.mark.parametrize(
    ("counts", "success", "error", "expected"),
    [
        ({"applied": 9, "waiting": 1}, 0.9, 0.1, "succeeded"),
        ({"applied": 8, "waiting": 2}, 0.9, 0.1, "going"),
        ({"applied": 8, "failed": 1, "waiting": 1}, 0.9, 0.1, "failed"),
        ({"applied": 5, "failed": 1, "waiting": 4}, 0.9, 0.2, "going"),
        ({"applied": 5, "failed": 2, "waiting": 3}, 0.8, 0.2, "failed"),
        ({"applied": 5, "failed": 2, "waiting": 3}, 0.9, 1.0, "failed"),  # too few are left
        ({"failed": 1, "waiting": 9}, 0.1, 0.0, "failed"),
        ({"rolled_back": 1, "applied": 9}, 0.9, 0.1, "failed"),
        ({"applied": 1}, 1.0, 0.5, "succeeded"),
    ],
)
def test_thresholds(counts: dict[str, int], success: float, error: float, expected: str) -> None:
    facts = {"success": success, "error": error, "devices": sum(counts.values()), **counts}
    group = RolloutGroup.model_validate({"number": 0, "state": "running", **facts})
    assert verdict(group)[0] == expected
