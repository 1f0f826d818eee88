"""A ledger that several tasks share: one PostgreSQL database, one aggregator a task."""

import hashlib
from contextlib import suppress
from select import select as select_ready
from typing import Any, cast

from sqlalchemy import URL, Connection, Engine, create_engine, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.functions import func

from edgeloop.errors import TakenError

NAMES = ("postgres", "postgresql")
"""As URLs begin that leave the driver to us."""

DRIVER = "postgresql+psycopg"
CONNECT_SECONDS = 10
SILENT_SECONDS = 30
"""Of a network or a host that swallows what is sent, before the connection counts as lost."""
RELEASE_SECONDS = 5.0
"""For a server to say that it has let go of a task."""

CONNECTING = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": SILENT_SECONDS // 2,
    "keepalives_interval": SILENT_SECONDS // 6,
    "keepalives_count": 3,
    "tcp_user_timeout": 1000 * SILENT_SECONDS,
    # The server, too, looks whether we are there: it holds the task for us.
    "options": f"-c tcp_keepalives_idle={SILENT_SECONDS // 2}"
    f" -c tcp_keepalives_interval={SILENT_SECONDS // 6} -c tcp_keepalives_count=3",
}
"""How a connection is made: by libpq's names."""

MIGRATING = 0x65646765  # "edge": the advisory lock of whoever brings the schema up to date

LOST = ("was lost", "check that it runs; the task continues when it does")

REMEDIES = {  # a piece of the database's message -> what is wrong, and what to do
    "password authentication failed": ("refuses the user or password", "fix the URL"),
    "no password supplied": ("wants a password", "put it into the URL"),
    'database "': ("cannot be used", "create the database, and let the user make tables in it"),
    "permission denied": ("may not be written by this user", "let the user make tables in it"),
    "connection failed": ("cannot be reached", "start it, or fix the URL"),
    "resolve": ("cannot be reached", "fix the host in the URL"),
    "the connection is": LOST,
    "server closed": LOST,
    "terminating connection": LOST,
}

_PASSING_STATES = ("08", "25006", "40", "53", "57P")
"""How SQLSTATEs of what time may mend begin: connections, a server that only reads for now, or that
is stopped or started, and what it lacks (memory, connections, room on its disk)."""

PASSING = (
    *("connection failed", "resolve", "the connection is", "server closed"),
    "terminating connection",
)
"""Those of them that time may mend."""


def engine_of(url: URL) -> Engine:
    """Return an engine whose connections are tried before they are used."""
    return create_engine(url, pool_pre_ping=True, connect_args=CONNECTING)


def is_passing(error: DBAPIError) -> bool:
    """Return whether time may mend what a server or a connection says."""
    state = str(getattr(error.orig, "sqlstate", None) or "")
    return error.connection_invalidated or state.startswith(_PASSING_STATES)


def alone(connection: Connection) -> None:
    """Wait until no other aggregator is at its migrations; until the transaction ends."""
    connection.execute(select(func.pg_advisory_xact_lock(MIGRATING)))


def claim(engine: Engine, name: str, task: str) -> Connection:
    """Take a task; all that is written of it goes through the connection that holds it.

    So an aggregator that has lost the connection, and with it the task, cannot write.

    Raises:
        TakenError: if another aggregator has it.
    """
    key = int.from_bytes(hashlib.sha256(task.encode()).digest()[:8], "big", signed=True)
    connection = engine.connect()
    held = connection.scalar(select(func.pg_try_advisory_lock(key)))
    connection.commit()
    if not held:
        connection.close()
        problem = f"another aggregator is running task {task} on it"
        raise TakenError(name, problem, "stop it, or give this task another name")
    return connection


def release(connection: Connection) -> None:
    """Give a task back: the connection ends, and does not go back to the pool.

    The server lets go of the task first, since it sees only later that a connection has ended.
    """
    if not connection.invalidated:
        with suppress(connection.dialect.loaded_dbapi.Error):  # lost, and the task with it
            _let_go(connection)
    connection.invalidate()
    connection.close()


def _let_go(connection: Connection) -> None:
    """Have the server free the task, without waiting for one that has stopped."""
    protocol = cast(Any, connection.connection.driver_connection).pgconn
    protocol.send_query(b"select pg_advisory_unlock_all()")
    select_ready([protocol.socket], [], [], RELEASE_SECONDS)
