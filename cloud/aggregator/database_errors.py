"""What a database's messages mean: wrong, taken by another program, or away for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError

from cloud.aggregator import postgresql
from edgeloop.errors import EdgeloopError, RunError, StorageError, TakenError

DAMAGED = ("is damaged", "restore a backup, or use another folder")
"""What is wrong with a ledger that holds what none holds, and what to do."""


LACKING = ("is a ledger without all of its tables", DAMAGED[1])

_LOCKED = "is locked"
_PASSING = ("is full", "disk I/O error", *postgresql.PASSING)
"""Pieces of messages of what time may mend."""

REMEDIES = {  # a piece of the database's message -> what is wrong, and what to do
    _LOCKED: ("is locked by another program", "close that program and try again"),
    "not a database": ("is no ledger", "restore a backup, or use another folder"),
    "malformed": DAMAGED,
    "no such table": LACKING,
    "no such column": LACKING,
    "unable to open": ("cannot be opened", "use a folder that exists and can be written"),
    "readonly": ("cannot be written", "make the file and its folder writable"),
    "is full": ("cannot grow because the disk is full", "free some space and start again"),
    "disk I/O error": ("cannot be read or written (disk I/O error)", "check the disk"),
    **postgresql.REMEDIES,
    'relation "': LACKING,
    'column "': LACKING,
}


class LockedError(TakenError):
    """Another program, such as one that makes a backup, has locked a ledger's file."""


@contextmanager
def translate_errors(name: str) -> Iterator[None]:
    """Turn the database's errors into ours.

    Raises:
        EdgeloopError: naming the database: wrong, taken, or away.
    """
    try:
        yield
    except DBAPIError as error:
        raise database_error(name, str(error.orig), postgresql.is_passing(error)) from error


def database_error(name: str, message: str, passing: bool = False) -> EdgeloopError:
    """Return what a database's message means: wrong, taken by another program, or away.

    Args:
        name: the database's.
        message: its own words.
        passing: whether the database says that time may mend it.
    """
    known = [piece for piece in REMEDIES if piece in message]
    if not known:
        kind = StorageError if passing else RunError
        return kind(name, f"failed ({' '.join(message.split())})", "check the database")
    if known[0] == _LOCKED:
        return LockedError(name, *REMEDIES[_LOCKED])
    return (StorageError if known[0] in _PASSING else RunError)(name, *REMEDIES[known[0]])
