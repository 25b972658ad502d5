"""add what a probe has besides its config, and stops of probes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "probe_stops",
        sa.Column("org_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("stop_id", sa.String(length=16), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("env", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("lifted_by", sa.String(length=200), nullable=False),
        sa.Column("lifted_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("org_id", "stop_id"),
    )
    op.create_table(
        "probes",
        sa.Column("org_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("config_id", sa.String(length=16), nullable=False),
        sa.Column("minutes", sa.Integer(), nullable=False),
        sa.Column("paused_revision", sa.BigInteger(), nullable=True),
        sa.Column("paused_ms", sa.BigInteger(), nullable=True),
        sa.Column("paused_by", sa.String(length=200), nullable=False),
        sa.Column("stop_id", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("org_id", "config_id"),
    )


def downgrade() -> None:
    op.drop_table("probes")
    op.drop_table("probe_stops")
