import pytest

from edgeloop.generators.retry import NoAnswerError, RetryPolicy


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pauses: list[float] = []

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(round(seconds, 6))
        self.now += seconds


class Away:
    """Somebody who answers 7 after so many failures."""

    def __init__(self, failures: int) -> None:
        self.failures = failures

    def answer(self) -> int:
        self.failures -= 1
        if self.failures >= 0:
            raise NoAnswerError(f"{self.failures} to go")
        return 7


def _patience(seconds: float, clock: Clock, heard: list[str | None]) -> RetryPolicy:
    return RetryPolicy(seconds, heard.append, clock.read, clock.sleep)


def test_who_answers_at_once_is_not_waited_for() -> None:
    clock, heard = Clock(), list[str | None]()
    assert _patience(30.0, clock, heard).call(Away(0).answer) == 7
    assert (clock.pauses, heard) == ([], [])


def test_pauses_double_and_the_end_is_told() -> None:
    clock, heard = Clock(), list[str | None]()
    assert _patience(30.0, clock, heard).call(Away(3).answer) == 7
    assert clock.pauses == [0.1, 0.2, 0.4]
    assert heard == ["2 to go", "1 to go", "0 to go", None]


def test_no_pause_is_longer_than_five_seconds() -> None:
    clock = Clock()
    _patience(60.0, clock, []).call(Away(9).answer)
    assert clock.pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]


def test_the_last_try_is_when_patience_ends() -> None:
    clock, heard = Clock(), list[str | None]()
    with pytest.raises(NoAnswerError, match=r"^95 to go$"):
        _patience(1.0, clock, heard).call(Away(100).answer)
    assert clock.pauses == [0.1, 0.2, 0.4, 0.3]
    assert clock.now == 101.0
    assert heard == ["99 to go", "98 to go", "97 to go", "96 to go", "95 to go"]


def test_no_patience_is_one_try() -> None:
    clock = Clock()
    with pytest.raises(NoAnswerError, match=r"^99 to go$"):
        _patience(0.0, clock, []).call(Away(100).answer)
    assert clock.pauses == []


def test_each_absence_has_the_whole_patience() -> None:
    clock = Clock()
    patience = _patience(1.0, clock, [])
    for _ in range(3):
        assert patience.call(Away(3).answer) == 7
    assert clock.now == pytest.approx(102.1)


def test_another_error_is_not_repeated() -> None:
    clock = Clock()
    with pytest.raises(ZeroDivisionError):
        _patience(30.0, clock, []).call(lambda: 1 // 0)
    assert clock.pauses == []
