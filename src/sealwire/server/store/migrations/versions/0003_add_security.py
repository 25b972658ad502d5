"""add security traces, signals and detection rules."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "detection_memory",
        sa.Column("org_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("org_id", "kind", "key"),
    )
    with op.batch_alter_table("detection_memory", schema=None) as batch_op:
        batch_op.create_index("detection_memory_by_time", ["org_id", "at_ms"], unique=False)

    op.create_table(
        "detection_rules",
        sa.Column("org_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("rule_id", sa.String(length=200), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("is_builtin", sa.Boolean(), nullable=False),
        sa.Column("changed_by", sa.String(length=200), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("org_id", "rule_id", "version"),
    )
    op.create_table(
        "security_traces",
        sa.Column(
            "row_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("org_id", sa.Integer(), nullable=False),
        sa.Column("ts_ms", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.Column("span_id", sa.Text(), nullable=False),
        sa.Column("is_attack", sa.Boolean(), nullable=False),
        sa.Column("blocked", sa.Boolean(), nullable=False),
        sa.Column("listed", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("duration_us", sa.BigInteger(), nullable=False),
        sa.Column("actor_address", sa.LargeBinary(), nullable=False),
        sa.Column("peer_address", sa.LargeBinary(), nullable=False),
        sa.Column("actor_ip", sa.Text(), nullable=False),
        sa.Column("peer_ip", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("env", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("runtime_id", sa.Text(), nullable=False),
        sa.Column("lang", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("user_agent", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("user_login", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("security_response_id", sa.Text(), nullable=False),
        sa.Column("qualification", sa.Text(), nullable=False),
        sa.Column("fp_endpoint", sa.Text(), nullable=False),
        sa.Column("fp_header", sa.Text(), nullable=False),
        sa.Column("fp_network", sa.Text(), nullable=False),
        sa.Column("fp_session", sa.Text(), nullable=False),
        sa.Column("activities", sa.Text(), nullable=False),
        sa.Column("rule_ids", sa.Text(), nullable=False),
        sa.Column("rule_types", sa.Text(), nullable=False),
        sa.Column("exploits", sa.Text(), nullable=False),
        sa.Column("tools", sa.Text(), nullable=False),
        sa.Column("touches", sa.Text(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("stacks", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("row_id"),
    )
    with op.batch_alter_table("security_traces", schema=None) as batch_op:
        batch_op.create_index("security_traces_by_account", ["org_id", "account", "ts_ms"], unique=False)
        batch_op.create_index("security_traces_by_id", ["org_id", "trace_id", "span_id"], unique=True)
        batch_op.create_index("security_traces_by_ip", ["org_id", "actor_ip", "ts_ms"], unique=False)
        batch_op.create_index("security_traces_by_service", ["org_id", "service", "ts_ms"], unique=False)
        batch_op.create_index(
            "security_traces_by_time", ["org_id", "ts_ms", "count", "blocked", "is_attack"], unique=False
        )

    op.create_table(
        "signal_comments",
        sa.Column(
            "comment_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("org_id", sa.Integer(), nullable=False),
        sa.Column("signal_id", sa.String(length=16), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("comment_id"),
    )
    with op.batch_alter_table("signal_comments", schema=None) as batch_op:
        batch_op.create_index("signal_comments_by_signal", ["org_id", "signal_id"], unique=False)

    op.create_table(
        "signals",
        sa.Column("org_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("signal_id", sa.String(length=16), nullable=False),
        sa.Column("rule_id", sa.String(length=200), nullable=False),
        sa.Column("severity", sa.Integer(), nullable=False),
        sa.Column("first_seen_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_ms", sa.BigInteger(), nullable=False),
        sa.Column("closed_ms", sa.BigInteger(), nullable=True),
        sa.Column("services", sa.Text(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("triage", sa.String(length=20), nullable=False),
        sa.Column("archive_reason", sa.Text(), nullable=False),
        sa.Column("assignee", sa.String(length=200), nullable=False),
        sa.Column("triaged_by", sa.String(length=200), nullable=False),
        sa.Column("triaged_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("org_id", "signal_id"),
    )
    with op.batch_alter_table("signals", schema=None) as batch_op:
        batch_op.create_index("signals_by_time", ["org_id", "last_seen_ms", "signal_id"], unique=False)
        batch_op.create_index("signals_open", ["org_id", "closed_ms"], unique=False)


def downgrade() -> None:
    for table in ("signals", "signal_comments", "security_traces", "detection_rules", "detection_memory"):
        op.drop_table(table)
