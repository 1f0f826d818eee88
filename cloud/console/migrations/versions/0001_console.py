"""Tasks, runs, rounds, devices, models, refusals, and what was done."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_NAME = sa.String(200)
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables."""
    _tasks()
    _runs()
    _rounds()
    _devices()
    _models()
    _refusals()
    _audit()


def _tasks() -> None:
    op.create_table(
        "console_tasks",
        sa.Column("name", _NAME, nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("algorithm", sa.String(64), nullable=False),
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("rounds", sa.Integer, nullable=False),
        sa.Column("accuracy", sa.Float),
        sa.Column("waits", sa.Text, nullable=False),
        sa.Column("devices", sa.Integer, nullable=False),
        sa.Column("online", sa.Integer, nullable=False),
        sa.Column("seen", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_console_tasks"),
    )


def _runs() -> None:
    op.create_table(
        "console_runs",
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("task", _NAME, nullable=False),
        sa.Column("algorithm", sa.String(64), nullable=False),
        sa.Column("rounds", sa.Integer, nullable=False),
        sa.Column("begun", _TIME, nullable=False),
        sa.Column("finished", _TIME),
        sa.PrimaryKeyConstraint("run", name="pk_console_runs"),
    )


def _rounds() -> None:
    op.create_table(
        "console_rounds",
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("participants", sa.Integer, nullable=False),
        sa.Column("accuracy", sa.Float),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("low", sa.Float),
        sa.Column("median", sa.Float),
        sa.Column("high", sa.Float),
        sa.Column("alone", sa.Float),
        sa.PrimaryKeyConstraint("run", "number", name="pk_console_rounds"),
    )


def _devices() -> None:
    op.create_table(
        "console_devices",
        sa.Column("task", _NAME, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("round", sa.Integer),
        sa.Column("seconds", sa.Float),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("answered", sa.Boolean),
        sa.Column("accuracy", sa.Float),
        sa.Column("received", sa.BigInteger, nullable=False),
        sa.Column("last_answer", _TIME),
        sa.Column("evicted", sa.Boolean, nullable=False),
        sa.Column("seen", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("task", "name", name="pk_console_devices"),
    )
    op.create_index("ix_console_devices_name", "console_devices", ["name", "task"])
    op.create_index("ix_console_devices_state", "console_devices", ["state", "task", "name"])


def _models() -> None:
    op.create_table(
        "console_models",
        sa.Column("task", _NAME, nullable=False),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("file", sa.String(200), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("written", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("task", "device", "file", name="pk_console_models"),
    )


def _refusals() -> None:
    op.create_table(
        "console_refusals",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("task", _NAME, nullable=False),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("verdict", sa.String(32), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("serial", sa.String(80), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_console_refusals"),
        sa.UniqueConstraint("serial", name="uq_console_refusals_serial"),
    )


def _audit() -> None:
    op.create_table(
        "console_audit",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("act", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_console_audit"),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("audit", "refusals", "models", "devices", "rounds", "runs", "tasks"):
        op.drop_table(f"console_{table}")
