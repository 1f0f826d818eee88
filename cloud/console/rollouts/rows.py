"""What stands in the rows of roll-outs, and what becomes of one."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Connection, and_, func, select, update

from cloud.console.migrations import rollout_devices as members
from cloud.console.migrations import rollout_groups as groups
from cloud.console.migrations import rollouts
from edgeloop.remote.rollouts import GroupState, Rollout, RolloutState

OPEN: tuple[RolloutState, ...] = ("ready", "running", "paused")
UNSETTLED = ("waiting", "fetching")
WITHDRAW = "withdraw"
"""In the place of an action: the order is to be taken back."""


class Told(NamedTuple):
    """What a device was told, or is to be told no more."""

    device: str
    action: str
    serial: int


def become(
    connection: Connection,
    rollout: str,
    before: Sequence[RolloutState],
    state: RolloutState,
    reason: str,
) -> bool:
    """Give a roll-out another state, if it has one of some; tell whether it had."""
    which = and_(rollouts.c.rollout == rollout, rollouts.c.state.in_(before))
    values = {"state": state, "reason": reason, "changed": datetime.now(UTC)}
    return bool(connection.execute(update(rollouts).where(which).values(**values)).rowcount)


def group_becomes(connection: Connection, rollout: str, number: int, state: GroupState) -> None:
    """Give a group another state."""
    which = and_(groups.c.rollout == rollout, groups.c.number == number)
    connection.execute(update(groups).where(which).values(state=state))


def tell_group(connection: Connection, found: Rollout, number: int) -> None:
    """Tell the devices of a group to have it; what another roll-out told them is replaced."""
    now = datetime.now(UTC)
    group_becomes(connection, found.rollout, number, "running")
    mine = and_(members.c.rollout == found.rollout, members.c.group == number)
    others = (
        select(rollouts.c.rollout)
        .where(rollouts.c.task == found.task, rollouts.c.kind == found.kind)
        .where(rollouts.c.rollout != found.rollout)
    )
    replaced = and_(
        members.c.rollout.in_(others),
        members.c.state.in_(UNSETTLED),
        members.c.device.in_(select(members.c.device).where(mine)),
    )
    why = f"replaced by roll-out {found.rollout}"
    values = {"state": "failed", "reason": why, "action": "", "changed": now}
    connection.execute(update(members).where(replaced).values(**values))
    told = {"action": "apply", "serial": next_serial(connection), "changed": now}
    connection.execute(update(members).where(mine).values(**told))


def withdraw(connection: Connection, rollout: str) -> None:
    """Take back what devices were told that have not begun."""
    which = and_(
        members.c.rollout == rollout,
        members.c.action == "apply",
        members.c.state.in_(UNSETTLED),
    )
    connection.execute(update(members).where(which).values(action=WITHDRAW))


def send_back(connection: Connection, rollout: str) -> None:
    """Tell those to go back that may have it."""
    which = and_(
        members.c.rollout == rollout,
        members.c.serial > 0,
        members.c.state.in_((*UNSETTLED, "applied")),
    )
    values = {
        "action": "roll back",
        "serial": next_serial(connection),
        "state": "waiting",
        "reason": "",
        "changed": datetime.now(UTC),
    }
    again = update(rollouts).where(rollouts.c.rollout == rollout)
    connection.execute(again.values(carried=True))
    connection.execute(update(members).where(which).values(**values))


def next_serial(connection: Connection) -> int:
    """Return a number for orders that is larger than all before: the millisecond, if it can be."""
    last = connection.scalar(select(func.max(members.c.serial))) or 0
    return max(int(datetime.now(UTC).timestamp() * 1000), last + 1)
