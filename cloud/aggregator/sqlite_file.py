"""A ledger in a file of its own: SQLite, one aggregator at a time."""

import fcntl
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL

from edgeloop.errors import ConfigError, RunError, TakenError

PAGE_SIZE = "page_size = 16384"
"""Of a new file: an upload takes a few pages, and each costs a write of its own."""


@dataclass
class Busy:
    """How long to wait for another program's lock on a file.

    Attributes:
        seconds: of a connection that is made from now on.
    """

    seconds: float = 5.0


def identity(name: str) -> tuple[int, int] | None:
    """Return which file a path leads to, whatever its name; None where it leads to none."""
    try:
        found = Path(name).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def path_of(url: URL) -> str:
    """Return the file's real path, one for all links to it."""
    if not url.database or url.database.startswith((":memory:", "file:")):
        remedy = "write it like sqlite:////folder/ledger.sqlite"
        raise ConfigError("the ledger's URL", "names no file, and a run would be lost", remedy)
    return str(Path(url.database).resolve())


def lock(name: str) -> IO[str]:
    """Return an open file whose advisory lock keeps other aggregators from a ledger.

    Raises:
        RunError: if it cannot be made.
        TakenError: if another aggregator has it.
    """
    try:
        opened = Path(f"{name}.lock").open("a", encoding="utf-8")  # noqa: SIM115  # held while open
    except OSError as error:
        remedy = "use a folder that exists and can be written"
        raise RunError(name, f"cannot be opened ({error.strerror})", remedy) from error
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        opened.close()
        remedy = "stop it, or use another folder"
        raise TakenError(name, "another aggregator is running on it", remedy) from error
    return opened


def check_not_emptied(name: str, lock: IO[str]) -> None:
    """Refuse a file without a byte that was a ledger: SQLite would begin it anew.

    One that was killed before its first write is begun again; one that is gone is a new one.
    """
    file = Path(name)
    if file.is_file() and not file.stat().st_size and lock.tell():
        problem = "was a ledger and is an empty file now: its run is lost"
        raise RunError(name, problem, "restore it from a backup, or remove it to begin a new run")


def note_prepared(lock: IO[str]) -> None:
    """Leave behind, in the file beside it, that a ledger holds more than nothing."""
    if not lock.tell():
        lock.write("prepared\n")
        lock.flush()


def engine_of(url: URL, busy: Busy) -> Engine:
    """Return an engine whose transactions begin as they will end: reading, or writing."""
    engine = create_engine(url)

    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # or the driver begins and commits as it sees fit
        connection.execute(f"PRAGMA busy_timeout = {round(busy.seconds * 1000)}")
        for pragma in (PAGE_SIZE, "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    def begin(connection: Connection) -> None:
        # Who reads first and then writes is not made to wait for another's lock: it fails at once.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    return engine
