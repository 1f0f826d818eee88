"""Renews a device's certificate before it expires, and has its connection show the new one."""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from edge.agent import enrolment
from edge.agent.authority_client import AuthorityError
from edgeloop.errors import EdgeloopError
from edgeloop.runtime.pace import Timer

log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
"""Between two looks at whether half of the certificate's life is over."""

REVOKED_SECONDS = 600.0
"""Between two looks at which services' certificates hold no more."""

LONGEST_SECONDS = 600.0
"""Before an authority that does not answer, or refuses, is asked again; less at first."""


def _utc() -> datetime:
    return datetime.now(UTC)


class Renewal:
    """Looks after a certificate in a thread of its own while a block runs.

    Args:
        folder: that `edgeloop enroll` wrote.
        renewed: called when there is a new certificate.
        now: the clock.
        look_seconds: between two looks.
    """

    def __init__(
        self,
        folder: Path,
        renewed: Callable[[], None],
        now: Callable[[], datetime] = _utc,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._folder, self._renewed, self._now = folder, renewed, now
        self._look_seconds, self._ended = look_seconds, threading.Event()
        self._revoked = Timer(REVOKED_SECONDS, first=0.0)
        self._thread = threading.Thread(target=self._run, name="renewal", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def look(self) -> bool:
        """Renew the certificate if it is time; return whether all is well."""
        try:
            if enrolment.renewal_due(self._folder, self._now()):
                enrolment.renew(self._folder)
                log.info("the device's certificate is renewed")
                self._renewed()
        except AuthorityError as error:
            log.warning("the certificate is not renewed: %s", error)
        except EdgeloopError as error:
            log.warning("the certificate is not renewed yet: %s; tries again", error)
        else:
            return True
        return False

    def look_at_others(self) -> None:
        """Learn which services' certificates hold no more, now and then."""
        if self._revoked.due():
            enrolment.try_fetch_revoked(self._folder)

    def _run(self) -> None:
        pause = 0.0
        while not self._ended.wait(pause):
            well = self.look()
            self.look_at_others()
            pause = self._look_seconds if well else min(2 * pause + 30.0, LONGEST_SECONDS)
