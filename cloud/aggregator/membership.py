"""Who is in a run, as its ledger holds it: devices that were admitted, and those who are out."""

import logging
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import delete, func, insert, select, update

from cloud.aggregator.ledger import Ledger
from cloud.aggregator.migrations import asked, late, members, uploads
from cloud.aggregator.migrations import rounds as round_table
from cloud.aggregator.settings import TaskSettings
from cloud.aggregator.stored_uploads import answered_round
from edgeloop.errors import RunError
from edgeloop.protocol.task import Contract

log = logging.getLogger(__name__)

EVICTED = "evicted"


@dataclass(frozen=True)
class Membership:
    """A device's part in a run, as far as it is no plain one from its begin to its end.

    Attributes:
        device: its name.
        since: the round that it joined with.
        until: the round from which on it is out; None while it is in.
        reason: why it is out.
    """

    device: str
    since: int
    until: int | None = None
    reason: str | None = None


class LedgerMembers:
    """The admissions and evictions of the run that a ledger has adopted.

    All methods raise RunError if the database fails.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def all(self) -> list[Membership]:
        """Return who was admitted or evicted, in the order of the names."""
        query = select(members).where(members.c.run == self._ledger.run)
        with self._ledger.reading() as connection:
            rows = connection.execute(query).all()
        found = [Membership(row.device, row.since, row.until, row.reason) for row in rows]
        return sorted(found, key=lambda each: each.device)

    def admitted(self) -> Collection[str]:
        """Return who was admitted, and is still in the run."""
        return [each.device for each in self.all() if each.until is None]

    def evicted(self) -> frozenset[str]:
        """Return who was evicted."""
        return frozenset(each.device for each in self.all() if each.reason == EVICTED)

    def admit(self, device: str, round_number: int) -> None:
        """Write that a device takes part from a round on; again changes nothing."""
        key = {"run": self._ledger.run, "device": device}
        with self._ledger.writing() as connection:
            if connection.scalar(select(members.c.since).filter_by(**key)) is None:
                row = {**key, "since": round_number, "joined": self._ledger.now()}
                connection.execute(insert(members).values(**row))

    def evict(self, devices: Collection[str]) -> None:
        """Write that devices are out from the open round on; their answers to it count no more."""
        run, now = self._ledger.run, self._ledger.now()
        with self._ledger.writing() as connection:
            newest = select(func.max(round_table.c.number)).where(round_table.c.run == run)
            number = connection.scalar(newest) or 0
            opened = select(round_table.c.number).filter_by(run=run, number=number)
            connection.execute(opened.with_for_update())  # nobody writes uploads meanwhile
            for device in sorted(devices):
                key = {"run": run, "device": device}
                if connection.scalar(select(members.c.since).filter_by(**key)) is None:
                    connection.execute(insert(members).values(**key, since=0, joined=now))
                out = {"until": number, "ended": now, "reason": EVICTED}
                connection.execute(update(members).filter_by(**key).values(**out))
                connection.execute(delete(uploads).filter_by(**key, round=number))

    def trained(self, device: str, rounds: Collection[int]) -> None:
        """Write that a device has trained in closed rounds that hold no answer of it."""
        key = {"run": self._ledger.run, "device": device}
        with self._ledger.writing() as connection:
            newest = select(func.max(round_table.c.number)).filter_by(run=self._ledger.run)
            open_round = connection.scalar(newest) or 0
            known = {
                number
                for column in (answered_round(), late.c.round)
                for number in connection.scalars(select(column).filter_by(**key))
            }
            new = [each for each in sorted(rounds) if each not in known and each < open_round]
            if new:
                connection.execute(insert(late), [{**key, "round": each} for each in new])

    def asked(self, round_number: int) -> Collection[str]:
        """Return who was asked in a round; nobody where everybody was, or it has not opened."""
        query = select(asked.c.device).filter_by(run=self._ledger.run, round=round_number)
        with self._ledger.reading() as connection:
            return sorted(connection.scalars(query))

    def ask(self, round_number: int, devices: Collection[str]) -> None:
        """Write who is asked in a round."""
        key = {"run": self._ledger.run, "round": round_number}
        with self._ledger.writing() as connection:
            connection.execute(insert(asked), [{**key, "device": each} for each in sorted(devices)])


def remaining(contract: Contract, ledger: Ledger) -> Contract:
    """Return a contract without those who are out of its run: taken out, or evicted."""
    gone = ledger.departed() | LedgerMembers(ledger).evicted()
    return contract.without(gone) if gone else contract


def check_begun(settings: TaskSettings, remedy: str) -> None:
    """Refuse a task whose aggregator has not made a ledger yet; a server's database is not asked.

    Args:
        settings: of the task.
        remedy: what to do instead, before the task begins.

    Raises:
        ConfigError: if the ledger's URL cannot be read, or is none.
        RunError: if there is no ledger.
    """
    file = settings.ledger_file()
    if file is not None and not file.exists():
        raise RunError(f"task {settings.name}", f"has not begun: there is no {file}", remedy)


def held_run(task: str, ledger: Ledger) -> Contract:
    """Return the contract of a task's run, and hold the ledger to it.

    Raises:
        RunError: if the ledger holds no run of the task, or cannot be used.
    """
    contract = ledger.hold(task)
    if contract is None:
        remedy = "start its aggregator first, or name the task's own file"
        raise RunError("the ledger", f"holds no run of {task}: it has not begun", remedy)
    return contract
