"""The uploads of a run's rounds, in its ledger."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from cloud.aggregator.migrations import uploads
from cloud.aggregator.transactions import Transactions, bytes_of
from edgeloop.cohorts.uploads import Upload


def answered_round() -> ColumnElement[int]:
    """Return the round that an upload answers, as an expression."""
    return func.coalesce(uploads.c.base, uploads.c.round)


def row_of(run: str, round_number: int, upload: Upload, now: datetime) -> dict[str, Any]:
    """Return an upload to a round as a row of its table."""
    return {
        "run": run,
        "round": round_number,
        "device": upload.client,
        "digest": upload.digest,
        "payload": upload.payload,
        "size": len(upload.payload),
        "received": now,
        "base": None if upload.base == round_number else upload.base,
    }


class StoredUploads(Transactions):
    """An upload log that outlives its process."""

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
            found = {row.device: bytes_of(row.payload) for row in connection.execute(query)}
        return dict(sorted(found.items()))

    def held(self, round_number: int, client: str) -> str | None:
        """Return the digest of a client's upload that answers a round; None if there is none.

        It may count in a later one, and any may be closed.
        """
        theirs = select(uploads.c.digest).filter_by(run=self._run, device=client)
        answering = theirs.where(answered_round() == round_number).limit(1)
        with self._read() as connection:
            return connection.scalar(answering)

    def drop(self, round_number: int, client: str) -> None:
        """Forget an upload, so that its client may send another."""
        key = {"run": self._run, "round": round_number, "device": client}
        with self._write() as connection:
            connection.execute(delete(uploads).filter_by(**key))

    def _prune_uploads(self, connection: Connection, last: int) -> None:
        """Forget the bytes of the uploads to rounds up to one."""
        old = uploads.c.run == self._run, uploads.c.round <= last, uploads.c.payload.is_not(None)
        gone = connection.scalars(select(uploads.c.round).where(*old).distinct()).all()
        connection.execute(update(uploads).where(*old).values(payload=None))
        if gone and not self._database.shared:
            self._rewrite(connection, gone)

    def _rewrite(self, connection: Connection, numbers: Collection[int]) -> None:
        """Make rounds' uploads anew: SQLite fills no gap that a row leaves by becoming shorter."""
        theirs = uploads.c.run == self._run, uploads.c.round.in_(numbers)
        rows = connection.execute(select(uploads).where(*theirs)).mappings().all()
        connection.execute(delete(uploads).where(*theirs))
        connection.execute(insert(uploads), [dict(row) for row in rows])
