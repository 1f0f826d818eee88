"""What the clients of a simulation would have spent of their privacy, and who may spend more.

A function of the settings alone: what was sent plays no part.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

from edgeloop.participation import ParticipationPolicy
from edgeloop.privacy import accounting
from edgeloop.privacy.accounting import Event
from edgeloop.runtime.config import PrivacySettings

Cost = tuple[Event, ...]


class SimulatedBudget:
    """Says who takes part in a round, too: of those that join, who can pay for it.

    Args:
        asked: delta and budget.
        costs: of a round, by client.
        others: who joins in which round; None for everybody in all of them.

    Raises:
        ConfigError: if opacus is not installed.
    """

    def __init__(
        self, asked: PrivacySettings, costs: Mapping[str, Cost], others: ParticipationPolicy | None
    ) -> None:
        self._asked = asked
        self._costs = costs
        self._others = others
        self._trained = dict.fromkeys(costs, 0)
        self._rounds = 0  # that they are of
        self._known: dict[tuple[Cost, int], float] = {}
        self.epsilon(0)

    def joining(self, round_number: int) -> Collection[str]:
        """Return who trains in a round, not before those that were asked for already."""
        self._advance(round_number)
        return self._can_pay(round_number)

    def _can_pay(self, round_number: int) -> frozenset[str]:
        budget = self._asked.epsilon
        some = None if self._others is None else self._others.joining(round_number)
        joining = self._costs if some is None else some
        return frozenset(
            name
            for name in joining
            if budget is None or self._epsilon(name, self._trained[name] + 1) <= budget
        )

    def arriving(self, round_number: int, joining: Collection[str]) -> Collection[str]:
        """Return those of them whose uploads arrive; the others have paid all the same."""
        return joining if self._others is None else self._others.arriving(round_number, joining)

    def epsilon(self, rounds: int) -> float:
        """Return the most that a client has spent after so many rounds, not before the last."""
        self._advance(rounds)
        return max(self._epsilon(name, count) for name, count in self._trained.items())

    def _advance(self, rounds: int) -> None:
        while self._rounds < rounds:
            for name in self._can_pay(self._rounds):
                self._trained[name] += 1
            self._rounds += 1

    def _epsilon(self, name: str, rounds: int) -> float:
        key = self._costs[name], rounds
        if key not in self._known:
            events = [replace(each, times=rounds * each.times) for each in self._costs[name]]
            self._known[key] = accounting.epsilon(events if rounds else [], self._asked.delta)
        return self._known[key]
