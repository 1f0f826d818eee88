"""What a run must not lose: its contract, where it stands, and the uploads of the open round."""

import logging
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Self

from sqlalchemy import Connection, Row, Select, delete, func, insert, select, update
from sqlalchemy.engine import URL

from cloud.aggregator.agreed import continued, row_of, stored
from cloud.aggregator.database import DAMAGED, Database, connect, translate_errors
from cloud.aggregator.migrations import asked, departures, late, members, rounds, runs, uploads
from cloud.aggregator.stored_uploads import StoredUploads
from cloud.aggregator.transactions import bytes_of, utc
from edgeloop.errors import ConfigError, RunError
from edgeloop.protocol.task import Contract
from edgeloop.protocol.wire import MAX_FRAME

log = logging.getLogger(__name__)

Without = Callable[[int, bytes, bytes], tuple[bytes, bytes]]
"""How many rounds were done, the state and the broadcast after them, to these without somebody."""


@dataclass(frozen=True)
class RoundCounts:
    """What the answers of a round add up to.

    Attributes:
        participants: clients that answered.
        test_correct: test samples that they classified right with the round's broadcast.
        test_samples: test samples that they have.
    """

    participants: int
    test_correct: int
    test_samples: int

    @property
    def accuracy(self) -> float | None:
        """The share of test samples classified right; None without any."""
        return self.test_correct / self.test_samples if self.test_samples else None


@dataclass(frozen=True)
class PastRound:
    """A closed round.

    Attributes:
        number: from 0.
        participants: clients that answered.
        accuracy: weighted by test samples; None without any.
        seconds: from its opening to its closing, with the time that the aggregator was down.
    """

    number: int
    participants: int
    accuracy: float | None
    seconds: float


class Ledger(StoredUploads):
    """The store of one run; `open` makes one. Any thread may use it.

    Attributes:
        is_open: whether it takes uploads.
        on_write: after each transaction that writes, how many seconds it took.

    Every method that writes is durable when it returns. All methods raise RunError if the database
    fails; all but `adopt` want `adopt` first.
    """

    def __init__(self, database: Database, keep: int, now: Callable[[], datetime]) -> None:
        super().__init__(database, now)
        self._keep = keep

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
            log.info("%d rounds are done, of now %d instead of %d", done, new.rounds, held.rounds)
            connection.execute(row.values(finished=None))
            evaluations = uploads.c.run == new.run, uploads.c.round >= held.rounds
            connection.execute(delete(uploads).where(*evaluations))
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
                problem = f"holds run {self._run} no more"
                raise RunError(self._database.name, problem, "restore it from a backup")
            self._database.retake(task)
        with self._write() as connection:
            connection.execute(update(runs).where(runs.c.run == self._run).values(task=task))

    def forget(self, task: str) -> int:
        """Remove a claimed task's runs; return how many there were."""
        theirs = select(runs.c.run).where(runs.c.task == task).scalar_subquery()
        with self._write() as connection:
            for table in (asked, late, members, departures, uploads, rounds):
                connection.execute(delete(table).where(table.c.run.in_(theirs)))
            return connection.execute(delete(runs).where(runs.c.task == task)).rowcount

    def begin(self, state: bytes, broadcast: bytes) -> None:
        """Store where a new run stands, as frames; nothing if the run has begun before."""
        with self._write() as connection:
            if connection.scalar(self._newest()) is None:
                self._store_state(connection, 0, state, broadcast)

    def run_state(self, before: int | None = None) -> tuple[int, bytes, bytes] | None:
        """Return how many rounds are done, the state and the broadcast; None before `begin`.

        Args:
            before: as it was with fewer rounds than these; None once that is pruned.
        """
        newest = self._newest().where(rounds.c.state.is_not(None))
        if before is not None:
            newest = newest.where(rounds.c.number < before)
        query = select(rounds.c.number, rounds.c.state, rounds.c.broadcast).where(
            rounds.c.run == self._run, rounds.c.number == newest.scalar_subquery()
        )
        with self._read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        if not isinstance(row.number, int) or not 0 <= row.number <= MAX_FRAME:
            raise RunError(self._database.name, *DAMAGED)
        return row.number, bytes_of(row.state), bytes_of(row.broadcast)

    def close_round(
        self, closed_number: int, state: bytes, broadcast: bytes, counts: RoundCounts
    ) -> None:
        """Store where the run stands after a round and what it came to, and prune: all or nothing.

        Raises:
            ValueError: if another round is open.
        """
        with self._write() as connection:
            if connection.scalar(self._newest()) != closed_number:
                raise ValueError(f"round {closed_number} is not the open one")
            connection.execute(
                update(rounds)
                .filter_by(run=self._run, number=closed_number)
                .values(closed=self._now(), **asdict(counts))
            )
            self._store_state(connection, closed_number + 1, state, broadcast)
            self._prune(connection, closed_number - self._keep)

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

    def committed(self) -> float | None:
        """Return when it last stored where the run stands, in seconds since 1970; None if never."""
        query = select(func.max(rounds.c.opened)).where(rounds.c.run == self._run)
        with self._read() as connection:
            newest = connection.scalar(query)
        if newest is None:
            return None
        return float((newest if newest.tzinfo else newest.replace(tzinfo=UTC)).timestamp())

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

    def history(self) -> list[PastRound]:
        """Return the closed rounds, in their order."""
        query = select(rounds).where(rounds.c.run == self._run, rounds.c.closed.is_not(None))
        with self._read() as connection:
            return [_past(row) for row in connection.execute(query.order_by(rounds.c.number))]

    def _newest(self) -> Select[Any]:
        return select(func.max(rounds.c.number)).where(rounds.c.run == self._run)

    def _store_state(
        self, connection: Connection, number: int, state: bytes, broadcast: bytes
    ) -> None:
        row = {"run": self._run, "number": number, "state": state, "broadcast": broadcast}
        connection.execute(insert(rounds).values(**row, opened=self._now()))

    def _prune(self, connection: Connection, last: int) -> None:
        self._prune_uploads(connection, last)
        old_rounds = update(rounds).where(rounds.c.run == self._run, rounds.c.number <= last)
        emptied = old_rounds.where(rounds.c.state.is_not(None)).values(state=None, broadcast=None)
        connection.execute(emptied)


def _past(row: Row[Any]) -> PastRound:
    counts = RoundCounts(row.participants, row.test_correct, row.test_samples)
    seconds = max(0.0, (row.closed - row.opened).total_seconds())  # a clock may be set back
    return PastRound(row.number, counts.participants, counts.accuracy, seconds)
