"""A run over a network, run again in this process by its record."""

from collections.abc import Collection
from pathlib import Path

from edgeloop import record
from edgeloop.errors import ConfigError
from edgeloop.participation import Recorded


def policy(path: Path, rounds: int, clients: Collection[str]) -> Recorded:
    """Return who takes part in which round, by a record.

    Args:
        path: of the record.
        rounds: of this run.
        clients: their names.

    Raises:
        ConfigError: if it is no record, or of other clients or fewer rounds.
    """
    found = record.read(path)
    if rounds > len(found.rounds):
        problem = f"has {len(found.rounds)} rounds, and this run {rounds}"
        raise ConfigError(f"replay {path}", problem, f"give --rounds {len(found.rounds)}")
    if strangers := sorted(found.devices() - set(clients)):
        problem = f"names {strangers[0]}, and the data has {', '.join(list(clients)[:3])}, ..."
        remedy = "use the data of its devices; their names must be those of the clients"
        raise ConfigError(f"replay {path}", problem, remedy)
    return found.policy()
