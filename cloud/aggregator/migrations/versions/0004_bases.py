"""The round that an upload answers, where it counts in a later one."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column."""
    op.add_column("uploads", sa.Column("base", sa.Integer))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("uploads", "base")
