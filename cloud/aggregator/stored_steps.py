"""The steps of a round's secure aggregation in the ledger."""

from collections.abc import Collection, Sequence

from sqlalchemy import delete, insert, select

from cloud.aggregator.ledger import Ledger
from cloud.aggregator.migrations import steps
from cloud.aggregator.transactions import bytes_of
from edgeloop.cohorts.uploads import Upload
from edgeloop.protocol.task import SERVER


class LedgerSteps:
    """A `StepLog` of the run that a ledger has adopted.

    All methods raise RunError if the database fails.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def record_step(self, round_number: int, step: int, uploads: Sequence[Upload]) -> None:
        """Write answers, or the server's word; the first of each sender counts."""
        key = {"run": self._ledger.run, "round": round_number, "step": step}
        new = {each.client: each.payload for each in reversed(uploads)}
        with self._ledger.writing() as connection:
            query = select(steps.c.device).filter_by(**key).where(steps.c.device.in_(new))
            held = set(connection.scalars(query))
            rows = [{**key, "device": n, "payload": new[n]} for n in sorted(new.keys() - held)]
            if rows:
                connection.execute(insert(steps), rows)

    def recall_step(self, round_number: int, step: int, names: Collection[str]) -> dict[str, bytes]:
        """Return what is written of some senders; of all but the server, where none is named."""
        wanted = steps.c.device.in_(names) if names else steps.c.device != SERVER
        key = {"run": self._ledger.run, "round": round_number, "step": step}
        query = select(steps.c.device, steps.c.payload).filter_by(**key).where(wanted)
        with self._ledger.reading() as connection:
            found = {row.device: bytes_of(row.payload) for row in connection.execute(query)}
        return dict(sorted(found.items()))

    def drop_step(self, round_number: int, step: int, client: str) -> None:
        """Forget an answer."""
        key = {"run": self._ledger.run, "round": round_number, "step": step, "device": client}
        with self._ledger.writing() as connection:
            connection.execute(delete(steps).filter_by(**key))

    def clear_steps(self, round_number: int) -> None:
        """Forget all steps of a round, and of those before."""
        old = steps.c.run == self._ledger.run, steps.c.round <= round_number
        with self._ledger.writing() as connection:
            connection.execute(delete(steps).where(*old))
