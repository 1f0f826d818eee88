"""The open round of a run whose uploads several processes write, in PostgreSQL.

Who writes uploads shares a lock on the round's row until they are committed; who ends the round
locks it alone. So an upload that has a receipt is in the round's result, and none comes later.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, select, update
from sqlalchemy.dialects.postgresql import insert

from cloud.aggregator.ledger import Ledger
from cloud.aggregator.migrations import asked, departures, members, rounds, uploads
from cloud.aggregator.stored_uploads import row_of
from edgeloop.cohorts.uploads import Upload
from edgeloop.errors import ConfigError
from edgeloop.participation import EVERYBODY
from edgeloop.protocol.gathering import Verdict


class SharedRounds:
    """The rounds of the run that a ledger has adopted or joined.

    All methods raise RunError if the database fails.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def begin(self, number: int) -> None:
        """Have a round take uploads, also one that was ended and not closed before a crash."""
        self._mark(number, None)

    def end(self, number: int) -> None:
        """Have a round take no more uploads, once those that are being written are there."""
        self._mark(number, self._ledger.now())

    def _mark(self, number: int, when: object) -> None:
        row = update(rounds).filter_by(run=self._ledger.run, number=number)
        with self._ledger.writing() as connection:
            connection.execute(row.values(gathered=when))

    def newest(self) -> int:
        """Return the number of the newest round."""
        with self._ledger.reading() as connection:
            return int(connection.scalar(self._newest().with_only_columns(rounds.c.number)) or 0)

    def take(self, number: int, uploaded: Sequence[Upload]) -> Mapping[str, Verdict] | None:
        """Write uploads to a round in one transaction; return the verdict on each by client.

        Returns:
            None, with nothing written, if the round takes no more.
        """
        with self._ledger.writing() as connection:
            row = connection.execute(self._newest().with_for_update(read=True)).one_or_none()
            if row is None or row.number != number or row.gathered is not None:
                return None
            names = {each.client for each in uploaded}
            refused = self._refused(connection, number, names)
            new = {each.client: each for each in reversed(uploaded) if each.client not in refused}
            before = self._held(connection, number, names)
            self._insert(connection, number, [new[name] for name in sorted(new.keys() - before)])
            held = self._held(connection, number, names)
        return {
            each.client: refused.get(each.client) or _verdict(each, before, held)
            for each in uploaded
        }

    def _insert(self, connection: Connection, number: int, new: Sequence[Upload]) -> None:
        """Write uploads in the order of their clients, so that no two writers wait for another."""
        if new:
            run, now = self._ledger.run, self._ledger.now()
            rows = [row_of(run, number, each, now) for each in new]
            connection.execute(insert(uploads).on_conflict_do_nothing(), rows)

    def _refused(
        self, connection: Connection, number: int, names: Collection[str]
    ) -> dict[str, Verdict]:
        """Return who of some has no part in a round, and why."""
        run = self._ledger.run
        left = select(departures.c.device).where(
            departures.c.run == run, departures.c.device.in_(names)
        )
        out = select(members.c.device).where(
            members.c.run == run, members.c.device.in_(names), members.c.until.is_not(None)
        )
        gone = {*connection.scalars(left), *connection.scalars(out)}
        drawn = set(connection.scalars(select(asked.c.device).filter_by(run=run, round=number)))
        idle = set(names) - drawn if drawn and EVERYBODY not in drawn else set()
        return dict.fromkeys(idle, Verdict.NOT_ASKED) | dict.fromkeys(gone, Verdict.UNINVITED)

    def _held(
        self, connection: Connection, number: int, names: Collection[str]
    ) -> Mapping[str, str]:
        theirs = select(uploads.c.device, uploads.c.digest).where(
            uploads.c.run == self._ledger.run,
            uploads.c.round == number,
            uploads.c.device.in_(names),
        )
        return {row.device: row.digest for row in connection.execute(theirs)}

    def arrived(self, number: int, known: Collection[str], most: int) -> Mapping[str, bytes]:
        """Return further uploads to a round by client, at most so many, but those that are known.

        Args:
            number: of the round.
            known: clients.
            most: uploads.
        """
        key = uploads.c.run == self._ledger.run, uploads.c.round == number
        with self._ledger.reading() as connection:
            there = connection.scalars(select(uploads.c.device).where(*key))
            new = sorted(set(there) - set(known))[:most]
            query = select(uploads.c.device, uploads.c.payload).where(
                *key, uploads.c.device.in_(new), uploads.c.payload.is_not(None)
            )
            return {row.device: row.payload for row in connection.execute(query)} if new else {}

    def _newest(self) -> Select[Any]:
        mine = rounds.c.run == self._ledger.run
        columns = select(rounds.c.number, rounds.c.gathered).where(mine)
        return columns.order_by(rounds.c.number.desc()).limit(1)


def _verdict(upload: Upload, before: Mapping[str, str], held: Mapping[str, str]) -> Verdict:
    if held[upload.client] != upload.digest:
        return Verdict.CONFLICT
    return Verdict.DUPLICATE if upload.client in before else Verdict.ACCEPTED


def check_shared(ledger: Ledger) -> None:
    """Refuse a ledger that one process writes.

    Raises:
        ConfigError: if it is none in PostgreSQL.
    """
    if not ledger.is_shared:
        problem = "is an SQLite file, which one process writes, and ingest.shared has several"
        raise ConfigError("store", problem, "name a database in PostgreSQL, or leave out [ingest]")
