"""What stands in the rows of roll-outs, and what becomes of one."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Connection, and_, func, select, update

from cloud.console.migrations import rollout_devices as members
from cloud.console.migrations import rollouts
from edgeloop.remote.rollouts import RolloutState

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


def next_serial(connection: Connection) -> int:
    """Return a number for orders that is larger than all before: the millisecond, if it can be."""
    last = connection.scalar(select(func.max(members.c.serial))) or 0
    return max(int(datetime.now(UTC).timestamp() * 1000), last + 1)
