import pytest

from edgeloop.runtime.pace import Backoff, LogRateLimiter, Timer


def test_what_is_due_again_and_again() -> None:
    now = [0.0]
    pace = Timer(10, first=2, clock=lambda: now[0])
    assert not pace.due()
    assert pace.left() == 2
    now[0] = 2.0
    assert pace.due()
    assert not pace.due()
    assert pace.left() == 10
    now[0] = 50.0
    assert pace.left() == 0
    assert pace.due()
    assert pace.left() == 10


def test_those_who_began_together_do_not_go_on_together() -> None:
    left = {Timer(10, jitter=0.2, clock=lambda: 0.0).left() for _ in range(20)}
    assert len(left) > 1
    assert all(8 <= each <= 12 for each in left)


@pytest.mark.parametrize("taken_over", [True, False])
def test_connections_that_do_not_last_slow_down(taken_over: bool) -> None:
    backoff = Backoff()
    pauses = []
    for _ in range(20):
        backoff.connected()
        backoff.lost(1.0, taken_over)
        pauses.append(backoff.pause())
    assert max(pauses[:5]) < 1.5
    assert min(pauses[-5:]) > 40
    backoff.lost(30.0, False)
    assert backoff.unsteady, "two that fight take turns of a minute"
    backoff.lost(600.0, False)
    assert not backoff.unsteady


def test_a_broker_that_is_away_is_tried_ever_more_slowly() -> None:
    backoff = Backoff()
    pauses = []
    for _ in range(100):
        backoff.failed()
        pauses.append(backoff.pause())
    assert pauses[0] < 1
    assert 20 < pauses[-1] < 40
    backoff.connected()
    assert backoff.pause() < 2


def test_lines_that_are_spared() -> None:
    now = [0.0]
    sparing = LogRateLimiter(most=2, period=60.0, clock=lambda: now[0])
    assert [sparing.allowed("a") for _ in range(4)] == [2, 1, 0, 0]
    assert sparing.allowed("b") == 2
    now[0] = 60.0
    assert sparing.allowed("a") == 2
