"""add the denylist as rows, its feeds and drafts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "denylist_drafts",
        sa.Column("org_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("draft_id", sa.String(length=16), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=True),
        sa.Column("span_s", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("org_id", "draft_id"),
    )
    op.create_table(
        "denylist_entries",
        sa.Column("org_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("sort_key", sa.String(length=100), nullable=False),
        sa.Column("target_key", sa.String(length=32), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("source", sa.String(length=300), nullable=False),
        sa.Column("feed", sa.String(length=60), nullable=False),
        sa.Column("config_id", sa.String(length=16), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_by", sa.String(length=200), nullable=False),
        sa.Column("hits", sa.BigInteger(), nullable=False),
        sa.Column("last_hit_ms", sa.BigInteger(), nullable=True),
        sa.Column("covered_by", sa.String(length=100), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.Column("ended_by", sa.String(length=200), nullable=False),
        sa.Column("ended_as", sa.String(length=12), nullable=False),
        sa.PrimaryKeyConstraint("org_id", "id"),
    )
    with op.batch_alter_table("denylist_entries", schema=None) as batch_op:
        batch_op.create_index("denylist_entries_by_creation", ["org_id", "created_ms"], unique=False)
        batch_op.create_index("denylist_entries_in_force", ["org_id", "ended_ms"], unique=False)

    op.create_table(
        "denylist_feeds",
        sa.Column("org_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("target_key", sa.String(length=32), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("span_s", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_by", sa.String(length=200), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("org_id", "name"),
    )
    op.create_table(
        "denylist_files",
        sa.Column("org_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("config_id", sa.String(length=16), nullable=False),
        sa.Column("target_key", sa.String(length=32), nullable=False),
        sa.Column("is_ours", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("org_id", "config_id"),
    )
    op.create_table(
        "denylist_heads",
        sa.Column("org_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("last_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("org_id"),
    )


def downgrade() -> None:
    op.drop_table("denylist_heads")
    op.drop_table("denylist_files")
    op.drop_table("denylist_feeds")
    with op.batch_alter_table("denylist_entries", schema=None) as batch_op:
        batch_op.drop_index("denylist_entries_by_creation")
        batch_op.drop_index("denylist_entries_in_force")

    op.drop_table("denylist_entries")
    op.drop_table("denylist_drafts")
