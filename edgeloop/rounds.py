"""The server's loop, the same whoever the cohort is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from edgeloop.algorithm import Algorithm
from edgeloop.cohorts import Cohort
from edgeloop.member import Answer, Report
from edgeloop.participation import Attendance

S = TypeVar("S")
U = TypeVar("U")
B = TypeVar("B")


@dataclass(frozen=True)
class Standing(Generic[S, B]):
    """Where a run stands: all that the server needs to go on.

    Attributes:
        rounds: how many are done; the number of the next one.
        state: the algorithm's.
        broadcast: what the next round opens with.
    """

    rounds: int
    state: S
    broadcast: B


@dataclass(frozen=True)
class Closed(Generic[S, U, B]):
    """A round that is over: its answers by client, and where the run stands after it."""

    number: int
    answers: Mapping[str, Answer[U]]
    standing: Standing[S, B]


def beginning(algorithm: Algorithm[S, Any, B]) -> Standing[S, B]:
    """Return where a new run stands."""
    return Standing(0, *algorithm.start())


def run(
    algorithm: Algorithm[S, U, B],
    cohort: Cohort[B, U],
    rounds: int,
    standing: Standing[S, B],
    after: Callable[[Closed[S, U, B]], None],
    enough: Callable[[], bool] = lambda: False,
    participation: Attendance | None = None,
) -> tuple[Standing[S, B], Mapping[str, Report]]:
    """Run the rounds that are left, then have the clients evaluate the last broadcast.

    Args:
        algorithm: the run's.
        cohort: its clients.
        rounds: how many there are in all.
        standing: where to go on, `beginning(algorithm)` for a new run.
        after: called at the end of each round; what it stores is what a crash leaves.
        enough: asked before each round whether to stop before the last one.
        participation: who takes part in which round; None for everybody in all of them.

    Returns:
        where the run stands at its end, and the last evaluation by client.
    """
    while standing.rounds < rounds and not enough():
        joining = None if participation is None else participation.joining(standing.rounds)
        answers = cohort.ask(standing.rounds, standing.broadcast, joining)
        uploads = _arrived(standing.rounds, answers, participation)
        closed = Closed(standing.rounds, answers, _learned(algorithm, standing, uploads))
        after(closed)
        standing = closed.standing
    return standing, cohort.finish(standing.rounds, standing.broadcast)


def _arrived(
    round_number: int, answers: Mapping[str, Answer[U]], participation: Attendance | None
) -> list[U]:
    """Return the uploads that the server gets, in the order of the clients' names."""
    sent = {name: each.upload for name, each in answers.items() if each.upload is not None}
    names = sent if participation is None else participation.arriving(round_number, sent)
    return [sent[name] for name in sorted(names)]


def _learned(
    algorithm: Algorithm[S, U, B], standing: Standing[S, B], uploads: Sequence[U]
) -> Standing[S, B]:
    """Return where the run stands after a round; where it stood, if nothing was uploaded."""
    if not uploads:
        return replace(standing, rounds=standing.rounds + 1)
    return Standing(standing.rounds + 1, *algorithm.aggregate(standing.state, uploads))
