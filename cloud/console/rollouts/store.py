"""Roll-outs in the server's database: what was begun, who was told what, and what came of it."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, and_, bindparam, func, insert, select, update

from cloud.console.migrations import devices as known_devices
from cloud.console.migrations import rollout_devices as members
from cloud.console.migrations import rollout_groups as groups
from cloud.console.migrations import rollouts, tasks
from cloud.console.rollouts import hearing
from cloud.console.rollouts.rows import (
    OPEN,
    UNSETTLED,
    WITHDRAW,
    Told,
    become,
    group_becomes,
    send_back,
    tell_group,
    withdraw,
)
from cloud.console.sources import ImpossibleError
from cloud.console.store import Store, note
from edgeloop.remote.models import Page
from edgeloop.remote.rollouts import (
    NewRollout,
    Rollout,
    RolloutDevice,
    RolloutGroup,
    RolloutState,
)

MOST_CARRIED = 10_000
"""Roll-outs at once."""


class RolloutStore:
    """The roll-outs of a server; any thread may ask.

    Args:
        store: the server's database.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._database = store, store.database

    # ---- what there is

    def page(
        self, task: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page[Rollout]:
        """Return roll-outs, of a task or of all, by their identities, with their groups."""
        query = select(rollouts)
        if task is not None:
            query = query.where(rollouts.c.task == task)
        keys = [rollouts.c.rollout]
        found = self._store.page(Rollout, query, keys, after, limit, newest=True)
        whole = self._groups([each.rollout for each in found.items])
        items = tuple(
            each.model_copy(update={"groups": tuple(whole.get(each.rollout, ()))})
            for each in found.items
        )
        return Page[Rollout](items=items, next=found.next)

    def rollout(self, rollout: str) -> Rollout:
        """Return a roll-out with its groups.

        Raises:
            UnknownError: if there is none.
        """
        query = select(rollouts).where(rollouts.c.rollout == rollout)
        found = self._store.one(Rollout, query, rollout, "roll-out")
        return found.model_copy(update={"groups": tuple(self._groups([rollout]).get(rollout, ()))})

    def devices(
        self,
        rollout: str,
        state: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page[RolloutDevice]:
        """Return the devices of a roll-out, by their names."""
        query = select(members).where(members.c.rollout == rollout)
        if state is not None:
            query = query.where(members.c.state == state)
        return self._store.page(RolloutDevice, query, [members.c.device], after, limit)

    def known(self, task: str) -> list[str]:
        """Return the names of a task's devices that take part."""
        query = select(known_devices.c.name).where(
            known_devices.c.task == task, known_devices.c.evicted.is_(False)
        )
        with self._database.reading() as connection:
            return list(connection.scalars(query))

    def _groups(self, identities: Sequence[str]) -> dict[str, list[RolloutGroup]]:
        with self._database.reading() as connection:
            rows = connection.execute(
                select(groups)
                .where(groups.c.rollout.in_(identities))
                .order_by(groups.c.rollout, groups.c.number)
            ).all()
            counted = connection.execute(
                select(members.c.rollout, members.c.group, members.c.state, func.count())
                .where(members.c.rollout.in_(identities))
                .group_by(members.c.rollout, members.c.group, members.c.state)
            ).all()
        counts: dict[tuple[str, int], dict[str, int]] = {}
        for rollout, number, state, count in counted:
            counts.setdefault((rollout, number), {})[state.replace(" ", "_")] = count
        found: dict[str, list[RolloutGroup]] = {}
        for row in rows:
            facts = {**row._mapping, **counts.get((row.rollout, row.number), {})}
            facts["devices"] = sum(counts.get((row.rollout, row.number), {}).values())
            found.setdefault(row.rollout, []).append(RolloutGroup.model_validate(facts))
        return found

    # ---- what is begun, and what becomes of it

    def create(self, found: Rollout, asked: NewRollout, chosen: Sequence[Sequence[str]]) -> None:
        """Write a roll-out down.

        Args:
            found: the roll-out.
            asked: what it was made of.
            chosen: the devices of each group.

        Raises:
            ImpossibleError: if there is another open one of its task and kind.
        """
        row = found.model_dump(exclude={"groups"})
        with self._database.writing() as connection:
            task = select(tasks.c.name).where(tasks.c.name == found.task)
            connection.execute(task.with_for_update())  # who asks at the same time waits
            other = connection.scalar(
                select(rollouts.c.rollout).where(
                    rollouts.c.task == found.task,
                    rollouts.c.kind == found.kind,
                    rollouts.c.state.in_(OPEN),
                )
            )
            if other is not None:
                problem = f"has roll-out {other} of a {found.kind} under way"
                raise ImpossibleError(found.task, problem, "stop it, or wait until it has ended")
            connection.execute(insert(rollouts).values(**row, carried=True))
            for number, (group, names) in enumerate(zip(asked.groups, chosen, strict=True)):
                facts = {"name": group.name, "success": group.success, "error": group.error}
                own = {"rollout": found.rollout, "number": number, "state": "scheduled"}
                connection.execute(insert(groups).values(**own, **facts))
                member = {
                    "rollout": found.rollout,
                    "group": number,
                    "state": "waiting",
                    "reason": "",
                    "action": "",
                    "serial": 0,
                    "changed": found.begun,
                }
                rows = [{**member, "device": name} for name in names]
                connection.execute(insert(members), rows)

    def become(
        self,
        rollout: str,
        before: Sequence[RolloutState],
        state: RolloutState,
        reason: str = "",
        *,
        failed: int | None = None,
        noted: bool = False,
    ) -> bool:
        """Give a roll-out another state, if it has one of some; tell whether it had.

        With it, what devices of one that is stopped were told and have not begun is taken back, and
        those of one that is rolled back are told to go back.

        Args:
            rollout: its identity.
            before: the states that it may have.
            state: that it gets.
            reason: why.
            failed: the number of the group that has failed with it.
            noted: whether the audit says it of the server itself.
        """
        with self._database.writing() as connection:
            if not become(connection, rollout, before, state, reason):
                return False
            if failed is not None:
                group_becomes(connection, rollout, failed, "failed")
            if state == "stopped":
                withdraw(connection, rollout)
            elif state == "rolled back":
                send_back(connection, rollout)
            if noted:
                detail = f"{state}: {reason}" if reason else state
                note(connection, "server", "rollout", rollout, "done", detail)
        return True

    def group_succeeds(self, rollout: str, number: int) -> None:
        """Have the next group be the one that is begun."""
        with self._database.writing() as connection:
            group_becomes(connection, rollout, number, "succeeded")

    def begin_group(self, found: Rollout, number: int) -> bool:
        """Tell the devices of a group to have it; what another roll-out told them is replaced.

        Return whether it was begun: not where somebody has stopped or paused it meanwhile.
        """
        still = select(rollouts.c.rollout).where(
            rollouts.c.rollout == found.rollout, rollouts.c.state == "running"
        )
        with self._database.writing() as connection:
            if connection.scalar(still.with_for_update()) is None:
                return False
            tell_group(connection, found, number)
        return True

    def hear(self, task: str, said: Sequence[hearing.Saying]) -> list[hearing.News]:
        """Take what devices of a task say; return what was not known."""
        if not said:
            return []
        with self._database.writing() as connection:
            return hearing.hear(connection, task, said)

    # ---- what the broker is to keep

    def carried(self) -> list[Rollout]:
        """Return the roll-outs of which the broker may keep something, without their groups."""
        query = select(rollouts).where(rollouts.c.carried.is_(True))
        found = self._store.page(Rollout, query, [rollouts.c.rollout], None, MOST_CARRIED)
        return list(found.items)

    def drop(self, rollout: str) -> None:
        """The broker keeps nothing of a roll-out any more, unless it was asked back meanwhile."""
        which = and_(rollouts.c.rollout == rollout, ~_unsettled(rollout).exists())
        with self._database.writing() as connection:
            connection.execute(update(rollouts).where(which).values(carried=False))

    def withdrawn(self, rollout: str, names: Sequence[str]) -> None:
        """The broker has taken back what these devices were told."""
        which = and_(
            members.c.rollout == rollout,
            members.c.device == bindparam("of_device"),
            members.c.action == WITHDRAW,
        )
        rows = [{"of_device": each} for each in names]
        with self._database.writing() as connection:
            connection.execute(update(members).where(which).values(action=""), rows)

    def told(self, found: Rollout, action: str | None = None) -> list[Told]:
        """Return what devices were told by a roll-out, as far as it is the newest for them.

        Args:
            found: the roll-out.
            action: of those who were told this alone; None for all.
        """
        one, other = members.alias("one"), members.alias("other")
        newer = (
            select(other.c.device)
            .join(rollouts, rollouts.c.rollout == other.c.rollout)
            .where(
                other.c.device == one.c.device,
                other.c.serial > one.c.serial,
                rollouts.c.task == found.task,
                rollouts.c.kind == found.kind,
            )
        )
        query: Select[Any] = (
            select(one.c.device, one.c.action, one.c.serial)
            .where(one.c.rollout == found.rollout, one.c.serial > 0, one.c.action != "")
            .where(~newer.exists())
        )
        if action is not None:
            query = query.where(one.c.action == action)
        with self._database.reading() as connection:
            return [Told(*row) for row in connection.execute(query)]

    def newer(self, found: Rollout) -> str | None:
        """Return a roll-out of the same task and kind that told devices something later."""
        query = (
            select(rollouts.c.rollout)
            .join(members, members.c.rollout == rollouts.c.rollout)
            .where(rollouts.c.task == found.task, rollouts.c.kind == found.kind)
            .where(rollouts.c.begun > found.begun, rollouts.c.state != "rolled back")
            .where(members.c.serial > 0)
            .limit(1)
        )
        with self._database.reading() as connection:
            name: str | None = connection.scalar(query)
        return name

    def newest_serial(self, rollout: str) -> int:
        """Return the number of what a roll-out told devices last; 0 if it has told nothing."""
        newest = select(func.max(members.c.serial)).where(members.c.rollout == rollout)
        with self._database.reading() as connection:
            return connection.scalar(newest) or 0

    def is_settled(self, rollout: str) -> bool:
        """Return whether nobody who was told something has still to answer."""
        with self._database.reading() as connection:
            return connection.execute(_unsettled(rollout).limit(1)).one_or_none() is None


def _unsettled(rollout: str) -> Select[Any]:
    """Ask for the devices that were told something and have still to answer."""
    return select(members.c.device).where(
        members.c.rollout == rollout,
        members.c.action != "",
        members.c.state.in_(UNSETTLED),
    )
