"""What a run must not lose: its contract, where it stands, and the uploads of the open round."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Self

from pydantic import ValidationError
from sqlalchemy import Connection, Row, Select, delete, func, insert, select, update
from sqlalchemy.engine import URL

from cloud.aggregator.database import DAMAGED, Database, connect, translate_errors
from cloud.aggregator.migrations import asked, departures, late, members, rounds, runs, uploads
from edgeloop.cohorts.uploads import Upload
from edgeloop.errors import ConfigError, EdgeloopError, RunError
from edgeloop.protocol.task import Contract
from edgeloop.protocol.wire import MAX_FRAME

Without = Callable[[int, bytes, bytes], tuple[bytes, bytes]]
"""How many rounds were done, the state and the broadcast after them, to these without somebody."""

LOCK_TIMEOUT_SECONDS = 60.0
"""For another program, such as one that makes a backup, to let go of a ledger."""


def utc() -> datetime:
    """Return the time now."""
    return datetime.now(UTC)


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


class Ledger:
    """The store of one run; `open` makes one. Any thread may use it.

    Attributes:
        is_open: whether it takes uploads.
        on_write: after each transaction that writes, how many seconds it took.

    Every method that writes is durable when it returns. All methods raise RunError if the database
    fails; all but `adopt` want `adopt` first.
    """

    def __init__(self, database: Database, keep: int, now: Callable[[], datetime]) -> None:
        self._database = database
        self._keep = keep
        self._now = now
        self._writing = threading.Lock()
        self._adopted: str | None = None
        self.is_open = True
        self.on_write: Callable[[float], None] = lambda seconds: None

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let another process have it. Closing twice does nothing."""
        with self._writing:
            self.is_open = False
            self._database.close()

    def adopt(self, contract: Contract) -> Contract:
        """Store a new run's contract, or return the one that the ledger continues with.

        Devices may have been added since: they join the run in its open round.

        Args:
            contract: with a fresh run in it, which counts only if the ledger holds none.

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
                connection.execute(insert(runs).values(**_row_of(contract), created=self._now()))
            stored = contract if text is None else _same(self._database.name, text, contract)
            if text is not None:
                row = update(runs).where(runs.c.run == stored.run)
                connection.execute(row.values(**_row_of(stored)))  # with the devices of today
        self._adopted = stored.run
        return stored

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
        stored = _stored(self._database.name, text)
        self._adopted = stored.run
        return stored

    def set_lock_timeout(self, seconds: float = LOCK_TIMEOUT_SECONDS) -> None:
        """Wait so long for another program's lock, as a run does that nobody watches."""
        self._database.wait(seconds)

    def claim(self, task: str) -> None:
        """Keep aggregators from a task that is not adopted.

        Raises:
            RunError: if one has it.
        """
        with translate_errors(self._database.name):
            self._database.take(task)

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
        return row.number, _bytes(row.state), _bytes(row.broadcast)

    def record(self, round_number: int, client: str, digest: str, payload: bytes) -> None:
        """Store an upload; the same one again changes nothing.

        Raises:
            ValueError: if the round holds another upload of this client.
        """
        self.record_all(round_number, [Upload(client, digest, payload)])

    def record_all(self, round_number: int, uploaded: Sequence[Upload]) -> None:
        """Store uploads to one round in one transaction; those that it holds change nothing.

        Raises:
            ValueError: if the round holds another upload of one of the clients; the others are
                stored.
        """
        new = {each.client: each for each in reversed(uploaded)}  # the first of a client counts
        with self._write() as connection:
            held = self._digests(connection, round_number, new)
            names = sorted(new.keys() - held.keys())
            rows = [row_of(self._run, round_number, new[name], self._now()) for name in names]
            if rows:
                connection.execute(insert(uploads), rows)
        held.update((name, each.digest) for name, each in new.items() if name not in held)
        for each in uploaded:
            if held[each.client] != each.digest:
                raise ValueError(f"round {round_number} holds another upload of {each.client}")

    def _digests(
        self, connection: Connection, round_number: int, clients: Collection[str]
    ) -> dict[str, str]:
        """Return what a round holds of clients: digests of uploads by client."""
        query = select(uploads.c.device, uploads.c.digest).where(
            uploads.c.run == self._run,
            uploads.c.round == round_number,
            uploads.c.device.in_(clients),
        )
        return {row.device: row.digest for row in connection.execute(query)}

    def recall(self, round_number: int) -> dict[str, bytes]:
        """Return a round's uploads by client, in the order of their names; none once pruned."""
        query = select(uploads.c.device, uploads.c.payload).where(
            uploads.c.run == self._run,
            uploads.c.round == round_number,
            uploads.c.payload.is_not(None),
        )
        with self._read() as connection:  # sorted here: databases differ in the order of names
            found = {row.device: _bytes(row.payload) for row in connection.execute(query)}
        return dict(sorted(found.items()))

    def held(self, round_number: int, client: str) -> str | None:
        """Return the digest of a client's upload to a round, also of a closed one; None if none."""
        key = {"run": self._run, "round": round_number, "device": client}
        with self._read() as connection:
            return connection.scalar(select(uploads.c.digest).filter_by(**key))

    def drop(self, round_number: int, client: str) -> None:
        """Forget an upload, so that its client may send another."""
        key = {"run": self._run, "round": round_number, "device": client}
        with self._write() as connection:
            connection.execute(delete(uploads).filter_by(**key))

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
            for row in connection.execute(kept).all():
                state, broadcast = without(row.number, _bytes(row.state), _bytes(row.broadcast))
                at = update(rounds).filter_by(run=self._run, number=row.number)
                connection.execute(at.values(state=state, broadcast=broadcast))
            connection.execute(gone)
            for device in new:
                row_of = {"run": self._run, "device": device, "left": self._now()}
                connection.execute(insert(departures).values(**row_of))
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

    @property
    def is_shared(self) -> bool:
        """Whether several processes may write to it."""
        return self._database.shared

    @property
    def run(self) -> str:
        """The adopted run."""
        return self._run

    def now(self) -> datetime:
        """Return the time by the ledger's clock."""
        return self._now()

    def reading(self) -> AbstractContextManager[Connection]:
        """Return a transaction that reads, for a table with a module of its own."""
        return self._read()

    def writing(self) -> AbstractContextManager[Connection]:
        """Return a transaction that writes; it is durable when its block ends."""
        return self._write()

    @property
    def _run(self) -> str:
        if self._adopted is None:
            raise RuntimeError("adopt a contract first")
        return self._adopted

    def _newest(self) -> Select[Any]:
        return select(func.max(rounds.c.number)).where(rounds.c.run == self._run)

    def _store_state(
        self, connection: Connection, number: int, state: bytes, broadcast: bytes
    ) -> None:
        row = {"run": self._run, "number": number, "state": state, "broadcast": broadcast}
        connection.execute(insert(rounds).values(**row, opened=self._now()))

    def _prune(self, connection: Connection, last: int) -> None:
        old = uploads.c.run == self._run, uploads.c.round <= last, uploads.c.payload.is_not(None)
        gone = connection.scalars(select(uploads.c.round).where(*old).distinct()).all()
        connection.execute(update(uploads).where(*old).values(payload=None))
        if gone and not self._database.shared:
            self._rewrite(connection, gone)
        old_rounds = update(rounds).where(rounds.c.run == self._run, rounds.c.number <= last)
        emptied = old_rounds.where(rounds.c.state.is_not(None)).values(state=None, broadcast=None)
        connection.execute(emptied)

    def _rewrite(self, connection: Connection, numbers: Collection[int]) -> None:
        """Make rounds' uploads anew: SQLite fills no gap that a row leaves by becoming shorter."""
        theirs = uploads.c.run == self._run, uploads.c.round.in_(numbers)
        rows = connection.execute(select(uploads).where(*theirs)).mappings().all()
        connection.execute(delete(uploads).where(*theirs))
        connection.execute(insert(uploads), [dict(row) for row in rows])

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        self._check_open()
        name = self._database.name
        try:
            with translate_errors(name), self._database.engine.connect() as connection:
                yield connection
        except EdgeloopError:
            raise
        except (TypeError, ValueError) as error:  # SQLite keeps a text where a time should be
            raise RunError(name, *DAMAGED) from error

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with self._writing:
            self._check_open()
            begun = time.monotonic()
            with translate_errors(self._database.name), self._database.writing() as connection:
                yield connection
            self.on_write(time.monotonic() - begun)

    def _check_open(self) -> None:
        if not self.is_open:
            raise RunError(self._database.name, "is closed", "open it again")


def row_of(run: str, round_number: int, upload: Upload, now: datetime) -> dict[str, Any]:
    """Return an upload as a row of its table."""
    return {
        "run": run,
        "round": round_number,
        "device": upload.client,
        "digest": upload.digest,
        "payload": upload.payload,
        "size": len(upload.payload),
        "received": now,
    }


def _bytes(value: Any) -> bytes:
    """Return what a column of bytes holds; nothing where SQLite holds something else there."""
    return value if isinstance(value, bytes) else b""


def _row_of(contract: Contract) -> dict[str, str]:
    fields = json.dumps(_without_run(contract), sort_keys=True)
    return {
        "run": contract.run,
        "task": contract.task,
        "contract": contract.text(),
        "digest": hashlib.sha256(fields.encode()).hexdigest(),
    }


def _without_run(contract: Contract) -> dict[str, Any]:
    return contract.model_dump(mode="json", exclude={"run"})


def _same(name: str, text: str, contract: Contract) -> Contract:
    """Return the stored contract, if it is the given one but for the run, and more devices."""
    stored = _stored(name, text)
    if set(contract.devices) > set(stored.devices):
        stored = stored.model_copy(update={"devices": contract.devices})
    held, wanted = _without_run(stored), _without_run(contract)
    if differing := _differing(held, wanted):
        problem = f"holds another run (task {stored.task}, other {', '.join(differing)})"
        raise RunError(name, problem, "use another folder")
    return stored


def _stored(name: str, text: str) -> Contract:
    try:
        return Contract.model_validate_json(text)
    except ValidationError as error:
        problem = "holds a contract that this edgeloop cannot read"
        raise RunError(name, problem, "use another folder") from error


def _differing(held: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Return the keys of which the values differ; of the options, their own keys."""
    keys = [key for key in wanted if held[key] != wanted[key] and key != "options"]
    there, here = held["options"], wanted["options"]
    return keys + [name for name in {**there, **here} if there.get(name) != here.get(name)]


def _past(row: Row[Any]) -> PastRound:
    counts = RoundCounts(row.participants, row.test_correct, row.test_samples)
    seconds = max(0.0, (row.closed - row.opened).total_seconds())  # a clock may be set back
    return PastRound(row.number, counts.participants, counts.accuracy, seconds)
