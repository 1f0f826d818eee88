"""What is legal in a run and still not wanted: said as it is found, and in its summary."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgeloop import server_loop
from edgeloop.algorithm import Algorithm
from edgeloop.data import Federation
from edgeloop.errors import ConfigError
from edgeloop.participation import ParticipationPolicy
from edgeloop.server_loop import RoundResult
from simulations.results.clients_table import ClientRow
from simulations.results.measurements import Row

log = logging.getLogger(__name__)


def log_all(sentences: Sequence[str]) -> None:
    """Log warnings, a line each."""
    for each in sentences:
        log.warning("%s", each)


def data_warnings(federation: Federation, batch_size: int) -> list[str]:
    """Return what is wrong with the clients' shares, a sentence each.

    Raises:
        ConfigError: if no client has a batch to train on.
    """
    sizes = federation.sizes()
    short = [train for train, _ in sizes if train < batch_size]
    if len(short) == len(sizes):
        problem = f"is {batch_size}, and no client has more than {max(short)} training samples"
        raise ConfigError("batch_size", problem, f"give at most {max(max(short), 1)}")
    found = _class_warnings(federation)
    if short:
        found.append(
            f"{len(short)} of {len(sizes)} clients have less than one batch of {batch_size}"
            " training samples, and do not train"
        )
    untested = sum(1 for _, test in sizes if not test)
    if untested == len(sizes):
        found.append("no client has a test sample: nobody knows what the run has learned")
    elif untested:
        found.append(f"{untested} of {len(sizes)} clients have no test samples")
    return found


def _class_warnings(federation: Federation) -> list[str]:
    """Return what is wrong with the classes: one alone, or some that nobody has."""
    held = federation.label_counts().sum(axis=0)
    names = federation.class_names
    present = [name for name, count in zip(names, held, strict=True) if count]
    found = []
    if len(present) == 1:
        found.append(f"all samples are of one class, {present[0]}: there is nothing to tell apart")
    if sentence := federation.absent_sentence():
        found.append(sentence)
    return found


def diverged_clients(rows: Sequence[ClientRow], sends: bool) -> frozenset[str]:
    """Return the clients whose models had diverged at a run's end.

    Args:
        rows: of the run.
        sends: whether its clients send anything; of those that do not, the scores of the last
            evaluation tell, which have no AUC where they are not finite.
    """
    last = max((row.round for row in rows), default=0)
    if not sends:
        ends = [row for row in rows if row.round == last and row.test_samples]
        return frozenset(row.client for row in ends if math.isnan(row.auc))
    ends = [row for row in rows if row.round == last - 1 and row.seconds_training > 0]
    return frozenset(row.client for row in ends if not (row.trained or row.arrived))


def client_warnings(rows: Sequence[ClientRow]) -> list[str]:
    """Return which clients diverged: they trained, and had nothing finite to send."""
    diverged = [
        row for row in rows if row.seconds_training > 0 and not (row.trained or row.arrived)
    ]
    if not diverged:
        return []
    first = diverged[0]
    names = {row.client for row in diverged}
    return [
        f"{len(names)} of {len({row.client for row in rows})} clients diverged, the first in round"
        f" {first.round}: {first.client}; what they send is not finite, or too large to be a"
        " model's, and is left out"
    ]


def round_metrics(
    algorithm: Algorithm[Any, Any, Any],
    closed: RoundResult[Any, Any, Any],
    participation: ParticipationPolicy | None,
) -> Mapping[str, float]:
    """Return an algorithm's own numbers of a round; none where nothing was uploaded."""
    uploads = server_loop.used_uploads(closed, participation)
    if not uploads:
        return {}
    return algorithm.round_metrics(uploads, closed.run_state.state, closed.run_state.broadcast)


def log_new_warnings(algorithm: Algorithm[Any, Any, Any], rows: Sequence[Row]) -> None:
    """Log what is wrong with the last round that was not so with the one before."""
    before, now = [{}, *(row.measures for row in rows)][-2:]
    known = algorithm.metric_warnings(before)
    for name, sentence in algorithm.metric_warnings(now).items():
        if name not in known:
            log.warning("after round %d: %s", rows[-1].round, sentence)


def rule_warnings(rule: str, distant: Sequence[int]) -> list[str]:
    """Return what a robust rule has done to a run that nobody need have attacked.

    Args:
        rule: its name.
        distant: how many uploads were out of its reach, of each round that had any.
    """
    if not distant:
        return []
    return [
        f"the robust rule {rule} changed or left out uploads in {len(distant)} rounds, up to"
        f" {max(distant)} in one: without it (--robust none) the run is the algorithm's alone"
    ]


def round_warnings(algorithm: Algorithm[Any, Any, Any], rows: Sequence[Row]) -> list[str]:
    """Return what was wrong in the last round of training, or in most of them, a sentence each."""
    trained = [algorithm.metric_warnings(row.measures) for row in rows[:-1]]
    found = []
    for name in dict.fromkeys(name for each in trained for name in each):
        such = [number for number, each in enumerate(trained) if name in each]
        if such[-1] == len(trained) - 1 or 2 * len(such) > len(trained):
            when = f"in {len(such)} of {len(trained)} rounds"
            found.append(f"{when}, the last of them {such[-1]}: {trained[such[-1]][name]}")
    return found
