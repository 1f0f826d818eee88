"""What rounds were like besides: bytes and an algorithm's numbers; devices alone."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("console_rounds", sa.Column("bytes_up", sa.BigInteger))
    op.add_column("console_rounds", sa.Column("bytes_down", sa.BigInteger))
    op.add_column("console_rounds", sa.Column("measures", sa.JSON(none_as_null=True)))
    op.add_column("console_devices", sa.Column("alone", sa.Float))


def downgrade() -> None:
    """Drop the columns."""
    op.drop_column("console_devices", "alone")
    for name in ("measures", "bytes_down", "bytes_up"):
        op.drop_column("console_rounds", name)
