"""When messages are signed: times that never go back, though a clock may, also over restarts.

    signed.json   up to when the process before may have signed

Who reads what is signed takes an older message for a replay. A signer whose clock was ahead, and is
set right, would not be believed until its clock is there again: it signs on from where it was.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from edgeloop.errors import EdgeloopError
from edgeloop.runtime import atomic_files

log = logging.getLogger(__name__)

FILE = "signed.json"

RESERVED_MS = 10_000
"""Of times that are noted at once, so that a message costs no write of its own."""

SAID_SECONDS = 60.0
"""That times are ahead of the clock, from which on the log says so: restarts leave a few."""


class SigningTimes:
    """Times of signatures, each later than the one before.

    Args:
        folder: where they are noted; None for those of one process only.
        now: seconds since 1970.
    """

    def __init__(self, folder: Path | None = None, now: Callable[[], float] = time.time) -> None:
        self._path, self._now = None if folder is None else folder / FILE, now
        self._last = self._noted = _noted(self._path)
        if (seconds := (self._last - self._clock()) / 1000) > SAID_SECONDS:
            text = "this machine's clock was %.0f s further: messages are signed on from there"
            log.warning(text, seconds)

    def next(self) -> int:
        """Return when a message is signed, in milliseconds since 1970."""
        self._last = at = max(self._last + 1, self._clock())
        if self._path is not None and at > self._noted:
            self._note(self._path, at + RESERVED_MS)
        return at

    def _clock(self) -> int:
        return int(self._now() * 1000)

    def _note(self, path: Path, until: int) -> None:
        """Note that so many are used up; a disk that is full keeps nobody from signing."""
        try:
            with atomic_files.writing(path.parent):
                atomic_files.write_checked_json(path, {"until": until})
        except EdgeloopError as error:
            log.warning("%s cannot be written: %s", path, error)
        self._noted = until


def _noted(path: Path | None) -> int:
    if path is None:
        return 0
    try:
        return int(atomic_files.read_json(path)["until"])
    except FileNotFoundError:
        return 0
    except (OSError, LookupError, TypeError, ValueError) as error:
        log.warning("%s is damaged (%s): a clock that was set back is not seen", path, error)
        return 0
