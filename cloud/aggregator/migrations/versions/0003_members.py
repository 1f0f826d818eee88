"""Devices that were admitted to a run or evicted from it; who was asked in a round, and late."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the tables."""
    _members()
    for name in ("asked", "late"):
        _of_rounds(name)


def _members() -> None:
    op.create_table(
        "members",
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("since", sa.Integer, nullable=False),
        sa.Column("joined", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.Integer),
        sa.Column("ended", sa.DateTime(timezone=True)),
        sa.Column("reason", sa.String(16)),
        sa.PrimaryKeyConstraint("run", "device", name="pk_members"),
        sa.ForeignKeyConstraint(["run"], ["runs.run"], name="fk_members_runs"),
    )


def _of_rounds(name: str) -> None:
    op.create_table(
        name,
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("round", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("device", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("run", "round", "device", name=f"pk_{name}"),
        sa.ForeignKeyConstraint(
            ["run", "round"], ["rounds.run", "rounds.number"], name=f"fk_{name}_rounds"
        ),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("late", "asked", "members"):
        op.drop_table(table)
