"""add what probes gave in numbers and in traces."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "debugger_blocks",
        sa.Column("org_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("probe_id", sa.String(length=64), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("metric", sa.String(length=300), nullable=False),
        sa.Column("kind", sa.String(length=1), nullable=False),
        sa.Column("stored", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.LargeBinary(), nullable=False),
        sa.Column("sets", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("org_id", "probe_id", "at_ms", "metric", "kind"),
    )
    with op.batch_alter_table("debugger_blocks", schema=None) as batch_op:
        batch_op.create_index(
            "debugger_blocks_by_time", ["org_id", "at_ms", "probe_id", "stored"], unique=False
        )

    op.create_table(
        "debugger_spans",
        sa.Column(
            "row_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("org_id", sa.Integer(), nullable=False),
        sa.Column("probe_id", sa.String(length=64), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("env", sa.Text(), nullable=False),
        sa.Column("trace_id", sa.String(length=32), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("row_id"),
    )
    with op.batch_alter_table("debugger_spans", schema=None) as batch_op:
        batch_op.create_index("debugger_spans_by_probe", ["org_id", "probe_id", "row_id"], unique=False)
        batch_op.create_index("debugger_spans_by_time", ["org_id", "at_ms"], unique=False)
        batch_op.create_index("debugger_spans_by_trace", ["org_id", "trace_id"], unique=False)

    op.create_table(
        "debugger_span_counts",
        sa.Column("org_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("probe_id", sa.String(length=64), nullable=False),
        sa.Column("hour_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("kept", sa.BigInteger(), nullable=False),
        sa.Column("last_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("org_id", "probe_id", "hour_ms"),
    )


def downgrade() -> None:
    op.drop_table("debugger_span_counts")
    with op.batch_alter_table("debugger_spans", schema=None) as batch_op:
        batch_op.drop_index("debugger_spans_by_trace")
        batch_op.drop_index("debugger_spans_by_time")
        batch_op.drop_index("debugger_spans_by_probe")

    op.drop_table("debugger_spans")
    with op.batch_alter_table("debugger_blocks", schema=None) as batch_op:
        batch_op.drop_index("debugger_blocks_by_time")

    op.drop_table("debugger_blocks")
