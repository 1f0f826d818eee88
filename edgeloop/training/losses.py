"""The mean of what a client descends in a round, noted step by step where it is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor


class LossMeter:
    """Adds up losses where they are, and reads them at the end."""

    def __init__(self) -> None:
        self._total: Tensor | None = None
        self._steps = 0

    def add(self, loss: Tensor) -> None:
        """Note the loss of a step, a scalar."""
        found = loss.detach().double()
        self._total = found if self._total is None else self._total + found
        self._steps += 1

    @property
    def mean(self) -> float | None:
        """The mean of all steps; None of none."""
        return None if self._total is None else float(self._total) / self._steps


_METER: ContextVar[LossMeter | None] = ContextVar("losses", default=None)


@contextmanager
def metered() -> Iterator[LossMeter]:
    """Note the losses of all steps of SGD that the block takes."""
    meter = LossMeter()
    token = _METER.set(meter)
    try:
        yield meter
    finally:
        _METER.reset(token)


def note(loss: Tensor) -> None:
    """Note a step's loss, if somebody asks for it."""
    meter = _METER.get()
    if meter is not None:
        meter.add(loss)
