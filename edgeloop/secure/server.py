"""A server part that learns the sum of a round's uploads; and the same rehearsed in one process."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from edgeloop.algorithm import Algorithm, Summing
from edgeloop.errors import ConfigError
from edgeloop.secure.agreement import Agreement
from edgeloop.secure.rehearsal import add_in_secret

S = TypeVar("S")
U = TypeVar("U")
B = TypeVar("B")


def summing_of(algorithm: Algorithm[S, U, B], name: str) -> Summing:
    """Return how an algorithm's uploads are added.

    Args:
        algorithm: the run's.
        name: its name.

    Raises:
        ConfigError: if it does more with uploads than to add them.
    """
    if algorithm.summing is not None:
        return algorithm.summing
    problem = f"{name} needs single uploads: its server does more than to add them"
    remedy = "leave it out, or choose another, such as fedavg"
    if algorithm.make_client is not None:
        problem = f"{name} in half precision needs single uploads: it does not hold the sum of all"
        remedy = 'give the hyperparameter precision = "single"'
    raise ConfigError("secure", problem, remedy)


def _takes_any(upload: Any) -> None:
    """Find nothing wrong with a sum: it is no one client's, and has no bounds of one."""


def of_sum(algorithm: Algorithm[S, U, B], name: str) -> Algorithm[S, U, B]:
    """Return an algorithm whose uploads of a round are all one: that of the sum of all clients.

    A client cannot be taken out of it again.

    Args:
        algorithm: the run's.
        name: its name.

    Raises:
        ConfigError: if it does more with uploads than to add them.
    """
    summing_of(algorithm, name)

    def by_name(state: S, uploads: Mapping[str, U]) -> tuple[S, B]:
        return algorithm.aggregate(state, list(uploads.values())[:1])

    def metrics(uploads: Sequence[U], state: S, broadcast: B) -> Mapping[str, float]:
        return algorithm.round_metrics(uploads[:1], state, broadcast)

    return replace(
        algorithm,
        check=_takes_any,
        aggregate_by_name=by_name,
        aggregate_weighted=None,
        round_metrics=metrics,
        remove_clients=None,
    )


def summed(algorithm: Algorithm[S, U, B], name: str) -> Algorithm[S, U, B]:
    """Return an algorithm whose server part has the sum of a round's uploads, and no single one.

    The masks are random, and the sum is exact: the result is a function of the uploads.

    Args:
        algorithm: the run's.
        name: its name.

    Raises:
        ConfigError: if it does more with uploads than to add them.
    """
    summing = summing_of(algorithm, name)

    def by_name(state: S, uploads: Mapping[str, U]) -> tuple[S, B]:
        values = {client: summing.encode(each) for client, each in uploads.items()}
        count, size = len(values), len(next(iter(values.values())))
        agreement = Agreement("simulation", name, 0, count // 2 + 1, size, count)
        found = add_in_secret(agreement, values, lambda client: secrets.token_bytes)
        return algorithm.aggregate(state, [summing.decode(found.total_V)])

    return replace(algorithm, aggregate_by_name=by_name, aggregate_weighted=None)
