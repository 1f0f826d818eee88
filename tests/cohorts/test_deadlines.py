"""How long a round waits, also where it was open before its aggregator was started again."""

import pytest

from edgeloop.cohorts.deadlines import RoundDeadlines

NOW = 1000.0


@pytest.mark.parametrize(
    ("elapsed", "grace", "left"),
    [(0.0, 5.0, 600.0), (400.0, 5.0, 200.0), (599.0, 5.0, 5.0), (1e6, 5.0, 5.0), (1e6, None, 0.0)],
)
def test_a_restart_keeps_the_deadline(elapsed: float, grace: float | None, left: float) -> None:
    patience = RoundDeadlines(1, 600.0, 900.0, grace=grace, elapsed=lambda: elapsed)
    opened = patience.gathering(3, frozenset("ab"), 1, NOW)
    assert opened.deadline == NOW + left
    assert opened.give_up == NOW + 900.0, "or it would be given up again at each start"


def test_a_new_round_has_all_its_time() -> None:
    opened = RoundDeadlines(1, 600.0, 0.0).gathering(0, frozenset("a"), 1, NOW)
    assert (opened.deadline, opened.give_up) == (NOW + 600.0, NOW + 600.0)
