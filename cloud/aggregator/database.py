"""Opens the ledger's database: one writer at a time, durable, up to date, its errors in words."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from cloud.aggregator import migrations, postgresql, sqlite_file
from cloud.aggregator.database_errors import REMEDIES, database_error, translate_errors
from cloud.aggregator.database_errors import LockedError as LockedError
from edgeloop.errors import ConfigError, RunError, StorageError


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
    busy: sqlite_file.Busy = field(default_factory=sqlite_file.Busy)
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
        if self.shared or sqlite_file.identity(self.name) == self.file:
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
            raise database_error(self.name, str(error)) from error
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
    name = sqlite_file.path_of(parsed) if sqlite else parsed.render_as_string(hide_password=True)
    lock = sqlite_file.lock(name) if sqlite else None
    try:
        if lock is not None:
            sqlite_file.check_not_emptied(name, lock)
        busy = sqlite_file.Busy(busy_seconds)
        made = sqlite and sqlite_file.identity(name) is None
        database = Database(_engine(parsed, busy), name, lock, busy=busy, made=made)
        _prepare(database)
        database.file = sqlite_file.identity(name) if sqlite else None
        if lock is not None:
            sqlite_file.note_prepared(lock)
    except BaseException:
        if lock is not None:
            lock.close()
        raise
    return database


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


def _engine(url: URL, busy: sqlite_file.Busy) -> Engine:
    sqlite = url.get_backend_name() == "sqlite"
    return sqlite_file.engine_of(url, busy) if sqlite else postgresql.engine_of(url)


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
        raise RunError(name, *REMEDIES["readonly"])
    if connection.exec_driver_sql("PRAGMA quick_check(1)").scalar() != "ok":
        raise RunError(name, *REMEDIES["malformed"])
