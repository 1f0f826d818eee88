"""How long a round waits, and for whom."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from edgeloop.protocol.gathering import Gathering

STEP_SECONDS = 60.0
"""How long a step of secure aggregation waits for devices that are there and do not answer."""


def _just_opened() -> float:
    return 0.0


@dataclass(frozen=True)
class RoundDeadlines:
    """How long a round waits, and for whom.

    With a buffer a round is semi-asynchronous: it is over with the first answers that there are so
    many of, to it or to a round before, whoever is there besides.

    Attributes:
        quorum: how many answers make the round count.
        deadline: seconds to wait for more than the quorum.
        give_up: seconds to wait even for the quorum.
        share: of those online, whose answers make the round count, in the place of the quorum.
        grace: seconds after the answers of all who are online, when a round is over; None waits
            for those who are not.
        buffer: how many answers make a semi-asynchronous round; None for no such rounds.
        stalest: how many rounds before one an answer may be trained in, to count in its buffer.
        elapsed: tells for how many seconds the open round has been open already, before a restart
            too. Its deadline is kept; to give up begins anew, or a restart would do it at once.
    """

    quorum: int
    deadline: float
    give_up: float
    share: float | None = None
    grace: float | None = None
    buffer: int | None = None
    stalest: int = 0
    elapsed: Callable[[], float] = _just_opened

    def gathering(  # noqa: PLR0913 - the terms of a round, by name
        self,
        round_number: int,
        invited: frozenset[str],
        quorum: int,
        now: float,
        *,
        may_grow: bool = False,
        there: Callable[[], Iterable[str]] = frozenset,
        kinds: tuple[type, ...] = (),
    ) -> Gathering[Any]:
        """Return a round that opens now, or again: its devices then have the grace to come back.

        Args:
            round_number: its number.
            invited: who may answer.
            quorum: how many answers it needs; none for a last evaluation.
            now: the time, on the caller's clock.
            may_grow: whether more may be invited.
            there: tells who is there.
            kinds: of messages that an answer holds.
        """
        buffered = self.buffer is not None and quorum > 0
        back = min(self.deadline, self.grace or 0.0)
        deadline = now + max(self.deadline - self.elapsed(), back)
        return Gathering(
            round_number,
            invited,
            quorum,
            deadline,
            max(deadline, now + self.give_up),
            share=self.share if quorum else None,
            grace=0.0 if buffered else self.grace,
            usual=0 if buffered else min(self.quorum, len(invited)),
            stalest=self.stalest if buffered else 0,
            may_grow=may_grow,
            there=frozenset if buffered else there,
            kinds=kinds,
        )
