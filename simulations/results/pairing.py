"""Finished runs as the sides of a comparison, device by device: `edgeloop.statistics.paired`."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from edgeloop.errors import EdgeloopError, RunError
from edgeloop.statistics.paired import Paired, Side, paired
from edgeloop.statistics.verdict import sentence
from simulations.results import clients_table, concerns
from simulations.results.clients_table import TABLE
from simulations.results.runs import FinishedRun

ALONE = "local"
"""The algorithm whose clients learn alone."""


class ComparisonResult(NamedTuple):
    """A comparison, and the sentence on it."""

    found: Paired
    sentence: str


def compare_runs(
    one: Sequence[FinishedRun], other: Sequence[FinishedRun], names: tuple[str, str] | None = None
) -> ComparisonResult:
    """Compare runs of one setting with runs of another, on the same partition.

    Args:
        one: runs that differ in the seed alone.
        other: likewise.
        names: what the sentence calls the two; the algorithms' titles if not given.

    Raises:
        RunError: if a file of one of them is damaged.
    """
    named = names or (one[0].title, other[0].title)
    sides = side(one, named[0]), side(other, named[1])
    found = paired(*sides)
    alone = [runs[0].summary.config.algorithm == ALONE for runs in (one, other)]
    return ComparisonResult(found, sentence(found, *sides, alone=alone == [False, True]))


def as_json(result: ComparisonResult) -> dict[str, Any]:
    """Return a comparison as JSON values, its sentence first."""
    found: dict[str, Any] = json.loads(json.dumps(asdict(result.found)))  # tuples become lists
    return {"sentence": result.sentence, **found}


def side(runs: Sequence[FinishedRun], title: str) -> Side:
    """Return runs of one setting as one side: the means of their right answers.

    Raises:
        RunError: if a file of one of them is damaged.
    """
    sides = [_side(run, title) for run in runs]
    if len(sides) == 1:
        return sides[0]
    last = max(each.last for each in sides)
    rounds = range(last + 1) if all(0 in each.right for each in sides) else (last,)
    right = {number: _mean([each.at(number) for each in sides]) for number in rounds}
    diverged = frozenset[str]().union(*(each.diverged for each in sides))
    return Side(title, sides[0].samples, right, diverged=diverged, runs=len(sides))


def _mean(right: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: statistics.fmean(each[name] for each in right) for name in right[0]}


def _side(run: FinishedRun, title: str) -> Side:
    try:
        return _read(run, title)
    except EdgeloopError:
        raise
    except (KeyError, ValueError) as error:
        problem = f"is damaged: its clients' answers do not fit ({error})"
        raise RunError(str(run.folder), problem, "run it again into a new folder") from error


def _read(run: FinishedRun, title: str) -> Side:
    summary = run.summary
    samples = {name: each["test"] for name, each in summary.samples_by_client.items()}
    if not (run.folder / TABLE).exists():  # of an older version: its last evaluation is known
        right = {n: round(a * samples[n]) for n, a in summary.accuracy_by_client.items()}
        return Side(title, samples, {run.rounds: right})
    rows = clients_table.read(run.folder)
    by_round: dict[int, dict[str, float]] = {}
    for row in rows:
        by_round.setdefault(row.round, {})[row.client] = row.test_correct
    diverged = concerns.diverged_clients(rows, sends=run.sends)
    return Side(title, samples, by_round, clients_table.hits(run.folder), diverged)
