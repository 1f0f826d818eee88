"""A disk or a database that is away for a while: the run waits, and goes on where it stands."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from cloud.aggregator.database_errors import LockedError
from edgeloop.errors import EdgeloopError, StorageError, TakenError
from edgeloop.runtime.pace import Timer

log = logging.getLogger(__name__)

FIRST_SECONDS, MOST_SECONDS, SAID_SECONDS = 1.0, 30.0, 60.0
"""Before the first try and between two later ones, and between two lines that say so."""

STEADY_SECONDS = 120.0
"""Work that lasts so long makes up for what has failed before."""

CLAIMED_SECONDS = 120.0
"""For a database to see that the connection is gone by which this aggregator held the task."""

Found = TypeVar("Found")


def through_outages(
    work: Callable[[], Found],
    renew: Callable[[], object],
    told: Callable[[str | None], None] = lambda problem: None,
) -> Found:
    """Do work; where storage is away wait until it is back, and do the work again.

    Args:
        work: begins with what is stored, whenever it is begun.
        renew: connects to the ledger again, and writes a little; raises as long as it cannot.
        told: hears what is away, and None once it is back.

    Raises:
        EdgeloopError: what time does not mend; a TakenError if another aggregator has the task.
    """
    pause = FIRST_SECONDS
    while True:
        begun = time.monotonic()
        try:
            return work()
        except (StorageError, LockedError) as error:
            log.error("%s; waiting until it is back", error)  # noqa: TRY400 - nobody needs the traceback
            told(str(error))
        if time.monotonic() - begun >= STEADY_SECONDS:
            pause = FIRST_SECONDS
        time.sleep(pause)
        pause = min(2 * pause, MOST_SECONDS)
        _await(renew)
        told(None)


def _await(renew: Callable[[], object]) -> None:
    """Return when storage can be written again."""
    begun, pause, said = time.monotonic(), FIRST_SECONDS, Timer(SAID_SECONDS)
    while (problem := _tried(renew)) is not None:
        waited = time.monotonic() - begun
        passing = isinstance(problem, StorageError | LockedError) or waited < CLAIMED_SECONDS
        if not passing:
            raise problem
        if said.due():
            log.warning("%s; still waiting, for %.0f s", problem, waited)
        time.sleep(pause)
        pause = min(2 * pause, MOST_SECONDS)
    log.info("the ledger is back after %.0f s: the run continues", time.monotonic() - begun)


def _tried(renew: Callable[[], object]) -> EdgeloopError | None:
    """Return why storage is not back; None if it is."""
    try:
        renew()
    except (StorageError, TakenError) as error:
        return error
    return None
