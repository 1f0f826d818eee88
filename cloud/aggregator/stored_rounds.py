"""The rounds of a run in its ledger: where it stands, and what each came to."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Row, Select, func, insert, select, update

from cloud.aggregator.database import Database
from cloud.aggregator.database_errors import DAMAGED
from cloud.aggregator.migrations import rounds
from cloud.aggregator.stored_uploads import StoredUploads
from cloud.aggregator.transactions import bytes_of
from edgeloop.errors import RunError
from edgeloop.protocol.wire import MAX_FRAME


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
        measures: finite numbers that its devices and its algorithm tell, by name.
        bytes_up, bytes_down, low, median, high: what a running aggregator adds, as
            `answer_record.RoundFacts` has them; not stored.
    """

    number: int
    participants: int
    accuracy: float | None
    seconds: float
    bytes_up: int | None = None
    bytes_down: int | None = None
    low: float | None = None
    median: float | None = None
    high: float | None = None
    measures: Mapping[str, float] = field(default_factory=dict)


class StoredRounds(StoredUploads):
    """The rounds of the adopted run, and the uploads to them.

    Args:
        database: open.
        keep: closed rounds whose payloads, state and broadcast are kept.
        now: the clock.
    """

    def __init__(self, database: Database, keep: int, now: Callable[[], datetime]) -> None:
        super().__init__(database, now)
        self._keep = keep

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
        self,
        closed_number: int,
        state: bytes,
        broadcast: bytes,
        counts: RoundCounts,
        measures: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Store where the run stands after a round and what it came to, and prune: all or nothing.

        Args:
            closed_number: of the round.
            state: a frame.
            broadcast: a frame.
            counts: of its answers.
            measures: finite numbers by name.

        Raises:
            ValueError: if another round is open.
        """
        with self._write() as connection:
            if connection.scalar(self._newest()) != closed_number:
                raise ValueError(f"round {closed_number} is not the open one")
            connection.execute(
                update(rounds)
                .filter_by(run=self._run, number=closed_number)
                .values(closed=self._now(), measures=json.dumps(dict(measures)), **asdict(counts))
            )
            self._store_state(connection, closed_number + 1, state, broadcast)
            self._prune(connection, closed_number - self._keep)

    def committed(self) -> float | None:
        """Return when it last stored where the run stands, in seconds since 1970; None if never."""
        query = select(func.max(rounds.c.opened)).where(rounds.c.run == self._run)
        with self._read() as connection:
            newest = connection.scalar(query)
        if newest is None:
            return None
        return float((newest if newest.tzinfo else newest.replace(tzinfo=UTC)).timestamp())

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
    measures = _measures(row.measures)
    return PastRound(row.number, counts.participants, counts.accuracy, seconds, measures=measures)


def _measures(text: object) -> dict[str, float]:
    """Return a round's numbers; none of a round of before they were stored, or of damaged ones."""
    try:
        found = json.loads(text) if isinstance(text, str) else {}
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: float(each) for name, each in found.items() if isinstance(each, int | float)}
