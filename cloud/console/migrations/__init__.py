"""The server's tables, and the steps that bring an older database up to them."""

from pathlib import Path

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

from cloud.authority.migrations import bring_up

VERSIONS = "console_version"
"""Where it is written how far a database has come; it may be shared with others."""

NAME = String(200)
TIME = DateTime(timezone=True)

metadata = MetaData(naming_convention={"pk": "pk_%(table_name)s"})

tasks = Table(
    "console_tasks",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("source", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("algorithm", String(64), nullable=False),
    Column("run", String(64), nullable=False),
    Column("phase", String(16), nullable=False),
    Column("round", Integer, nullable=False),
    Column("rounds", Integer, nullable=False),
    Column("accuracy", Float),
    Column("waits", Text, nullable=False),
    Column("devices", Integer, nullable=False),
    Column("online", Integer, nullable=False),
    Column("seen", TIME, nullable=False),
)

runs = Table(
    "console_runs",
    metadata,
    Column("run", String(64), primary_key=True),
    Column("task", NAME, nullable=False),
    Column("algorithm", String(64), nullable=False),
    Column("rounds", Integer, nullable=False),
    Column("begun", TIME, nullable=False),
    Column("finished", TIME),
)

rounds = Table(
    "console_rounds",
    metadata,
    Column("run", String(64), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("participants", Integer, nullable=False),
    Column("accuracy", Float),
    Column("seconds", Float, nullable=False),
    Column("low", Float),
    Column("median", Float),
    Column("high", Float),
    Column("alone", Float),
    Column("bytes_up", BigInteger),
    Column("bytes_down", BigInteger),
    Column("measures", JSON(none_as_null=True)),
)

devices = Table(
    "console_devices",
    metadata,
    Column("task", NAME, primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("state", String(32), nullable=False),
    Column("round", Integer),
    Column("seconds", Float),
    Column("reason", Text, nullable=False),
    Column("version", String(64), nullable=False),
    Column("answered", Boolean),
    Column("accuracy", Float),
    Column("received", BigInteger, nullable=False),
    Column("last_answer", TIME),
    Column("alone", Float),
    Column("evicted", Boolean, nullable=False),
    Column("seen", TIME, nullable=False),
    Index("ix_console_devices_name", "name", "task"),
    Index("ix_console_devices_state", "state", "task", "name"),
)

models = Table(
    "console_models",
    metadata,
    Column("task", NAME, primary_key=True),
    Column("device", String(64), primary_key=True),
    Column("file", String(200), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("written", TIME, nullable=False),
)

# Rows are only added; `serial` is the aggregator's own number, so that none is taken twice.
refusals = Table(
    "console_refusals",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("task", NAME, nullable=False),
    Column("device", String(64), nullable=False),
    Column("round", Integer, nullable=False),
    Column("verdict", String(32), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", TIME, nullable=False),
    Column("serial", String(80), nullable=False, unique=True),
)

# What was done, by whom, and what became of it; rows are only added.
audit = Table(
    "console_audit",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("at", TIME, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("act", String(32), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("detail", Text, nullable=False),
)

# What is shipped to devices: `group` numbers a roll-out's groups from 0.
rollouts = Table(
    "console_rollouts",
    metadata,
    Column("rollout", String(64), primary_key=True),
    Column("name", NAME, nullable=False),
    Column("task", NAME, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("roll_back_on_error", Boolean, nullable=False),
    Column("carried", Boolean, nullable=False),  # whether the broker may keep something of it
    Column("actor", String(200), nullable=False),
    Column("begun", TIME, nullable=False),
    Column("changed", TIME, nullable=False),
    Index("ix_console_rollouts_task", "task", "kind"),
)

rollout_groups = Table(
    "console_rollout_groups",
    metadata,
    Column("rollout", String(64), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("name", NAME, nullable=False),
    Column("state", String(16), nullable=False),
    Column("success", Float, nullable=False),
    Column("error", Float, nullable=False),
)

rollout_devices = Table(
    "console_rollout_devices",
    metadata,
    Column("rollout", String(64), primary_key=True),
    Column("device", String(64), primary_key=True),
    Column("group", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("action", String(16), nullable=False),
    Column("serial", BigInteger, nullable=False),
    Column("changed", TIME, nullable=False),
    Index("ix_console_rollout_devices_device", "device", "rollout"),
)


def upgrade(connection: Connection) -> None:
    """Create the tables or bring them up to date, within the connection's transaction.

    Raises:
        UnknownSchemaError: if a newer version has written them.
    """
    bring_up(connection, Path(__file__).parent, VERSIONS)
