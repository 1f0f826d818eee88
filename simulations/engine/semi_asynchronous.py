"""Rounds that are over with the first answers, on a virtual clock: a record made beforehand.

A device's semantics are the service's (docs/protocol.md): it answers the newest opening, one after
the other; a round counts one answer of each; one that comes while the round has an older one of it
counts in the next; an answer to a round that is too long ago is late. What a round takes a client
is the virtual time of `participation.durations`, so that a run is a function of its seed.

Source: the buffer of FedBuff (Nguyen et al., AISTATS 2022); the weights are the server loop's.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from edgeloop.participation import Recorded
from edgeloop.protocol.robust_rules import RobustRule


class Schedule(NamedTuple):
    """What takes part in a run with a buffer.

    Attributes:
        policy: who trains in which round, and whose uploads count in which.
        ends: when each round is over, in the median client's time.
    """

    policy: Recorded
    ends: tuple[float, ...]


def schedule(
    durations: Mapping[str, float],
    rounds: int,
    buffer: int,
    stalest: int,
    rule: RobustRule = "none",
) -> Schedule:
    """Return who takes part in which round.

    What a shorter run's rounds are, those of a longer one are too.

    Args:
        durations: what a round takes each client, by its name, in any unit.
        rounds: how many there are.
        buffer: answers that a round is over with; all of them, if there are not so many.
        stalest: how many rounds before one an answer may be trained in, to count in it.
        rule: of the run, against forged uploads.
    """
    clock = _Clock(durations, min(buffer, len(durations)), stalest)
    counted: list[Mapping[str, int]] = []
    ends = []
    for number in range(rounds):
        counted.append(clock.close(number))
        ends.append(clock.now)
    late = [set(clock.late.get(number, ())) for number in range(rounds)]
    for name, base in clock.under_way():
        late[base].add(name)  # it trains, and counts in no round of this run
    return Schedule(
        Recorded(
            answered=tuple(frozenset(each) for each in counted),
            late=tuple(frozenset(each) for each in late),
            bases=tuple(
                {name: base for name, base in each.items() if base != number}
                for number, each in enumerate(counted)
            ),
            rule=rule,
        ),
        tuple(ends),
    )


@dataclass
class _Clock:
    """The clients at work, and what the open round has.

    Attributes:
        durations: of a training, by client.
        buffer: answers that a round is over with.
        stalest: rounds that an answer may be old.
        now: the time.
        late: by round, whose answers to it were too old.
    """

    durations: Mapping[str, float]
    buffer: int
    stalest: int
    now: float = 0.0
    late: dict[int, list[str]] = field(default_factory=dict)
    _working: list[tuple[float, str, int]] = field(default_factory=list)
    _held: dict[str, int] = field(default_factory=dict)

    def close(self, number: int) -> dict[str, int]:
        """Open a round and wait until it is over; return the rounds that its answers are to."""
        counted: dict[str, int] = {}
        self._count_held(number, counted)
        busy = self._held.keys() | {name for _, name, _ in self._working}
        for name in sorted(self.durations.keys() - busy):
            self._begin(name, number)
        while len(counted) < self.buffer:
            self.now, name, base = heapq.heappop(self._working)
            self._take(name, base, number, counted)
            if base < number:
                self._begin(name, number)
        return counted

    def _begin(self, name: str, number: int) -> None:
        heapq.heappush(self._working, (self.now + self.durations[name], name, number))

    def _take(self, name: str, base: int, number: int, counted: dict[str, int]) -> None:
        if number - base > self.stalest:
            self.late.setdefault(base, []).append(name)
        elif name in counted:
            self._held[name] = base
        else:
            counted[name] = base

    def _count_held(self, number: int, counted: dict[str, int]) -> None:
        """Count what has waited for this round; what finds no place waits for the next."""
        for name in sorted(self._held):
            if len(counted) < self.buffer:
                self._take(name, self._held.pop(name), number, counted)

    def under_way(self) -> list[tuple[str, int]]:
        """Return who is still training, and in which round, and who waits with an answer."""
        return [(name, base) for _, name, base in self._working] + list(self._held.items())
