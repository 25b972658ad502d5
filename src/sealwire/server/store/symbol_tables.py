"""Tables of symbols: uploads of tracers, and what came of each of their batches.

Times are milliseconds since 1970 UTC. Nothing of a program's values is in them: names, files and lines only.
"""

from __future__ import annotations

import sqlalchemy as sa

from sealwire.server.store.tables import metadata

symbol_uploads = sa.Table(
    "symbol_uploads",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("upload_key", sa.String(32), primary_key=True),
    sa.Column("service_key", sa.String(300), nullable=False),  # in lower case
    sa.Column("service", sa.String(300), nullable=False),
    sa.Column("env", sa.String(300), nullable=False),
    sa.Column("version", sa.String(300), nullable=False),
    sa.Column("language", sa.String(300), nullable=False),
    sa.Column("first_ms", sa.BigInteger, nullable=False),
    sa.Column("last_ms", sa.BigInteger, nullable=False),
    sa.Column("batches", sa.Integer, nullable=False),
    sa.Column("modules", sa.Integer, nullable=False),
    sa.Column("functions", sa.Integer, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),  # bytes as kept
)
sa.Index("symbol_uploads_by_service", symbol_uploads.c.org_id, symbol_uploads.c.service_key)

symbol_batches = sa.Table(
    "symbol_batches",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("upload_key", sa.String(32), primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("packed", sa.LargeBinary, nullable=False),
)
