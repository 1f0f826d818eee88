"""Which devices are in which group of a roll-out, and how far a group is. No clock, no database."""

import hashlib
import math
from collections.abc import Callable, Collection, Sequence
from fnmatch import fnmatchcase
from typing import Literal

from edgeloop.errors import ConfigError
from edgeloop.remote.rollouts import NewGroup, RolloutGroup

Labelled = Callable[[dict[str, str]], Collection[str]]
"""Who has some labels."""

Verdict = Literal["going", "succeeded", "failed"]


def grouped(
    groups: Sequence[NewGroup], known: Collection[str], identity: str, labelled: Labelled
) -> list[list[str]]:
    """Return the devices of each group, sorted; a device is in one group at most.

    Args:
        groups: as they were asked for.
        known: the task's devices.
        identity: of the roll-out, by which shares are drawn.
        labelled: says who has some labels.

    Raises:
        ConfigError: if a group has no device, or names one that the task has not.
    """
    left, found = set(known), []
    for number, group in enumerate(groups):
        where = f"groups.{number}"
        if unknown := sorted(set(group.devices) - set(known)):
            problem = f"{unknown[0]} is no device of the task"
            raise ConfigError(f"{where}.devices", problem, "name devices that the task has")
        chosen = _chosen(group, left, identity, labelled)
        if not chosen:
            remedy = "see edgeloop device list, or take the group out"
            raise ConfigError(where, "has no device that no group before has", remedy)
        left -= set(chosen)
        found.append(sorted(chosen))
    return found


def _chosen(group: NewGroup, left: set[str], identity: str, labelled: Labelled) -> list[str]:
    fitting = left & set(group.devices) if group.devices else left
    if group.pattern is not None:
        fitting = {each for each in fitting if fnmatchcase(each, group.pattern)}
    if group.labels:
        fitting = fitting & set(labelled(group.labels))
    order = sorted(fitting, key=lambda name: hashlib.sha256(f"{identity} {name}".encode()).digest())
    share = 1.0 if group.share is None else group.share
    return order[: math.ceil(share * len(order) - 1e-9)]


def verdict(group: RolloutGroup) -> tuple[Verdict, str]:
    """Return whether a group has come to its end, and why it failed.

    It has failed at its error threshold, or when too few devices are left for its success.
    """
    bad = group.failed + group.rolled_back
    most = max(1, math.ceil(group.error * group.devices - 1e-9))
    if bad >= most:
        return "failed", f"{bad} of its {group.devices} devices failed: the error threshold"
    needed = math.ceil(group.success * group.devices - 1e-9)
    if group.applied >= needed:
        return "succeeded", ""
    if group.devices - bad < needed:
        text = f"{bad} of its {group.devices} devices failed: {needed} cannot have it any more"
        return "failed", text
    return "going", ""
