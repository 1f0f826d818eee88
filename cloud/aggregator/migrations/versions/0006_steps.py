"""What devices answer to the steps of a round's secure aggregation."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "steps",
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("round", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("step", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("run", "round", "step", "device", name="pk_steps"),
        sa.ForeignKeyConstraint(
            ["run", "round"], ["rounds.run", "rounds.number"], name="fk_steps_rounds"
        ),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("steps")
