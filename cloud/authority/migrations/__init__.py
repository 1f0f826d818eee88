"""The authority's tables, and the steps that bring an older database up to them."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

VERSIONS = "authority_version"
"""Where it is written how far a database has come; it may be shared with ledgers."""

metadata = MetaData(naming_convention={"pk": "pk_%(table_name)s"})

# What devices enrol with; of the token itself there is the digest only.
tokens = Table(
    "authority_tokens",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("task", String(64), nullable=False),
    Column("pattern", String(64), nullable=False),  # of the names that it admits; often one name
    Column("labels", Text, nullable=False),  # JSON
    Column("uses", Integer, nullable=False),
    Column("used", Integer, nullable=False),
    Column("created", DateTime(timezone=True), nullable=False),
    Column("expires", DateTime(timezone=True), nullable=False),
    Column("revoked", DateTime(timezone=True)),
)

# Who is admitted to a task, or was.
devices = Table(
    "authority_devices",
    metadata,
    Column("task", String(64), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("folded", String(64), nullable=False),  # the name without capitals
    Column("labels", Text, nullable=False),  # JSON
    Column("token", String(16), nullable=False),  # the one it was admitted by
    Column("key", String(64), nullable=False),  # SHA-256 of its public key
    Column("admitted", DateTime(timezone=True), nullable=False),
    Column("revoked", DateTime(timezone=True)),
    UniqueConstraint("task", "folded", name="uq_authority_devices_folded"),
)

certificates = Table(
    "authority_certificates",
    metadata,
    Column("serial", String(40), primary_key=True),  # hexadecimal
    Column("signer", String(16), nullable=False),  # "devices" or "services"
    Column("task", String(64), nullable=False),
    Column("name", String(64), nullable=False),
    Column("issued", DateTime(timezone=True), nullable=False),
    Column("expires", DateTime(timezone=True), nullable=False),
    Column("revoked", DateTime(timezone=True)),
)

# What was done, by whom, and what became of it; rows are only added.
audit = Table(
    "authority_audit",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("actor", String(200), nullable=False),
    Column("act", String(32), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("detail", Text, nullable=False),
)


class UnknownSchemaError(Exception):
    """The database is a newer edgeloop's."""


def upgrade(connection: Connection) -> None:
    """Create the tables or bring them up to date, within the connection's transaction.

    Raises:
        UnknownSchemaError: if a newer version has written them.
    """
    bring_up(connection, Path(__file__).parent, VERSIONS)


def bring_up(connection: Connection, scripts: Path, versions: str) -> None:
    """Take the steps of a folder of alembic's, within the connection's transaction.

    Args:
        connection: to the database.
        scripts: the folder.
        versions: the table that says how far the database has come.

    Raises:
        UnknownSchemaError: if a newer version has taken further ones.
    """
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes["connection"] = connection
    present = MigrationContext.configure(
        connection, opts={"version_table": versions}
    ).get_current_heads()
    known = {each.revision for each in ScriptDirectory.from_config(config).walk_revisions()}
    if not known.issuperset(present):
        raise UnknownSchemaError("was written by a newer edgeloop")
    command.upgrade(config, "head")
