"""add symbols that tracers upload."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "symbol_batches",
        sa.Column("org_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("upload_key", sa.String(length=32), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("org_id", "upload_key", "number"),
    )
    op.create_table(
        "symbol_uploads",
        sa.Column("org_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("upload_key", sa.String(length=32), nullable=False),
        sa.Column("service_key", sa.String(length=300), nullable=False),
        sa.Column("service", sa.String(length=300), nullable=False),
        sa.Column("env", sa.String(length=300), nullable=False),
        sa.Column("version", sa.String(length=300), nullable=False),
        sa.Column("language", sa.String(length=300), nullable=False),
        sa.Column("first_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_ms", sa.BigInteger(), nullable=False),
        sa.Column("batches", sa.Integer(), nullable=False),
        sa.Column("modules", sa.Integer(), nullable=False),
        sa.Column("functions", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("org_id", "upload_key"),
    )
    with op.batch_alter_table("symbol_uploads", schema=None) as batch_op:
        batch_op.create_index("symbol_uploads_by_service", ["org_id", "service_key"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("symbol_uploads", schema=None) as batch_op:
        batch_op.drop_index("symbol_uploads_by_service")

    op.drop_table("symbol_uploads")
    op.drop_table("symbol_batches")
