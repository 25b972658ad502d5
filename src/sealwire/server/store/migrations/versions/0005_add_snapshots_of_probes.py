"""add snapshots of probes, what became of each probe in each process, and settings of both."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "debugger_counts",
        sa.Column("org_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("probe_id", sa.String(length=64), nullable=False),
        sa.Column("kept", sa.BigInteger(), nullable=False),
        sa.Column("over_quota", sa.BigInteger(), nullable=False),
        sa.Column("refused", sa.BigInteger(), nullable=False),
        sa.Column("last_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("org_id", "probe_id"),
    )
    op.create_table(
        "debugger_settings",
        sa.Column("org_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("changed_by", sa.String(length=200), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("org_id"),
    )
    op.create_table(
        "debugger_snapshots",
        sa.Column(
            "row_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("org_id", sa.Integer(), nullable=False),
        sa.Column("snapshot_id", sa.String(length=64), nullable=False),
        sa.Column("probe_id", sa.String(length=64), nullable=False),
        sa.Column("probe_version", sa.BigInteger(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("env", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.Column("span_id", sa.Text(), nullable=False),
        sa.Column("has_values", sa.Boolean(), nullable=False),
        sa.Column("errors", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("stored", sa.BigInteger(), nullable=False),
        sa.Column("duration_ns", sa.BigInteger(), nullable=True),
        sa.Column("message", sa.LargeBinary(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("row_id"),
    )
    with op.batch_alter_table("debugger_snapshots", schema=None) as batch_op:
        batch_op.create_index("debugger_snapshots_by_id", ["org_id", "snapshot_id"], unique=True)
        batch_op.create_index(
            "debugger_snapshots_by_probe", ["org_id", "probe_id", "at_ms", "stored"], unique=False
        )
        batch_op.create_index("debugger_snapshots_by_service", ["org_id", "service", "at_ms"], unique=False)
        batch_op.create_index("debugger_snapshots_by_time", ["org_id", "at_ms", "snapshot_id"], unique=False)
        batch_op.create_index("debugger_snapshots_by_trace", ["org_id", "trace_id"], unique=False)

    op.create_table(
        "debugger_statuses",
        sa.Column("org_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("probe_id", sa.String(length=128), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("runtime_id", sa.String(length=128), nullable=False),
        sa.Column("parent_id", sa.String(length=128), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("env", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=12), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.Column("seen_ms", sa.BigInteger(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("org_id", "probe_id", "version", "runtime_id"),
    )
    with op.batch_alter_table("debugger_statuses", schema=None) as batch_op:
        batch_op.create_index("debugger_statuses_by_time", ["org_id", "seen_ms"], unique=False)


def downgrade() -> None:
    for table in ("debugger_statuses", "debugger_snapshots", "debugger_settings", "debugger_counts"):
        op.drop_table(table)
