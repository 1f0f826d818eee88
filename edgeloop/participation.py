"""Who takes part in a round: some of the clients, and of their uploads those that arrive.

Source: the join ratio and the drop rate of PFLlib and HtFLlib, which count clients alike.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from edgeloop.seeds import derive

_ROUNDING = 1e-9
"""So that 0.3 of 10 clients are 3, though 0.3 x 10 is a little less."""


@dataclass(frozen=True)
class Participation:
    """Draws, round by round, from the run's seed alone.

    Attributes:
        names: of all clients.
        join_ratio: rho, the share that trains in a round: floor(rho M) clients, one at least.
        varying: draw the number of clients anew each round, between that and all.
        drop_rate: the share of those that train whose uploads are lost on the way.
        seed: the run's.
    """

    names: tuple[str, ...]
    join_ratio: float = 1.0
    varying: bool = False
    drop_rate: float = 0.0
    seed: int = 0

    def joining(self, round_number: int) -> frozenset[str]:
        """Return who trains in a round."""
        random = self._random("joining", round_number)
        count = max(1, math.floor(self.join_ratio * len(self.names) + _ROUNDING))
        if self.varying:
            count = int(random.integers(count, len(self.names) + 1))
        return self._drawn(random, self.names, count)

    def arriving(self, round_number: int, joining: Collection[str]) -> frozenset[str]:
        """Return those of them whose uploads arrive; maybe nobody's."""
        random = self._random("arriving", round_number)
        count = math.floor((1 - self.drop_rate) * len(joining) + _ROUNDING)
        return self._drawn(random, tuple(sorted(joining)), count)

    def _random(self, what: str, round_number: int) -> np.random.Generator:
        return np.random.default_rng(derive(self.seed, what, round_number))

    @staticmethod
    def _drawn(random: np.random.Generator, names: tuple[str, ...], count: int) -> frozenset[str]:
        return frozenset(names[each] for each in random.permutation(len(names))[:count])
