"""The server's loop, the same whoever the cohort is."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from edgeloop import implausible_uploads, robust
from edgeloop.algorithm import Algorithm
from edgeloop.answers import Answer, Report
from edgeloop.cohorts import Cohort
from edgeloop.implausible_uploads import Outlier
from edgeloop.participation import ParticipationPolicy, Recorded, staleness_weight
from edgeloop.protocol.robust_rules import RobustRule

log = logging.getLogger(__name__)

_MOST_NAMED = 5  # in a line of the log

S = TypeVar("S")
U = TypeVar("U")
B = TypeVar("B")

Held = Mapping[tuple[str, int], U | None]
"""Uploads by client and the round that they are to; None of one whose model has diverged."""


@dataclass(frozen=True)
class RunState(Generic[S, B]):
    """Where a run stands: all that the server needs to continue.

    Attributes:
        rounds: how many are done; the number of the next one.
        state: the algorithm's.
        broadcast: what the next round opens with.
    """

    rounds: int
    state: S
    broadcast: B


@dataclass(frozen=True)
class RoundResult(Generic[S, U, B]):
    """A round that is over.

    Attributes:
        number: its number.
        answers: by client.
        run_state: where the run stands after it.
        excluded: clients whose uploads were set aside, and why: with them the round has no
            result that is finite, or they are outliers, and those are refused.
        outliers: fields of uploads that are far from the cohort's.
        distant: what a robust rule found out of reach: each client's farthest part.
    """

    number: int
    answers: Mapping[str, Answer[U]]
    run_state: RunState[S, B]
    excluded: Mapping[str, str] = field(default_factory=dict)
    outliers: tuple[Outlier, ...] = ()
    distant: tuple[Outlier, ...] = ()


def initial_state(algorithm: Algorithm[S, Any, B]) -> RunState[S, B]:
    """Return where a new run stands."""
    return RunState(0, *algorithm.start())


def run_rounds(  # noqa: PLR0913 - the whole of a run, and only here
    algorithm: Algorithm[S, U, B],
    cohort: Cohort[B, U],
    rounds: int,
    run_state: RunState[S, B],
    on_round_end: Callable[[RoundResult[S, U, B]], None],
    should_stop: Callable[[], bool] = lambda: False,
    participation: ParticipationPolicy | None = None,
    refuse_outliers: bool = False,
    rule: RobustRule = "none",
    delayed: "DelayedUploads[U] | None" = None,
) -> tuple[RunState[S, B], Mapping[str, Report]]:
    """Run the rounds that are left, then have the clients evaluate the last broadcast.

    Args:
        algorithm: the run's.
        cohort: its clients.
        rounds: how many there are in all.
        run_state: where to continue, `initial_state(algorithm)` for a new run.
        on_round_end: called at the end of each round; what it stores is what a crash leaves.
        should_stop: asked before each round whether to stop before the last one.
        participation: who takes part in which round, of those that the algorithm does not ask
            everybody in; None for everybody in all of them.
        refuse_outliers: whether uploads far from the cohort's are set aside; so they are in a run
            whose record says so.
        rule: against forged uploads; a replayed run's is the recorded one.
        delayed: of a replayed run, with the uploads that it held where it continues; none held, if
            not given.

    Returns:
        where the run stands at its end, and the last evaluation by client.
    """
    if delayed is None and isinstance(participation, Recorded):
        delayed = DelayedUploads[U](participation)
    refuses = refuse_outliers or (
        isinstance(participation, Recorded) and participation.refuse_outliers
    )
    guard = robust.Guard(participation.rule if isinstance(participation, Recorded) else rule)
    while run_state.rounds < rounds and not should_stop():
        drawn = run_state.rounds >= algorithm.full_rounds or isinstance(participation, Recorded)
        attendance = participation if drawn else None
        joining = None if attendance is None else attendance.joining(run_state.rounds)
        answers = cohort.ask(run_state.rounds, run_state.broadcast, joining)
        if delayed is not None:
            answers = delayed.exchange(run_state.rounds, answers)
        uploads = _arrived_uploads(run_state.rounds, answers, attendance)
        factors = {name: staleness_weight(answers[name].staleness) for name in uploads}
        server = robust.guarded(_weighing(algorithm, factors), guard)
        new_state, excluded, odd = _aggregate(server, run_state, uploads, refuses)
        distant = _distant(run_state.rounds, guard)
        result = RoundResult(run_state.rounds, answers, new_state, excluded, odd, distant)
        on_round_end(result)
        run_state = result.run_state
    return run_state, cohort.finish(run_state.rounds, run_state.broadcast)


class DelayedUploads(Generic[U]):
    """Holds the uploads of a replayed run until the rounds that they count in.

    Args:
        recorded: which these are.
        held: where the run continues.
    """

    def __init__(self, recorded: Recorded, held: Held[U] | None = None) -> None:
        self._recorded = recorded
        self._held = dict(held or {})

    @property
    def held(self) -> Held[U]:
        """What later rounds count, after the last one that was asked for."""
        return self._held

    def exchange(
        self, round_number: int, answers: Mapping[str, Answer[U]]
    ) -> Mapping[str, Answer[U]]:
        """Return a round's answers with the uploads that count in it, as old as they are then."""
        stale = self._recorded.stale(round_number)
        if self._recorded.delays:
            self._held |= {(name, round_number): each.upload for name, each in answers.items()}
        found = dict(answers)
        for name, base in stale.items():
            upload, staleness = self._held.pop((name, base), None), round_number - base
            found[name] = replace(answers[name], upload=upload, staleness=staleness)
        self._forget(round_number)
        return found

    def _forget(self, round_number: int) -> None:
        """Keep only what counts in a later round."""
        wanted = {
            (name, base)
            for each in self._recorded.bases[round_number + 1 :]
            for name, base in each.items()
        }
        self._held = {key: each for key, each in self._held.items() if key in wanted}


def _weighing(algorithm: Algorithm[S, U, B], factors: Mapping[str, float]) -> Algorithm[S, U, B]:
    """Return an algorithm whose `aggregate_uploads` counts each upload by its client's factor.

    Raises:
        RuntimeError: if there is one besides 1, and the algorithm does more than average.
    """
    if all(factor == 1.0 for factor in factors.values()):
        return algorithm
    weighted = algorithm.aggregate_weighted
    if weighted is None:
        raise RuntimeError("the algorithm cannot count uploads by a factor")

    def by_name(state: S, uploads: Mapping[str, U]) -> tuple[S, B]:
        return weighted(state, list(uploads.values()), [factors[name] for name in uploads])

    return replace(algorithm, aggregate_by_name=by_name)


def _arrived_uploads(
    round_number: int, answers: Mapping[str, Answer[U]], participation: ParticipationPolicy | None
) -> dict[str, U]:
    """Return the uploads that the server gets, by client, in the order of the clients' names."""
    sent = {name: each.upload for name, each in answers.items() if each.upload is not None}
    names = sent if participation is None else participation.arriving(round_number, sent)
    return {name: sent[name] for name in sorted(names)}


def used_uploads(
    result: RoundResult[Any, U, Any], participation: ParticipationPolicy | None = None
) -> list[U]:
    """Return the uploads that a round's result is made of, in the order of the clients' names."""
    arrived = _arrived_uploads(result.number, result.answers, participation)
    return [each for name, each in arrived.items() if name not in result.excluded]


def _aggregate(
    algorithm: Algorithm[S, U, B],
    run_state: RunState[S, B],
    uploads: Mapping[str, U],
    refuse_outliers: bool,
) -> tuple[RunState[S, B], Mapping[str, str], tuple[Outlier, ...]]:
    """Return where the run stands after a round, whose uploads were set aside, and odd ones.

    It stands where it stood, if nothing was uploaded, or nothing that there is a result of.
    """
    number = run_state.rounds
    odd = implausible_uploads.outliers(uploads) if refuse_outliers else []
    refused = {each.client: str(each) for each in reversed(odd)}
    likely = {name: each for name, each in uploads.items() if name not in refused}
    made = implausible_uploads.aggregate_usable(
        algorithm, run_state.state, run_state.broadcast, likely
    )
    excluded = {**refused, **made.excluded}
    for name, why in excluded.items():
        facts = {"device": name, "round": number}
        log.warning("round %d excludes the upload of %s: %s", number, name, why, extra=facts)
    counted = {name: each for name, each in uploads.items() if name not in excluded}
    if uploads and not counted:
        text = "round %d changes nothing: no upload could be used, perhaps by the algorithm's fault"
        log.error(text, number, extra={"round": number})
    if not refuse_outliers:
        odd = implausible_uploads.outliers(counted)
        _log_outliers(number, odd)
    return RunState(number + 1, made.state, made.broadcast), excluded, tuple(odd)


def _distant(number: int, guard: robust.Guard) -> tuple[Outlier, ...]:
    """Log what a robust rule found out of reach, and return it; the guard forgets it."""
    found = sorted(guard.far, key=lambda each: -each.times)
    guard.forget()
    if found:
        named = ", ".join(
            f"{each.client} ({each.field or 'all of it'}, {each.times:.0f} times the median)"
            for each in found[:_MOST_NAMED]
        )
        text = "round %d: %d uploads are out of the robust rule's reach, or point the other way: %s"
        log.info(text, number, len(found), named, extra={"round": number})
    return tuple(found)


def _log_outliers(number: int, odd: Iterable[Outlier]) -> None:
    for each in odd:
        text = "round %d: %s of the upload of %s is %.0e times the cohort's median"
        facts = {"device": each.client, "round": number}
        log.warning(text, number, each.field or "all", each.client, each.times, extra=facts)
