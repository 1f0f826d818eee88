"""The server's loop, the same whoever the cohort is."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from edgeloop import sifting
from edgeloop.algorithm import Algorithm
from edgeloop.answers import Answer, Report
from edgeloop.cohorts import Cohort
from edgeloop.participation import Attendance

log = logging.getLogger(__name__)

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
    """A round that is over.

    Attributes:
        number: its number.
        answers: by client.
        standing: where the run stands after it.
        implausible: clients whose uploads were set aside, and why: with them the round has no
            result that is finite.
    """

    number: int
    answers: Mapping[str, Answer[U]]
    standing: Standing[S, B]
    implausible: Mapping[str, str] = field(default_factory=dict)


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
        participation: who takes part in which round, of those that the algorithm does not ask
            everybody in; None for everybody in all of them.

    Returns:
        where the run stands at its end, and the last evaluation by client.
    """
    while standing.rounds < rounds and not enough():
        some = participation if standing.rounds >= algorithm.whole_rounds else None
        joining = None if some is None else some.joining(standing.rounds)
        answers = cohort.ask(standing.rounds, standing.broadcast, joining)
        uploads = _arrived(standing.rounds, answers, some)
        learned, aside = _learned(algorithm, standing, uploads)
        closed = Closed(standing.rounds, answers, learned, aside)
        after(closed)
        standing = closed.standing
    return standing, cohort.finish(standing.rounds, standing.broadcast)


def _arrived(
    round_number: int, answers: Mapping[str, Answer[U]], participation: Attendance | None
) -> dict[str, U]:
    """Return the uploads that the server gets, by client, in the order of the clients' names."""
    sent = {name: each.upload for name, each in answers.items() if each.upload is not None}
    names = sent if participation is None else participation.arriving(round_number, sent)
    return {name: sent[name] for name in sorted(names)}


def counted(closed: Closed[Any, U, Any], participation: Attendance | None = None) -> list[U]:
    """Return the uploads that a round's result is made of, in the order of the clients' names."""
    arrived = _arrived(closed.number, closed.answers, participation)
    return [each for name, each in arrived.items() if name not in closed.implausible]


def _learned(
    algorithm: Algorithm[S, U, B], standing: Standing[S, B], uploads: Mapping[str, U]
) -> tuple[Standing[S, B], Mapping[str, str]]:
    """Return where the run stands after a round, and whose uploads spoilt it.

    It stands where it stood, if nothing was uploaded, or nothing that there is a result of.
    """
    number = standing.rounds
    made = sifting.made(algorithm, standing.state, standing.broadcast, uploads)
    for name, why in made.aside.items():
        facts = {"device": name, "round": number}
        log.warning("round %d is made without what %s sent: %s", number, name, why, extra=facts)
    counted = {name: each for name, each in uploads.items() if name not in made.aside}
    if uploads and not counted:
        text = "round %d changes nothing: no upload could be used, perhaps by the algorithm's fault"
        log.error(text, number, extra={"round": number})
    for name, times in sifting.far(counted):
        text = "round %d: the largest value that %s sent is %.0e times the cohort's median"
        log.warning(text, number, name, times, extra={"device": name, "round": number})
    return Standing(number + 1, made.state, made.broadcast), made.aside
