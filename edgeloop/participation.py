"""Who takes part in a round: some of the clients, and of their uploads those that arrive in time.

Time is virtual: what a client's round costs, no clock's, so that a run is a function of its seed.

Source: the join ratio and the drop rate of PFLlib and HtFLlib, which count clients alike; and their
slow clients, who change nothing there.
"""

import math
import statistics
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from edgeloop.protocol.robust_rules import RobustRule
from edgeloop.seeds import derive

EVERYBODY = "*"
"""In a list of who was asked in a round."""


class ParticipationPolicy(Protocol):
    """Says who takes part in a round."""

    def joining(self, round_number: int) -> Collection[str] | None:
        """Return who trains in a round; None for everybody."""
        ...

    def arriving(self, round_number: int, joining: Collection[str]) -> Collection[str]:
        """Return those of them whose uploads arrive in time; maybe nobody's."""
        ...


_TOLERANCE = 1e-9
"""So that 0.3 of 10 clients are 3, though 0.3 x 10 is a little less."""


@dataclass(frozen=True)
class Participation:
    """Draws, round by round, from the run's seed alone.

    Attributes:
        names: of all clients.
        join_ratio: rho, the share that trains in a round: floor(rho M) clients, one at least.
        varying: draw the number of clients again each round, between that and all.
        drop_rate: the share of those that train whose uploads are lost on the way.
        deadline: of a round, in the median client's time; later uploads are left out. None waits.
        durations: what a round takes each client, in the median client's time.
        seed: of the run.
        full_rounds: so many of the first rounds have everybody, and lose nothing: the algorithm's.
    """

    names: tuple[str, ...]
    join_ratio: float = 1.0
    varying: bool = False
    drop_rate: float = 0.0
    deadline: float | None = None
    durations: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    full_rounds: int = 0

    def joining(self, round_number: int) -> frozenset[str]:
        """Return who trains in a round."""
        if round_number < self.full_rounds:
            return frozenset(self.names)
        random = self._random("joining", round_number)
        count = max(1, math.floor(self.join_ratio * len(self.names) + _TOLERANCE))
        if self.varying:
            count = int(random.integers(count, len(self.names) + 1))
        return self._drawn(random, self.names, count)

    def arriving(self, round_number: int, joining: Collection[str]) -> frozenset[str]:
        """Return those of them whose uploads arrive in time; maybe nobody's."""
        if round_number < self.full_rounds:
            return frozenset(joining)
        random = self._random("arriving", round_number)
        count = math.floor((1 - self.drop_rate) * len(joining) + _TOLERANCE)
        sent = self._drawn(random, tuple(sorted(joining)), count)
        return frozenset(name for name in sent if self._in_time(name))

    def _in_time(self, name: str) -> bool:
        return self.deadline is None or self.durations.get(name, 1.0) <= self.deadline

    def _random(self, what: str, round_number: int) -> np.random.Generator:
        return np.random.default_rng(derive(self.seed, what, round_number))

    @staticmethod
    def _drawn(random: np.random.Generator, names: tuple[str, ...], count: int) -> frozenset[str]:
        return frozenset(names[each] for each in random.permutation(len(names))[:count])


def staleness_weight(staleness: int) -> float:
    """Return what an answer to an earlier round counts, 1 for one to this round.

    Source: FedBuff, 1 / sqrt(1 + staleness) (Nguyen et al., AISTATS 2022).
    """
    return 1.0 / math.sqrt(1.0 + staleness)


class AskedLog(Protocol):
    """Where it is safe who was asked in a round."""

    def asked(self, round_number: int) -> Collection[str]:
        """Return who was asked; nobody before anybody was."""
        ...

    def ask(self, round_number: int, devices: Collection[str]) -> None:
        """Write who is asked; it is safe when this returns."""
        ...


@dataclass(frozen=True)
class Sampling:
    """Draws a part of the devices that are in a run as a round opens; a restart draws no more.

    The draw from a fixed list is that of `Participation`.

    Attributes:
        names: tells who may be drawn.
        join_ratio: the share that is asked: floor(share M) of them, one at least.
        seed: of the run.
        record: where it is safe who was.
    """

    names: Callable[[], Collection[str]]
    join_ratio: float
    seed: int
    record: AskedLog

    def joining(self, round_number: int) -> Collection[str] | None:
        """Return who is asked in a round; everybody where nobody is there to be drawn."""
        drawn = self.record.asked(round_number)
        if not drawn:
            names = tuple(sorted(self.names()))
            once = Participation(names, self.join_ratio, seed=self.seed)
            drawn = once.joining(round_number) if names else [EVERYBODY]
            self.record.ask(round_number, drawn)
        return None if EVERYBODY in drawn else drawn

    def arriving(self, round_number: int, joining: Collection[str]) -> Collection[str]:
        """Return who has answered: over a network it is known who has."""
        return joining


@dataclass(frozen=True)
class Recorded:
    """Says who takes part in a round as a record has it; who does not stays as it is.

    Attributes:
        answered: by round, who answered in time.
        late: by round, who trained in it, too, and was too late.
        bases: by round, of those whose answers are to an earlier one: which.
        refuse_outliers: whether the run set aside uploads far from the cohort's.
        rule: of the run, against forged uploads.
    """

    answered: tuple[frozenset[str], ...]
    late: tuple[frozenset[str], ...]
    bases: tuple[Mapping[str, int], ...] = ()
    refuse_outliers: bool = False
    rule: RobustRule = "none"

    def joining(self, round_number: int) -> frozenset[str]:
        """Return who trains in a round: who answered, now or later, and who was too late."""
        later = {n for each in self.bases for n, base in each.items() if base == round_number}
        now = self.answered[round_number] - self.stale(round_number).keys()
        return now | self.late[round_number] | later

    @property
    def delays(self) -> bool:
        """Whether an answer counts in a later round than it is to."""
        return any(self.bases)

    def stale(self, round_number: int) -> Mapping[str, int]:
        """Return whose answers in a round are to an earlier one, and to which."""
        return self.bases[round_number] if self.bases else {}

    def arriving(self, round_number: int, joining: Collection[str]) -> frozenset[str]:
        """Return those of them who answered in time."""
        return self.answered[round_number] & frozenset(joining)


def durations(
    costs: Mapping[str, float], slow_rate: float, slow_factor: float, seed: int
) -> dict[str, float]:
    """Return what a round takes each client, in the median client's time.

    Args:
        costs: of a round, by client, in any unit.
        slow_rate: the share of the clients that is slow, floor(rate M) of them, in every round.
        slow_factor: how many times longer a slow one takes.
        seed: of the run.
    """
    median = statistics.median(costs.values()) or 1.0
    random = np.random.default_rng(derive(seed, "slow"))
    names = sorted(costs)
    count = math.floor(slow_rate * len(names) + _TOLERANCE)
    slow = {names[each] for each in random.permutation(len(names))[:count]}
    return {name: costs[name] / median * (slow_factor if name in slow else 1.0) for name in names}
