"""Runs, rounds and uploads."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    _runs()
    _rounds()
    _uploads()


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("task", sa.String(64), nullable=False),
        sa.Column("contract", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("run", name="pk_runs"),
    )


def _rounds() -> None:
    op.create_table(
        "rounds",
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("state", sa.LargeBinary),
        sa.Column("broadcast", sa.LargeBinary),
        sa.Column("opened", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed", sa.DateTime(timezone=True)),
        sa.Column("participants", sa.Integer),
        sa.Column("test_correct", sa.Integer),
        sa.Column("test_samples", sa.Integer),
        sa.PrimaryKeyConstraint("run", "number", name="pk_rounds"),
        sa.ForeignKeyConstraint(["run"], ["runs.run"], name="fk_rounds_runs"),
    )


def _uploads() -> None:
    op.create_table(
        "uploads",
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("round", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("payload", sa.LargeBinary),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("received", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run", "round", "device", name="pk_uploads"),
        sa.ForeignKeyConstraint(
            ["run", "round"], ["rounds.run", "rounds.number"], name="fk_uploads_rounds"
        ),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("uploads", "rounds", "runs"):
        op.drop_table(table)
