"""A server part that learns the sum of a round's uploads, as a rehearsal in one process."""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from edgeloop.algorithm import Algorithm
from edgeloop.errors import ConfigError
from edgeloop.secure.agreement import Agreement
from edgeloop.secure.rehearsal import add_in_secret

S = TypeVar("S")
U = TypeVar("U")
B = TypeVar("B")


def summed(algorithm: Algorithm[S, U, B], name: str) -> Algorithm[S, U, B]:
    """Return an algorithm whose server part has the sum of a round's uploads, and no single one.

    The masks are random, and the sum is exact: the result is a function of the uploads.

    Args:
        algorithm: the run's.
        name: its name.

    Raises:
        ConfigError: if it does more with uploads than to add them.
    """
    summing = algorithm.summing
    if summing is None:
        problem = f"{name} needs single uploads: its server does more than to add them"
        raise ConfigError("secure", problem, "leave it out, or choose another, such as fedavg")

    def by_name(state: S, uploads: Mapping[str, U]) -> tuple[S, B]:
        values = {client: summing.encode(each) for client, each in uploads.items()}
        count, size = len(values), len(next(iter(values.values())))
        agreement = Agreement("simulation", name, 0, count // 2 + 1, size, count)
        found = add_in_secret(agreement, values, lambda client: secrets.token_bytes)
        return algorithm.aggregate(state, [summing.decode(found.total_V)])

    return replace(algorithm, aggregate_by_name=by_name, aggregate_weighted=None)
