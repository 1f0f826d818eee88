"""Devices that were taken out of a run."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "departures",
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("left", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run", "device", name="pk_departures"),
        sa.ForeignKeyConstraint(["run"], ["runs.run"], name="fk_departures_runs"),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("departures")
