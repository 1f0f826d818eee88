"""Makes things safe in a thread of its own, one after the other, while its owner works on."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class WriteBehind:
    """At most one piece of work that its owner has not seen the end of."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._open: tuple[Future[None], Callable[[], None]] | None = None

    @property
    def is_open(self) -> bool:
        """Return whether there is work that `settle` has not ended."""
        return self._open is not None

    @property
    def is_running(self) -> bool:
        """Return whether the work still goes on."""
        return self._open is not None and not self._open[0].done()

    def begin(self, work: Callable[[], None], then: Callable[[], None]) -> None:
        """Settle what was begun before, then begin this.

        Args:
            work: done in the other thread.
            then: done by `settle`, in its caller's thread, once the work has come to a good end.
        """
        self.settle()
        self._open = self._pool.submit(work), then

    def settle(self) -> None:
        """Wait for the work, and do what comes then; what the work raises is raised here."""
        if self._open is None:
            return
        (work, then), self._open = self._open, None
        work.result()
        then()
