"""What was given to a broker, what it has taken, and what it refuses."""

import threading
from typing import Generic, TypeVar

W = TypeVar("W")
R = TypeVar("R")


class Deliveries(Generic[W, R]):
    """Packets that wait for the broker's word on them; any thread may call any method.

    What is refused stays so until it is sent again.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open: dict[int, W] = {}
        self._early: dict[int, R | None] = {}  # the broker was faster than `sent`
        self._refused: dict[W, R] = {}

    def sent(self, number: int, what: W) -> R | None:
        """A packet of this number is on its way; return the refusal that was faster than this."""
        with self._changed:
            self._open[number] = what
            if number not in self._early:
                return None
            refusal = self._early.pop(number)
            self._settle(number, refusal)
            return refusal

    def renew(self, what: W) -> None:
        """What follows of this name is sent again: what was refused of it counts no more."""
        with self._changed:
            self._refused.pop(what, None)

    def acknowledged(self, number: int, refusal: R | None) -> W | None:
        """The broker has taken a packet, or refuses it; return what it was, if that is known."""
        with self._changed:
            if number not in self._open:
                self._early[number] = refusal
                return None
            return self._settle(number, refusal)

    def _settle(self, number: int, refusal: R | None) -> W:
        what = self._open.pop(number)
        if refusal is not None:
            self._refused[what] = refusal
        self._changed.notify_all()
        return what

    def refused(self) -> dict[W, R]:
        """Return what the broker refuses, and why."""
        with self._changed:
            return dict(self._refused)

    def open(self) -> set[W]:
        """Return what waits for the broker's word."""
        with self._changed:
            return set(self._open.values())

    def flush(self, timeout: float, what: W | None = None) -> bool:
        """Wait for the broker's word on all, or on those of one name; tell whether it took it."""

        def settled() -> bool:
            return what not in self._open.values() if what is not None else not self._open

        with self._changed:
            in_time = self._changed.wait_for(settled, timeout)
            refused = what in self._refused if what is not None else bool(self._refused)
            return in_time and not refused
