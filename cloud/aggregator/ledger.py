"""What a run must not lose: its contract, where it stands, and the uploads of the open round."""

import logging
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Self

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.engine import URL

from cloud.aggregator.agreed import continued, row_of, stored
from cloud.aggregator.database import connect
from cloud.aggregator.database_errors import translate_errors
from cloud.aggregator.migrations import (
    asked,
    departures,
    late,
    members,
    rounds,
    runs,
    steps,
    uploads,
)
from cloud.aggregator.stored_rounds import PastRound as PastRound
from cloud.aggregator.stored_rounds import RoundCounts as RoundCounts
from cloud.aggregator.stored_rounds import StoredRounds
from cloud.aggregator.transactions import bytes_of, utc
from edgeloop.errors import ConfigError, RunError
from edgeloop.protocol.task import Contract

log = logging.getLogger(__name__)

Without = Callable[[int, bytes, bytes], tuple[bytes, bytes]]
"""How many rounds were done, the state and the broadcast after them, to these without somebody."""


class Ledger(StoredRounds):
    """The store of one run; `open` makes one. Any thread may use it.

    Attributes:
        is_open: whether it takes uploads.
        on_write: after each transaction that writes, how many seconds it took.

    Every method that writes is durable when it returns. All methods raise RunError if the database
    fails; all but `adopt` want `adopt` first.
    """

    @classmethod
    def open(
        cls,
        url: str | URL,
        *,
        keep_rounds: int = 2,
        busy_seconds: float = 5.0,
        now: Callable[[], datetime] = utc,
    ) -> Self:
        """Open a ledger, create it, or bring an older one up to date.

        Args:
            url: of the database, for instance `sqlite:////var/lib/edgeloop/ledger.sqlite`, which
                is one task's, or `postgresql://user:password@host/edgeloop`, which tasks share.
            keep_rounds: closed rounds whose payloads, state and broadcast are kept, at least 1.
            busy_seconds: how long to wait for another program's lock on the database.
            now: the clock.

        Raises:
            ConfigError: if the URL is none, or of a database that there is no driver for.
            RunError: if another aggregator has it open, or it is locked, damaged, no ledger, a
                newer edgeloop's, or cannot be written.
        """
        if keep_rounds < 1:
            raise ConfigError("keep_rounds", f"is {keep_rounds}", "keep at least 1")
        return cls(connect(url, busy_seconds), keep_rounds, now)

    def adopt(self, contract: Contract, unchosen: Collection[str] = ()) -> Contract:
        """Store a new run's contract, or return the one that the ledger continues with.

        Devices may have been added since: they join the run in its open round. So may rounds, to a
        finished run too: it goes on where it stands, and is not finished any more.

        Args:
            contract: with a fresh run in it, which counts only if the ledger holds none.
            unchosen: fields of it that nobody has asked for: a run that is held keeps its own.

        Raises:
            RunError: if the ledger holds a run with another contract, or another aggregator has
                the task.
        """
        self._database.take(contract.task)
        first = select(runs.c.contract).order_by(runs.c.created).limit(1)
        if self._database.shared:
            first = first.where(runs.c.task == contract.task)
        with self._write() as connection:
            text = connection.scalar(first)
            if text is None:
                connection.execute(insert(runs).values(**row_of(contract), created=self._now()))
                self._adopted = contract.run
                return contract
            held = stored(self._database.name, text)
            self._adopted = held.run
            return self._continue(connection, held, contract, unchosen)

    def _continue(
        self, connection: Connection, held: Contract, wanted: Contract, unchosen: Collection[str]
    ) -> Contract:
        done = connection.scalar(self._newest()) or 0
        new = continued(self._database.name, held, wanted, done, unchosen)
        row = update(runs).where(runs.c.run == new.run)
        connection.execute(row.values(**row_of(new)))  # with the devices and rounds of today
        if new.rounds > held.rounds:
            log.info(
                "%d rounds are done; the run now has %d instead of %d",
                done,
                new.rounds,
                held.rounds,
            )
            connection.execute(row.values(finished=None))
            evaluations = uploads.c.run == new.run, uploads.c.round >= held.rounds
            connection.execute(delete(uploads).where(*evaluations))
            if done >= held.rounds:  # it was the last evaluation: as a round it begins now
                first = update(rounds).filter_by(run=new.run, number=done)
                connection.execute(first.values(opened=self._now()))
        return new

    def hold(self, task: str) -> Contract | None:
        """Go on with a task's run as it was agreed; None if the ledger holds none.

        Raises:
            RunError: if another aggregator has the task.
        """
        self.claim(task)
        return self.join(task)

    def join(self, task: str) -> Contract | None:
        """Go on with a task's run beside its aggregator; None if the ledger holds none."""
        newest = select(runs.c.contract).where(runs.c.task == task).order_by(runs.c.created)
        with self._read() as connection:
            text = connection.scalar(newest.limit(1))
        if text is None:
            return None
        held = stored(self._database.name, text)
        self._adopted = held.run
        return held

    def claim(self, task: str) -> None:
        """Keep aggregators from a task that is not adopted.

        Raises:
            RunError: if one has it.
        """
        with translate_errors(self._database.name):
            self._database.take(task)

    def renew(self) -> None:
        """Connect again after an outage, hold the task again, and see that it can be written.

        Raises:
            StorageError: if the database is not back.
            TakenError: if another aggregator has the task by now.
        """
        row = select(runs.c.task).where(runs.c.run == self._run)
        with translate_errors(self._database.name):
            with self._database.engine.connect() as connection:
                task = connection.scalar(row)
            if task is None:
                problem = f"no longer holds run {self._run}"
                raise RunError(self._database.name, problem, "restore it from a backup")
            self._database.retake(task)
        with self._write() as connection:
            connection.execute(update(runs).where(runs.c.run == self._run).values(task=task))

    def forget(self, task: str) -> int:
        """Remove a claimed task's runs; return how many there were."""
        theirs = select(runs.c.run).where(runs.c.task == task).scalar_subquery()
        with self._write() as connection:
            for table in (asked, late, members, departures, steps, uploads, rounds):
                connection.execute(delete(table).where(table.c.run.in_(theirs)))
            return connection.execute(delete(runs).where(runs.c.task == task)).rowcount

    def departed(self) -> frozenset[str]:
        """Return which devices were taken out of the run."""
        query = select(departures.c.device).where(departures.c.run == self._run)
        with self._read() as connection:
            return frozenset(connection.scalars(query))

    def take_out(self, devices: Collection[str], without: Without) -> None:
        """Remove devices' uploads, and their part in where the run stood: all or nothing.

        Args:
            devices: their names.
            without: the number of a row, its state and its broadcast as frames, to the same without
                these devices.
        """
        kept = select(rounds).where(rounds.c.run == self._run, rounds.c.state.is_not(None))
        gone = delete(uploads).where(uploads.c.run == self._run, uploads.c.device.in_(devices))
        new = sorted(set(devices) - self.departed())
        with self._write() as connection:
            for each in connection.execute(kept).all():
                was = bytes_of(each.state), bytes_of(each.broadcast)
                state, broadcast = without(each.number, *was)
                at = update(rounds).filter_by(run=self._run, number=each.number)
                connection.execute(at.values(state=state, broadcast=broadcast))
            connection.execute(gone)
            # Of few devices a mean tells what one of them has said.
            connection.execute(update(rounds).filter_by(run=self._run).values(measures=None))
            for device in new:
                row = {"run": self._run, "device": device, "left": self._now()}
                connection.execute(insert(departures).values(**row))
            for table in (members, asked, late):
                theirs = delete(table).where(table.c.run == self._run)
                connection.execute(theirs.where(table.c.device.in_(devices)))

    def scrub(self) -> None:
        """Leave nothing of what was removed in the database's file."""
        with self._writing:
            self._check_open()
            with translate_errors(self._database.name):
                self._database.scrub()

    def finish(self) -> None:
        """Mark the run as done."""
        done = update(runs).where(runs.c.run == self._run).values(finished=self._now())
        with self._write() as connection:
            connection.execute(done.where(runs.c.finished.is_(None)))

    def finished(self) -> bool:
        """Return whether the run is done."""
        query = select(runs.c.finished).where(runs.c.run == self._run)
        with self._read() as connection:
            return connection.scalar(query) is not None
