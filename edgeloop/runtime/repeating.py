"""Does something again and again, in a thread of its own."""

import logging
import threading
from collections.abc import Callable
from typing import Self

from edgeloop.errors import EdgeloopError

log = logging.getLogger(__name__)

LEAST_SECONDS = 1.0
"""Between two times, however often it is woken."""


class Repeated:
    """Something that is done again and again while a block runs; failures are logged.

    Args:
        seconds: between two times.
        act: what is done.
        first: whether it is done at once, too.
    """

    def __init__(self, seconds: float, act: Callable[[], None], first: bool = False) -> None:
        self._seconds, self._act, self._first = seconds, act, first
        self._woken, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._woken.set()
        self._thread.join()

    def wake(self) -> None:
        """Do it soon."""
        self._woken.set()

    def _run(self) -> None:
        if not self._first:
            self._woken.wait(self._seconds)
        while not self._ended.is_set():
            self._woken.clear()
            try:
                self._act()
            except EdgeloopError as error:
                log.warning("%s; tries again in %.0f s", error, self._seconds)
            except Exception:  # a fault of ours must not end what others count on
                log.exception("a fault; tries again in %.0f s", self._seconds)
            if not self._ended.wait(min(LEAST_SECONDS, self._seconds)):
                self._woken.wait(self._seconds)
