"""A disk that is full or away: time helps, so that what was worked out waits for it."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from edgeloop.errors import StorageError
from edgeloop.runtime.pace import Timer

log = logging.getLogger(__name__)

AGAIN_SECONDS, SAID_SECONDS = 5.0, 60.0
"""Before a disk is tried again, and between two lines that say so."""

Found = TypeVar("Found")


def until_written(
    write: Callable[[], Found], told: Callable[[str], None] = lambda why: None
) -> Found:
    """Do what writes to the device's folder, again and again while its disk is full or away.

    Args:
        write: may be done again, whatever it has done before it failed.
        told: hears why it waits, and nothing, once it does not any more.

    Raises:
        RunError: what time does not help with, as `write` raises it.
    """
    said: Timer | None = None
    while True:
        try:
            found = write()
        except StorageError as error:
            if said is None or said.due():
                said = said or Timer(SAID_SECONDS)
                log.warning("%s; trying again every %.0f s", error, AGAIN_SECONDS)
            told(str(error))
            time.sleep(AGAIN_SECONDS)
        else:
            if said is not None:
                log.info("the folder can be written again")
                told("")
            return found
