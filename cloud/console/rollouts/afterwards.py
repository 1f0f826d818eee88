"""What is left of roll-outs that have ended: devices that turn bad later, and files nobody needs.

A device's canary may find a classifier bad days after its group has settled, and the roll-out has
ended. Its broker keeps what the device says of it, so that a server that was away hears it, too.
"""

import logging
import time
from datetime import UTC, datetime, timedelta

from sqlalchemy import or_, select

from cloud.console.migrations import rollouts
from cloud.console.rollouts.files import Files
from cloud.console.rollouts.rows import OPEN
from cloud.console.store import Store
from edgeloop.protocol.rollout import Outcome

log = logging.getLogger(__name__)

HEARD_DAYS = 30
"""After its end, a roll-out's devices are heard so long."""

SWEEP_SECONDS = 600.0
"""Between two looks for files that nobody needs."""


class Afterwards:
    """Looks after ended roll-outs.

    Args:
        store: the server's database.
        files: the server's.
    """

    def __init__(self, store: Store, files: Files) -> None:
        self._store, self._files = store, files
        self._next_sweep = 0.0

    def tasks(self) -> set[str]:
        """Return the tasks whose devices may still turn bad: a classifier of theirs was shipped."""
        since = datetime.now(UTC) - timedelta(days=HEARD_DAYS)
        query = select(rollouts.c.task).where(
            rollouts.c.kind == "model",
            rollouts.c.state.in_(("succeeded", "stopped")),
            rollouts.c.changed >= since,
        )
        with self._store.database.reading() as connection:
            return set(connection.scalars(query.distinct()))

    def tell(self, device: str, told: Outcome) -> None:
        """Say so: in the log, and in the audit."""
        why = f": {told.reason}" if told.reason else ""
        detail = f"{device} {told.state} after its end{why}"
        self._store.note("server", "rollout", told.rollout, "done", detail)
        log.warning("roll-out %s: %s", told.rollout, detail)

    def sweep(self) -> None:
        """Remove files that no roll-out needs, now and then."""
        if time.monotonic() < self._next_sweep:
            return
        self._next_sweep = time.monotonic() + SWEEP_SECONDS
        needs = or_(rollouts.c.carried.is_(True), rollouts.c.state.in_(OPEN))
        with self._store.database.reading() as connection:
            needed = set(connection.scalars(select(rollouts.c.sha256).where(needs)))
        for sha256 in self._files.sweep(needed):
            log.info("removed file %s...: no roll-out needs it", sha256[:12])
