"""Patience with somebody who is away: tries again and again, less and less often, to an end."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
OnProblem = Callable[[str | None], None]

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two tries: doubled from one to the next."""


class NoAnswerError(Exception):
    """Nobody answers now, and somebody may later; says what is wrong."""


class RetryPolicy:
    """How long to wait for an answer, and who hears of it.

    Args:
        seconds: from the first failure to the last try.
        watch: called with what is wrong at each failure, and with None once all is well again.
        clock: seconds that only grow.
        sleep: waits so many of them.
    """

    def __init__(
        self,
        seconds: float,
        watch: OnProblem,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self.seconds = seconds
        self._watch, self._clock, self._sleep = watch, clock, sleep

    def call(self, request: Callable[[], T]) -> T:
        """Return the answer to a request, repeated while it raises `NoAnswerError`.

        Raises:
            NoAnswerError: the last one, if there is no answer in time.
        """
        try:
            return request()
        except NoAnswerError as error:
            self._watch(str(error))
            answer = self._again(request, self._clock(), error)
        self._watch(None)
        return answer

    def _again(self, request: Callable[[], T], since: float, last: NoAnswerError) -> T:
        pause = FIRST_PAUSE
        while (left := since + self.seconds - self._clock()) > 0:
            self._sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE)
            try:
                return request()
            except NoAnswerError as error:
                self._watch(str(error))
                last = error
        raise last
