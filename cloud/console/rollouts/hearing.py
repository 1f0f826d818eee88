"""What devices say of roll-outs, written down many at a time: a commit waits for the disk."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, bindparam, select, update

from cloud.console.migrations import rollout_devices as members
from cloud.console.migrations import rollouts
from edgeloop.protocol.rollout import Outcome

BAD = ("failed", "rolled back")
ENDED = ("succeeded", "stopped")

Saying = tuple[str, Outcome]
"""A device's name, and what it says."""


class News(NamedTuple):
    """What a device has said that was not known.

    Attributes:
        device: its name.
        told: what it says.
        is_late: whether it had what was rolled out, and says after the roll-out's end that it is
            bad.
    """

    device: str
    told: Outcome
    is_late: bool


def hear(connection: Connection, task: str, said: Sequence[Saying]) -> list[News]:
    """Write down what devices of a task say, in this order; return what was not known.

    What is no answer to a device's last order is ignored. The roll-outs' rows are locked first, as
    who stops one or has it go back does: each waits for the other, and neither for both.
    """
    by_rollout: dict[str, list[Saying]] = {}
    for each in said:
        by_rollout.setdefault(each[1].rollout, []).append(each)
    known = select(rollouts.c.rollout, rollouts.c.kind, rollouts.c.state).where(
        rollouts.c.task == task, rollouts.c.rollout.in_(list(by_rollout))
    )
    news: list[News] = []
    locked = known.order_by(rollouts.c.rollout).with_for_update()
    for rollout, kind, state in connection.execute(locked).all():
        of_kind = [each for each in by_rollout[rollout] if each[1].kind == kind]
        news += _hear_of(connection, rollout, of_kind, has_ended=state in ENDED)
    return news


def _hear_of(
    connection: Connection, rollout: str, said: Sequence[Saying], *, has_ended: bool
) -> list[News]:
    """Do so with what is said of one roll-out."""
    names = sorted({device for device, _ in said})
    mine = and_(members.c.rollout == rollout, members.c.device.in_(names))
    columns = members.c.device, members.c.serial, members.c.state, members.c.reason
    rows = connection.execute(select(*columns).where(mine)).all()
    serials = {each.device: each.serial for each in rows}
    now = {each.device: (each.state, each.reason) for each in rows}
    news: list[News] = []
    for device, told in said:
        if serials.get(device) != told.serial or now[device] == (told.state, told.reason):
            continue
        had_it = now[device][0] == "applied" and has_ended
        now[device] = told.state, told.reason
        news.append(News(device, told, is_late=had_it and told.state in BAD))
    _write(connection, rollout, {each.device: each.told for each in news})
    return news


def _write(connection: Connection, rollout: str, told: dict[str, Outcome]) -> None:
    if not told:
        return
    which = and_(
        members.c.rollout == rollout,
        members.c.device == bindparam("of_device"),
        members.c.serial == bindparam("of_serial"),
    )
    named: dict[str, Any] = {"state": bindparam("is_state"), "reason": bindparam("is_reason")}
    changed = update(members).where(which).values(**named, changed=datetime.now(UTC))
    rows = [
        {
            "of_device": device,
            "of_serial": each.serial,
            "is_state": each.state,
            "is_reason": each.reason,
        }
        for device, each in told.items()
    ]
    connection.execute(changed, rows)
