"""The ledger's tables, and the steps that bring an older database up to them."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    inspect,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
    }
)

runs = Table(
    "runs",
    metadata,
    Column("run", String(64), primary_key=True),
    Column("task", String(64), nullable=False),
    Column("contract", Text, nullable=False),  # JSON
    Column("digest", String(64), nullable=False),  # SHA-256 of the contract without its run
    Column("created", DateTime(timezone=True), nullable=False),
    Column("finished", DateTime(timezone=True)),
)

# A row is where a run stands before its round `number`, and later how that round went. The newest
# row is open. State and broadcast of old rounds are pruned to NULL.
rounds = Table(
    "rounds",
    metadata,
    Column("run", String(64), ForeignKey(runs.c.run), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("state", LargeBinary),
    Column("broadcast", LargeBinary),
    Column("opened", DateTime(timezone=True), nullable=False),
    Column("closed", DateTime(timezone=True)),
    Column("participants", Integer),
    Column("test_correct", Integer),
    Column("test_samples", Integer),
    Column("gathered", DateTime(timezone=True)),  # since when it takes no more uploads, if shared
    Column("measures", Text),  # the numbers that the round's devices and algorithm tell, as JSON
)

# The payloads of old rounds are pruned to NULL; who sent what stays.
uploads = Table(
    "uploads",
    metadata,
    Column("run", String(64), primary_key=True),
    Column("round", Integer, primary_key=True, autoincrement=False),
    Column("device", String(64), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("payload", LargeBinary),
    Column("size", Integer, nullable=False),  # bytes
    Column("received", DateTime(timezone=True), nullable=False),
    Column("base", Integer),  # the round that it answers; NULL for the one that it counts in
    ForeignKeyConstraint(["run", "round"], [rounds.c.run, rounds.c.number]),
)

# Devices that were taken out of a run for good; of their uploads there is no row any more.
departures = Table(
    "departures",
    metadata,
    Column("run", String(64), ForeignKey(runs.c.run), primary_key=True),
    Column("device", String(64), primary_key=True),
    Column("left", DateTime(timezone=True), nullable=False),
)

# Devices that no contract lists: they were admitted to a run with round `since`. Also those of any
# kind that were evicted: with round `until` they are out.
members = Table(
    "members",
    metadata,
    Column("run", String(64), ForeignKey(runs.c.run), primary_key=True),
    Column("device", String(64), primary_key=True),
    Column("since", Integer, nullable=False),
    Column("joined", DateTime(timezone=True), nullable=False),
    Column("until", Integer),
    Column("ended", DateTime(timezone=True)),
    Column("reason", String(16)),  # "evicted" or "left"
)


def _of_rounds(name: str) -> Table:
    """Return a table of devices by round."""
    return Table(
        name,
        metadata,
        Column("run", String(64), primary_key=True),
        Column("round", Integer, primary_key=True, autoincrement=False),
        Column("device", String(64), primary_key=True),
        ForeignKeyConstraint(["run", "round"], [rounds.c.run, rounds.c.number]),
    )


# Who was asked in a round; of a round that has no rows everybody was. Who answered is in `uploads`.
asked = _of_rounds("asked")

# Who trained in a round that closed without the answer.
late = _of_rounds("late")

# What devices answer to the steps of the open round's secure aggregation, and under the server's
# name what it has decided; all of it goes once the round is closed.
steps = Table(
    "steps",
    metadata,
    Column("run", String(64), primary_key=True),
    Column("round", Integer, primary_key=True, autoincrement=False),
    Column("step", Integer, primary_key=True, autoincrement=False),
    Column("device", String(64), primary_key=True),
    Column("payload", LargeBinary, nullable=False),
    ForeignKeyConstraint(["run", "round"], [rounds.c.run, rounds.c.number]),
)


class UnknownSchemaError(Exception):
    """The database is a newer edgeloop's, or no ledger at all."""


def upgrade(connection: Connection) -> None:
    """Create the tables or bring them up to date, within the connection's transaction.

    Raises:
        UnknownSchemaError: if the database holds anything but a ledger that this version knows.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    _check(connection, ScriptDirectory.from_config(config))
    command.upgrade(config, "head")


def _check(connection: Connection, scripts: ScriptDirectory) -> None:
    present = MigrationContext.configure(connection).get_current_heads()
    known = {script.revision for script in scripts.walk_revisions()}
    if not known.issuperset(present):
        raise UnknownSchemaError("was written by a newer edgeloop")
    if not present and inspect(connection).get_table_names():
        raise UnknownSchemaError("is another program's database")
