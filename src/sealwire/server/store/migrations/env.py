"""Runs the migrations on the engine that `Database.migrate` hands over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context

from sealwire.server.store.tables import metadata

engine = context.config.attributes["engine"]

# Replicas may start at the same moment; the lock is let go with the transaction.
LOCK = 0x5EA1_317E

with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
        context.run_migrations()
    connection.commit()
