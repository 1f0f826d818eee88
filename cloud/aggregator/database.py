"""Opens the ledger's database: one writer at a time, durable, up to date, its errors in words."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from cloud.aggregator import migrations, postgresql
from edgeloop.errors import ConfigError, EdgeloopError, RunError, StorageError, TakenError

DAMAGED = ("is damaged", "restore a backup, or use another folder")
"""What is wrong with a ledger that holds what none holds, and what to do."""


LACKING = ("is a ledger without all of its tables", DAMAGED[1])

PAGE_SIZE = "page_size = 16384"
"""Of a new file: an upload takes a few pages, and each costs a write of its own."""

_LOCKED = "is locked"
_PASSING = ("is full", "disk I/O error", *postgresql.PASSING)
"""Pieces of messages of what time may mend."""

_REMEDIES = {  # a piece of the database's message -> what is wrong, and what to do
    _LOCKED: ("is locked by another program", "close that program and try again"),
    "not a database": ("is no ledger", "restore a backup, or use another folder"),
    "malformed": DAMAGED,
    "no such table": LACKING,
    "no such column": LACKING,
    "unable to open": ("cannot be opened", "use a folder that exists and can be written"),
    "readonly": ("cannot be written", "make the file and its folder writable"),
    "is full": ("cannot grow because the disk is full", "free some space and start again"),
    "disk I/O error": ("cannot be read or written (disk I/O error)", "see to the disk"),
    **postgresql.REMEDIES,
    'relation "': LACKING,
    'column "': LACKING,
}


class LockedError(TakenError):
    """Another program, such as one that makes a backup, has locked a ledger's file."""


@dataclass
class Busy:
    """How long to wait for another program's lock on a file.

    Attributes:
        seconds: of a connection that is made from now on.
    """

    seconds: float = 5.0


@dataclass
class Database:
    """An open database; of its file, or of its task, no other aggregator can be writing.

    Attributes:
        engine: makes connections, for any thread.
        name: for messages: the file, or the URL without its password.
        lock: an open file whose advisory lock keeps others out; None where the database is shared.
        claim: the connection that holds the task, where the database is shared.
        busy: how long another program's lock is waited for, where it is a file.
        file: which file it is, where it is one.
        made: whether that file was made just now.
    """

    engine: Engine
    name: str
    lock: IO[str] | None
    claim: Connection | None = field(default=None)
    busy: Busy = field(default_factory=Busy)
    file: tuple[int, int] | None = None
    made: bool = False

    @property
    def shared(self) -> bool:
        """Whether other tasks may be in it, each with an aggregator of its own."""
        return self.lock is None

    def take(self, task: str) -> None:
        """Keep other aggregators from a task in a shared database.

        Raises:
            TakenError: if one has it.
        """
        if self.shared and self.claim is None:
            with translate_errors(self.name):
                self.claim = postgresql.claim(self.engine, self.name, task)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction; one thread at a time.

        Raises:
            StorageError: if the connection that held the task is lost.
            RunError: if the file is another one than was opened.
        """
        if self.claim is None:
            self._check_file()
            with self.engine.connect() as plain:
                connection = plain.execution_options(writes=True)
                with connection.begin():
                    yield connection
        elif self.claim.invalidated:  # it would connect again, and write without holding the task
            raise StorageError(self.name, *postgresql.LOST)
        else:
            with self.claim.begin():
                yield self.claim

    def retake(self, task: str) -> None:
        """Connect again after an outage, and hold the task again.

        Raises:
            StorageError: if it is not back yet.
            TakenError: if another aggregator has the task by now.
        """
        if not self.shared:
            return
        if self.claim is not None:
            postgresql.release(self.claim)
            self.claim = None
        self.engine.dispose()
        self.take(task)

    def _check_file(self) -> None:
        """Refuse to write to a file that nobody will find again.

        Raises:
            RunError: if the file was removed or replaced since it was opened.
        """
        if self.shared or _identity(self.name) == self.file:
            return
        problem = "was removed or replaced while its aggregator ran"
        raise RunError(self.name, problem, "restore it, and start the aggregator again")

    def scrub(self) -> None:
        """Write the file again, without what rows have left in it that are gone.

        A shared database reuses the place in its own time.
        """
        if self.shared:
            return
        connection = self.engine.raw_connection()
        try:
            for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                connection.cursor().execute(statement).fetchall()
        except sqlite3.Error as error:
            raise _database_error(self.name, str(error)) from error
        finally:
            connection.close()

    def wait(self, seconds: float) -> None:
        """Wait so long for another program's lock from now on."""
        if not self.shared:
            self.busy.seconds = seconds
            self.engine.dispose()  # the next connection waits so long

    def close(self) -> None:
        """Let another process have it; closing twice does nothing."""
        if self.claim is not None:
            postgresql.release(self.claim)
            self.claim = None
        self.engine.dispose()
        if self.lock is not None:
            self.lock.close()


def connect(url: str | URL, busy_seconds: float) -> Database:
    """Open a database and bring its schema up to date.

    Args:
        url: as SQLAlchemy writes it.
        busy_seconds: how long to wait for another program's lock on an SQLite file.

    Raises:
        ConfigError: if it is no URL, or one of a database that cannot be used.
        RunError: if the database cannot be used as it is.
        TakenError: if another aggregator has it.
        StorageError: if it cannot be reached now.
    """
    parsed = _parse(url)
    sqlite = parsed.get_backend_name() == "sqlite"
    name = _path(parsed) if sqlite else parsed.render_as_string(hide_password=True)
    lock = _locked(name) if sqlite else None
    try:
        if lock is not None:
            _check_not_emptied(name, lock)
        busy = Busy(busy_seconds)
        made = sqlite and _identity(name) is None
        database = Database(_engine(parsed, busy), name, lock, busy=busy, made=made)
        _prepare(database)
        database.file = _identity(name) if sqlite else None
        if lock is not None:
            _note_prepared(lock)
    except BaseException:
        if lock is not None:
            lock.close()
        raise
    return database


def _identity(name: str) -> tuple[int, int] | None:
    """Return which file a path leads to, whatever its name; None where it leads to none."""
    try:
        found = Path(name).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _parse(url: str | URL) -> URL:
    try:
        parsed = make_url(url)
        if parsed.drivername in postgresql.NAMES:
            parsed = parsed.set(drivername=postgresql.DRIVER)
        parsed.get_dialect().import_dbapi()
    except ArgumentError as error:  # its message may have the password in it
        remedy = "write it like sqlite:////folder/ledger.sqlite or postgresql://user@host/database"
        problem = (
            "names a database that there is no dialect for"
            if isinstance(error, NoSuchModuleError)
            else "is no database URL"
        )
        raise ConfigError("the ledger's URL", problem, remedy) from None
    except ModuleNotFoundError as error:
        problem = f"needs {error.name}, which is not installed"
        raise ConfigError("the ledger's URL", problem, f"install {error.name}") from error
    return parsed


def _path(url: URL) -> str:
    """Return the file's real path, one for all links to it."""
    if not url.database or url.database.startswith((":memory:", "file:")):
        remedy = "write it like sqlite:////folder/ledger.sqlite"
        raise ConfigError("the ledger's URL", "names no file, and a run would be lost", remedy)
    return str(Path(url.database).resolve())


def _locked(name: str) -> IO[str]:
    try:
        lock = Path(f"{name}.lock").open("a", encoding="utf-8")  # noqa: SIM115  # held while open
    except OSError as error:
        remedy = "use a folder that exists and can be written"
        raise RunError(name, f"cannot be opened ({error.strerror})", remedy) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        remedy = "stop it, or use another folder"
        raise TakenError(name, "another aggregator is running on it", remedy) from error
    return lock


def _check_not_emptied(name: str, lock: IO[str]) -> None:
    """Refuse a file without a byte that was a ledger: SQLite would begin it anew.

    One that was killed before its first write is begun again; one that is gone is a new one.
    """
    file = Path(name)
    if file.is_file() and not file.stat().st_size and lock.tell():
        problem = "was a ledger and is an empty file now: its run is lost"
        raise RunError(name, problem, "restore it from a backup, or remove it to begin a new run")


def _note_prepared(lock: IO[str]) -> None:
    """Leave behind, in the file beside it, that a ledger holds more than nothing."""
    if not lock.tell():
        lock.write("prepared\n")
        lock.flush()


def _engine(url: URL, busy: Busy) -> Engine:
    if url.get_backend_name() != "sqlite":
        return postgresql.engine_of(url)
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


def _prepare(database: Database) -> None:
    try:
        with translate_errors(database.name), database.engine.begin() as connection:
            _check(connection, database)
            migrations.upgrade(connection)
    except migrations.UnknownSchemaError as error:
        database.engine.dispose()
        remedy = "update edgeloop, or use another folder"
        raise RunError(database.name, str(error), remedy) from error
    except BaseException:
        database.engine.dispose()
        raise


def _check(connection: Connection, database: Database) -> None:
    if database.shared:
        postgresql.alone(connection)
        return
    name = database.name
    if not os.access(name, os.W_OK):
        raise RunError(name, *_REMEDIES["readonly"])
    if connection.exec_driver_sql("PRAGMA quick_check(1)").scalar() != "ok":
        raise RunError(name, *_REMEDIES["malformed"])


@contextmanager
def translate_errors(name: str) -> Iterator[None]:
    """Turn the database's errors into ours.

    Raises:
        EdgeloopError: naming the database: wrong, taken, or away.
    """
    try:
        yield
    except DBAPIError as error:
        raise _database_error(name, str(error.orig), postgresql.is_passing(error)) from error


def _database_error(name: str, message: str, passing: bool = False) -> EdgeloopError:
    """Return what a database's message means: wrong, taken by another program, or away.

    Args:
        name: the database's.
        message: its own words.
        passing: whether the database says that time may mend it.
    """
    known = [piece for piece in _REMEDIES if piece in message]
    if not known:
        kind = StorageError if passing else RunError
        return kind(name, f"failed ({' '.join(message.split())})", "look after the database")
    if known[0] == _LOCKED:
        return LockedError(name, *_REMEDIES[_LOCKED])
    return (StorageError if known[0] in _PASSING else RunError)(name, *_REMEDIES[known[0]])
