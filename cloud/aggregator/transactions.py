"""A ledger's database in transactions, of the one run that it has adopted."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any, Self

from sqlalchemy import Connection

from cloud.aggregator.database import Database
from cloud.aggregator.database_errors import DAMAGED, translate_errors
from edgeloop.errors import EdgeloopError, RunError

LOCK_TIMEOUT_SECONDS = 60.0
"""For another program, such as one that makes a backup, to let go of a ledger."""


def utc() -> datetime:
    """Return the time now."""
    return datetime.now(UTC)


class Transactions:
    """Reads and writes a database; any thread may.

    Args:
        database: open.
        now: the clock.

    Attributes:
        is_open: whether it takes anything.
        on_write: after each transaction that writes, how many seconds it took.
    """

    def __init__(self, database: Database, now: Callable[[], datetime] = utc) -> None:
        self._database = database
        self._now = now
        self._writing = threading.Lock()
        self._adopted: str | None = None
        self.is_open = True
        self.on_write: Callable[[float], None] = lambda seconds: None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let another process have it. Closing twice does nothing."""
        with self._writing:
            self.is_open = False
            self._database.close()

    def set_lock_timeout(self, seconds: float = LOCK_TIMEOUT_SECONDS) -> None:
        """Wait so long for another program's lock, as a run does that nobody watches."""
        self._database.wait(seconds)

    @property
    def run(self) -> str:
        """The adopted run."""
        return self._run

    @property
    def name(self) -> str:
        """Its database's name, for messages: a file, or a URL without its password."""
        return self._database.name

    @property
    def is_new(self) -> bool:
        """Whether its file was made when it was opened; of a shared database nobody knows."""
        return self._database.made

    @property
    def is_shared(self) -> bool:
        """Whether several processes may write to it."""
        return self._database.shared

    def now(self) -> datetime:
        """Return the time by the ledger's clock."""
        return self._now()

    def reading(self) -> AbstractContextManager[Connection]:
        """Return a transaction that reads, for a table with a module of its own."""
        return self._read()

    def writing(self) -> AbstractContextManager[Connection]:
        """Return a transaction that writes; it is durable when its block ends."""
        return self._write()

    @property
    def _run(self) -> str:
        if self._adopted is None:
            raise RuntimeError("adopt a contract first")
        return self._adopted

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        self._check_open()
        name = self._database.name
        try:
            with translate_errors(name), self._database.engine.connect() as connection:
                yield connection
        except EdgeloopError:
            raise
        except (TypeError, ValueError) as error:  # SQLite keeps a text where a time should be
            raise RunError(name, *DAMAGED) from error

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with self._writing:
            self._check_open()
            begun = time.monotonic()
            with translate_errors(self._database.name), self._database.writing() as connection:
                yield connection
            self.on_write(time.monotonic() - begun)

    def _check_open(self) -> None:
        if not self.is_open:
            raise RunError(self._database.name, "is closed", "open it again")


def bytes_of(value: Any) -> bytes:
    """Return what a column of bytes holds; nothing where SQLite holds something else there."""
    return value if isinstance(value, bytes) else b""
