"""Tokens, devices, certificates and what was done."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables."""
    _tokens()
    _devices()
    _certificates()
    _audit()


def _tokens() -> None:
    op.create_table(
        "authority_tokens",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("task", sa.String(64), nullable=False),
        sa.Column("pattern", sa.String(64), nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("uses", sa.Integer, nullable=False),
        sa.Column("used", sa.Integer, nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.Column("expires", _TIME, nullable=False),
        sa.Column("revoked", _TIME),
        sa.PrimaryKeyConstraint("id", name="pk_authority_tokens"),
        sa.UniqueConstraint("digest", name="uq_authority_tokens_digest"),
    )


def _devices() -> None:
    op.create_table(
        "authority_devices",
        sa.Column("task", sa.String(64), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("folded", sa.String(64), nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("token", sa.String(16), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("admitted", _TIME, nullable=False),
        sa.Column("revoked", _TIME),
        sa.PrimaryKeyConstraint("task", "name", name="pk_authority_devices"),
        sa.UniqueConstraint("task", "folded", name="uq_authority_devices_folded"),
    )


def _certificates() -> None:
    op.create_table(
        "authority_certificates",
        sa.Column("serial", sa.String(40), nullable=False),
        sa.Column("signer", sa.String(16), nullable=False),
        sa.Column("task", sa.String(64), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("issued", _TIME, nullable=False),
        sa.Column("expires", _TIME, nullable=False),
        sa.Column("revoked", _TIME),
        sa.PrimaryKeyConstraint("serial", name="pk_authority_certificates"),
    )
    op.create_index("ix_authority_certificates_holder", "authority_certificates", ["task", "name"])


def _audit() -> None:
    op.create_table(
        "authority_audit",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("act", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("audit", "certificates", "devices", "tokens"):
        op.drop_table(f"authority_{table}")
