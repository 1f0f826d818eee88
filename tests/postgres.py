"""A real PostgreSQL for tests: one server a session, an empty database for each test."""

import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from cloud.aggregator.ledger import Ledger
from edgeloop.errors import TakenError
from edgeloop.protocol.task import Contract
from tests.world import lasting_port

USER, PASSWORD = "edgeloop", "a p@ss/word"


@dataclass(frozen=True)
class Postgres:
    """A server on the loopback interface.

    Attributes:
        programs: the folder with its programs.
        data: its folder; its socket and its log are beside it.
        port: that it listens on.
    """

    programs: Path
    data: Path
    port: int

    def start(self) -> None:
        """Start it, and return when it answers."""
        folder = self.data.parent
        # Without fsync: a test kills processes, not the machine.
        options = f"-c listen_addresses=127.0.0.1 -c fsync=off -p {self.port} -k {folder}"
        self.control("-o", options, "-l", str(folder / "log"), "start")

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """Return a connection whose statements take effect at once."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=USER,
            password=PASSWORD,
            dbname=database,
            autocommit=True,
        )

    def database(self) -> str:
        """Make an empty database; return its URL."""
        name = f"test_{uuid.uuid4().hex}"
        with self.connect() as connection:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        return f"postgresql://{USER}:a%20p%40ss%2Fword@127.0.0.1:{self.port}/{name}"

    def control(self, *arguments: str) -> None:
        """Run `pg_ctl`."""
        _run(self.programs / "pg_ctl", "-D", str(self.data), "-w", *arguments)


def programs() -> Path:
    """Return the folder with the server's programs; without them skip, or fail in CI."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name)
    found = shutil.which("pg_ctl")
    candidates = [*([Path(found).resolve().parent] if found else []), *reversed(places)]
    for place in candidates:
        if (place / "initdb").exists():
            return place
    if os.environ.get("CI"):
        pytest.fail("postgresql is not installed; tools/postgres.sh installs it")
    pytest.skip("postgresql is not installed; tools/postgres.sh installs it")


@contextmanager
def running() -> Iterator[Postgres]:
    """Run a server until the block ends."""
    place = programs()
    folder = Path(tempfile.mkdtemp(prefix="edgeloop-postgres-"))
    try:
        if os.geteuid() == 0:  # which PostgreSQL refuses to run as
            shutil.chown(folder, "postgres", "postgres")
        server = Postgres(place, folder / "data", lasting_port())
        _make(server, folder)
        server.start()
        try:
            yield server
        finally:
            server.control("-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def _make(server: Postgres, folder: Path) -> None:
    secret = folder / "secret"
    secret.write_text(PASSWORD)
    if os.geteuid() == 0:
        shutil.chown(secret, "postgres", "postgres")
    access = ("-U", USER, f"--pwfile={secret}", "-A", "scram-sha-256")
    _run(server.programs / "initdb", "-D", str(server.data), "-N", "-E", "UTF8", *access)


def _run(program: Path, *arguments: str) -> None:
    user = "postgres" if os.geteuid() == 0 else None
    done = subprocess.run(
        [program, *arguments],
        user=user,
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def reopened(url: str, task: Contract) -> Ledger:
    """Open the ledger of a task that a killed process may still hold for a moment."""
    deadline = time.monotonic() + 30
    while True:
        ledger = Ledger.open(url)
        try:
            ledger.adopt(task)
        except TakenError:
            ledger.close()
            assert time.monotonic() < deadline
            time.sleep(0.1)  # until the server has noticed
        else:
            return ledger
