"""What a round's devices and its algorithm tell of it: losses and numbers, as JSON."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column."""
    op.add_column("rounds", sa.Column("measures", sa.Text()))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("rounds", "measures")
