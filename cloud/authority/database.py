"""The authority's database: SQLite in its folder, or PostgreSQL; several processes may write."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from cloud.aggregator import postgresql, sqlite_file
from cloud.aggregator.sqlite_file import Busy
from cloud.authority import migrations
from edgeloop.errors import ConfigError, EdgeloopError, RunError, StorageError

BUSY_SECONDS = 20.0
"""For another process, such as a command beside the service, to let go of the file."""

_REMEDIES = {  # a piece of SQLite's message -> what is wrong, and what to do
    "is locked": ("is locked by another program", "close that program and try again"),
    "not a database": ("is no database", "restore a backup"),
    "malformed": ("is damaged", "restore a backup"),
    "unable to open": ("cannot be opened", "use a folder that exists and can be written"),
    "readonly": ("cannot be written", "make the file and its folder writable"),
    "is full": ("cannot grow because the disk is full", "free some space"),
    **postgresql.REMEDIES,
}


class Database:
    """An open database.

    Args:
        url: as SQLAlchemy writes it.
        upgrade: brings its tables up to date; an authority's if not given.

    Raises:
        ConfigError: if it is no URL of a database that can be used.
        RunError: if the database cannot be used as it is.
        StorageError: if it cannot be reached now.
    """

    def __init__(
        self, url: str | URL, upgrade: Callable[[Connection], None] = migrations.upgrade
    ) -> None:
        parsed = _parsed(url)
        self._sqlite = parsed.get_backend_name() == "sqlite"
        self.name = parsed.render_as_string(hide_password=True)
        if self._sqlite:
            self.name = str(parsed.database)
            _make(Path(self.name))
        self._engine = (
            sqlite_file.engine_of(parsed, Busy(BUSY_SECONDS))
            if self._sqlite
            else postgresql.engine_of(parsed)
        )
        try:
            with self.writing() as connection:
                if not self._sqlite:
                    postgresql.alone(connection)
                upgrade(connection)
        except migrations.UnknownSchemaError as error:
            raise RunError(self.name, str(error), "update edgeloop") from error

    def close(self) -> None:
        """Part from it."""
        self._engine.dispose()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction; what it has written is safe when its block ends.

        Raises:
            StorageError: if the database is away for now.
            RunError: if it cannot be used as it is.
        """
        with self._translated(), self._engine.connect() as plain:
            connection = plain.execution_options(writes=True)
            with connection.begin():
                yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a connection that only reads; errors as above."""
        with self._translated(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise _error(self.name, error) from error


def as_utc(time: datetime) -> datetime:
    """Return a time as it was written: SQLite keeps no time zone."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _error(name: str, error: DBAPIError) -> EdgeloopError:
    message = " ".join(str(error.orig).split())
    known = next((each for each in _REMEDIES if each in message), None)
    problem, remedy = _REMEDIES.get(known or "", (f"failed ({message})", "look after it"))
    passing = postgresql.is_passing(error) or known in ("is locked", "is full")
    return (StorageError if passing else RunError)(name, problem, remedy)


def _parsed(url: str | URL) -> URL:
    try:
        parsed = make_url(url)
        if parsed.drivername in postgresql.NAMES:
            parsed = parsed.set(drivername=postgresql.DRIVER)
        parsed.get_dialect().import_dbapi()
    except (ArgumentError, ModuleNotFoundError):  # the message may have a password in it
        remedy = "write it like sqlite:////folder/authority.sqlite or postgresql://user@host/name"
        raise ConfigError("store", "is no URL of a database here", remedy) from None
    if parsed.get_backend_name() == "sqlite" and not parsed.database:
        raise ConfigError("store", "names no file", "write it like sqlite:////folder/file")
    return parsed


def _make(path: Path) -> None:
    """Make a file that its user alone may read, if there is none."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        remedy = "use a folder that exists and can be written"
        raise RunError(str(path), f"cannot be opened ({error.strerror})", remedy) from error
