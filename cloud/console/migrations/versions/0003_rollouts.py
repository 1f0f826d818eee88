"""What is shipped to devices: roll-outs, their groups, their devices."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_NAME = sa.String(200)
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables."""
    _rollouts()
    _groups()
    _devices()


def _rollouts() -> None:
    op.create_table(
        "console_rollouts",
        sa.Column("rollout", sa.String(64), nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("task", _NAME, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("roll_back_on_error", sa.Boolean, nullable=False),
        sa.Column("carried", sa.Boolean, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("begun", _TIME, nullable=False),
        sa.Column("changed", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("rollout", name="pk_console_rollouts"),
    )
    op.create_index("ix_console_rollouts_task", "console_rollouts", ["task", "kind"])


def _groups() -> None:
    op.create_table(
        "console_rollout_groups",
        sa.Column("rollout", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("success", sa.Float, nullable=False),
        sa.Column("error", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("rollout", "number", name="pk_console_rollout_groups"),
    )


def _devices() -> None:
    op.create_table(
        "console_rollout_devices",
        sa.Column("rollout", sa.String(64), nullable=False),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("group", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("serial", sa.BigInteger, nullable=False),
        sa.Column("changed", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("rollout", "device", name="pk_console_rollout_devices"),
    )
    op.create_index(
        "ix_console_rollout_devices_device", "console_rollout_devices", ["device", "rollout"]
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("rollout_devices", "rollout_groups", "rollouts"):
        op.drop_table(f"console_{table}")
